"""Logs as well-known trainers print them: which numbers are taken, and what they are."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.report.logged import verdict
from convlint.rules import all_rules

EPOCHS = 30
K = np.arange(EPOCHS)
TRAIN = 0.1 + 2.0 * 0.9**K
VALIDATION = 0.2 + 1.9 * 0.9**K


def values(curves, name):
    """First and last value of a curve."""
    curve = next(curve for curve in curves.curves if curve.name == name)
    return curve.shape[0], curve.shape[-1]


def judged(curves):
    return verdict(curves, [f for r in all_rules() if r.has_logged() for f in r.logged(curves)])


def each(line):
    """One formatted line for each epoch."""
    return "\n".join(line.format(k=k, t=TRAIN[k], v=VALIDATION[k]) for k in K) + "\n"


PAIRS = {
    "fairseq, JSON behind a time": (
        '2021-03-01 12:00:00 | INFO | train | {{"epoch": {k}, "train_loss": "{t:.3f}"}}\n'
        '2021-03-01 12:00:00 | INFO | valid | {{"epoch": {k}, "valid_loss": "{v:.3f}"}}',
        ("train_loss", "valid_loss"),
    ),
    "LightGBM": (
        "[{k}]\ttraining's binary_logloss: {t:.4f}\tvalid_1's binary_logloss: {v:.4f}",
        ("training's binary_logloss", "valid_1's binary_logloss"),
    ),
    "CatBoost": (
        "{k}:\tlearn: {t:.4f}\ttest: {v:.4f}\tbest: 0.1000 ({k})\ttotal: 41ms\tremaining: 4.1s",
        ("train loss", "test loss"),
    ),
    "splits in parentheses": (
        "INFO - Epoch {k:03d}/040 | lr=1.0e-03 | loss(train)={t:.4f} | loss(val)={v:.4f}",
        ("loss(train)", "loss(val)"),
    ),
    "arrows": (
        "Epoch: {k} -> Train Loss -> {t:.4f} || Validation Loss -> {v:.4f}",
        ("train loss", "validation loss"),
    ),
    "a heading above the line": (
        "loss: {t:.4f}  [    0/60000]\nTest Error: \n Accuracy: 51.2%, Avg loss: {v:.4f} \n",
        ("loss", "test avg loss"),
    ),
    "names in camel case": (
        "epoch {k} trainLoss {t:.4f} valLoss {v:.4f}",
        ("train_loss", "val_loss"),
    ),
}


@pytest.mark.parametrize("trainer", PAIRS)
def test_training_and_validation_are_found(read, trainer):
    line, (training, validation) = PAIRS[trainer]
    seen = read(each(line))
    assert [(pair.training, pair.validation) for pair in seen.pairs] == [(training, validation)]
    assert values(seen, training) == pytest.approx((TRAIN[0], TRAIN[-1]), abs=6e-4)
    assert values(seen, validation) == pytest.approx((VALIDATION[0], VALIDATION[-1]), abs=6e-4)
    assert judged(seen) == "healthy"


TABLES = {
    "fastai": "epoch     train_loss  valid_loss  time    \n"
    + each("{k:<10}{t:<12.6f}{v:<12.6f}00:12"),
    "pandas": "    epoch  train_loss  valid_loss\n" + each("{k:<4}{k:>5}{t:>12.4f}{v:>12.4f}"),
    "Markdown": "| epoch | train_loss | valid_loss |\n|-------|------------|:---:|\n"
    + each("| {k} | {t:.4f} | {v:.4f} |"),
    "commas before fractions": "epoch,train_loss,valid_loss\n"
    + "\n".join(f'{k},"{TRAIN[k]:.4f}","{VALIDATION[k]:.4f}"'.replace(".", ",") for k in K),
}


@pytest.mark.parametrize("writer", TABLES)
def test_tables_without_a_delimiter_of_their_own(read, writer):
    seen = read(TABLES[writer])
    assert seen.format == "csv"
    assert [(pair.training, pair.validation) for pair in seen.pairs] == [
        ("train_loss", "valid_loss")
    ]
    assert values(seen, "train_loss") == pytest.approx((TRAIN[0], TRAIN[-1]), abs=6e-5)
    assert seen.curves[0].last_step == EPOCHS - 1


def test_commas_before_fractions_in_text(read):
    seen = read(each("Epoche {k}: Loss: {t:.4f}, Val-Loss: {v:.4f}").replace(".", ","))
    assert values(seen, "loss") == pytest.approx((TRAIN[0], TRAIN[-1]), abs=6e-5)
    assert values(seen, "val-loss") == pytest.approx((VALIDATION[0], VALIDATION[-1]), abs=6e-5)


def test_commas_between_thousands(read):
    seen = read("".join(f"step {k} loss {1000.0 * TRAIN[k]:,.2f}, lr 0.1\n" for k in K))
    assert values(seen, "loss") == pytest.approx((1000.0 * TRAIN[0], 1000.0 * TRAIN[-1]), abs=1e-2)


def test_records_with_lists_in_them(read):
    seen = read(
        each('{{"train_loss": {t}, "test_loss": {v}, "test_ap": [0.1, 0.2], "epoch": {k}}}')
    )
    assert seen.format == "json-lines"
    assert [(pair.training, pair.validation) for pair in seen.pairs] == [
        ("train_loss", "test_loss")
    ]


def test_the_curve_that_tensorboard_exports_is_named_by_its_file(read):
    text = "Wall time,Step,Value\n" + each("1600000000.5,{k},{t}")
    seen = read(text, "run-version_0-tag-train_loss.csv")
    assert [(c.name, c.split) for c in seen.curves] == [("version_0/train_loss", "train")]


def test_boxes_with_a_name_in_each_row(read):
    box = "| rollout/           |          |\n|    ep_rew_mean     | {k}      |\n| train/             |"
    seen = read(
        each(box + "          |\n|    value_loss      | {v:.4f}  |\n| entropy_loss | -0.6{k:02d} |")
    )
    assert {c.name for c in seen.curves} == {"ep_rew_mean", "value_loss", "entropy_loss"}
    # Of reinforcement learning no loss says that all is well.
    assert judged(seen) == "undetermined"


def test_a_lower_bound_of_a_likelihood_is_to_rise(read):
    seen = read("".join(f"step {k}, elbo: {-90 - 60 * 0.9**k:.2f}\n" for k in K))
    assert [(c.name, c.quantity) for c in seen.curves] == [("elbo", "score")]
    assert read(each("step {k}, negative elbo: {t:.4f}")).curves[0].quantity == "loss"


def test_episodes_say_that_the_loss_is_one_of_reinforcement_learning(read):
    seen = read(
        "".join(f"Episode {k} score: {k / 2}, loss: {0.1 + k / 20:.3f}\n" for k in range(100))
    )
    assert judged(seen) == "undetermined"


def test_numbered_losses_are_parts(read):
    seen = read(each("epoch {k} loss1: {t:.4f} loss2: {v:.4f}"))
    assert [(c.name, c.quantity, c.part) for c in seen.curves] == [
        ("loss1", "loss", True),
        ("loss2", "loss", True),
    ]


def test_nan_is_a_value_and_no_name(read):
    lines = each("Epoch: [{k}][  0/100]\tLoss {t:.4e} ({t:.4e})")
    seen = read(lines + "Epoch: [30][  0/100]\tLoss nan (nan)\n")
    assert [(c.name, c.lost) for c in seen.curves] == [("loss", 1)]


def test_an_evaluation_that_a_progress_bar_repeats_counts_once(read):
    bar = "".join(
        f"\rEpoch {k}:  {b}0%|###  | {b}0/100 [00:05, loss={TRAIN[k] + 0.01 * b:.4f}, val_loss={VALIDATION[k]:.4f}]"
        for k in K
        for b in range(10)
    )
    seen = read(bar)
    assert {c.name: c.points for c in seen.curves} == {"loss": 10 * EPOCHS, "val_loss": EPOCHS}


def test_a_batch_counter_within_epochs_is_no_resumed_run(read):
    lines = (
        f"[Epoch {e}/20] [Batch {b}/20] [D loss: 0.7] [G loss: {1 + b / 9:.4f}]\n"
        for e in range(20)
        for b in range(20)
    )
    seen = read("".join(lines))
    assert {c.points for c in seen.curves} == {400}


def test_lines_without_the_counter_stay_behind_those_before_them(read):
    counted = "".join(f"It: {100 * k}, Loss: {2.0 * 0.95**k:.3e}\n" for k in range(60))
    uncounted = "".join(f"Loss: {0.09 * 0.95**k:.3e}\n" for k in range(40))
    seen = read(counted + uncounted)
    assert seen.curves[0].last == pytest.approx(0.09 * 0.95**34.5, rel=0.01)
    assert judged(seen) == "healthy"


def test_sentences_about_a_loss_are_no_curve(read):
    text = each(
        "Epoch {k}: val_loss improved from {v:.5f} to {v:.5f}, saving model\n - loss: {t:.4f}"
    )
    assert [c.name for c in read(text).curves] == ["loss"]


def test_statistics_that_are_printed_for_both_splits_are_left_out(read):
    epoch = (
        "Epoch: [{k}]  [  0/100]  lr: 0.0001  loss: {t:.4f} ({t:.4f})\n"
        "Averaged stats: lr: 0.0001  loss: {t:.4f} ({t:.4f})\n"
        "Test:  [ 0/10]  loss: {v:.4f} ({v:.4f})\nAveraged stats: loss: 9.0 (9.0)"
    )
    seen = read(each(epoch))
    assert values(seen, "loss") == pytest.approx((TRAIN[0], TRAIN[-1]), abs=6e-5)


def test_a_validation_loss_that_is_lost_is_not_healthy(read):
    lines = each("[{k}]\tvalidation_0-logloss:{t:.5f}")
    assert judged(read(lines)) == "healthy"
    assert judged(read(lines + "[30]\tvalidation_0-logloss:nan\n")) == "diverged"
