"""A healthy run and a sick one in the forms of tools whose logs were once misread."""

from __future__ import annotations

import numpy as np
import pytest

from convlint.report.logged import verdict
from convlint.rules import all_rules

ROWS = 120
K = np.arange(ROWS)
NOISE = 0.01 * np.random.default_rng(0).normal(size=ROWS)
FALLING = 0.3 + 2.0 * 0.95**K + NOISE
VALIDATION = {
    "healthy": FALLING + 0.1,
    "overfitting": FALLING + 0.1 + 0.02 * np.maximum(0, K - 40),
}
TRAINING = {"healthy": FALLING, "diverged": np.where(K < 60, FALLING, np.nan)}


def judged(curves):
    return verdict(curves, [f for r in all_rules() if r.has_logged() for f in r.logged(curves)])


def each(line, training=FALLING, validation=FALLING):
    rows = (line.format(k=k, t=training[k], v=validation[k], s=K[k] / ROWS) for k in K)
    return "\n".join(rows) + "\n"


PAIRS = {
    "Megatron-LM": (
        " iteration {k:8d}/  250000 | elapsed time per iteration (ms): 139113.4 | learning rate: "
        "1.507E-05 | lm loss: {t:.6E} | loss scale: 1.0 | grad norm: 0.811 | number of nan "
        "iterations:   0 |\n validation loss at iteration {k} | lm loss value: {v:.6E} | lm loss "
        "PPL: 3.2E+00 | ",
        "train.log",
        ("lm loss", "validation lm loss value"),
    ),
    "llm.c": ("s:{k} trl:{t:.4f} lr:0.000600 norm:1.02\ns:{k} tel:{v:.4f}", "main.log", ("train loss", "val loss")),
    "MLflow, one number a row": (
        "a1,train_loss,{t},{k},1700000000000\na1,val_loss,{v},{k},1700000000000",
        "metrics.csv",
        ("train_loss", "val_loss"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("truth", VALIDATION)
@pytest.mark.parametrize("tool", PAIRS)
def test_pairs(read, tool, truth):
    line, name, pair = PAIRS[tool]
    header = "run_id,key,value,step,timestamp\n" if name.endswith("csv") else ""
    curves = read(header + each(line, FALLING, VALIDATION[truth]), name)
    assert pair in [(p.training, p.validation) for p in curves.pairs]
    assert judged(curves) == truth
    assert {curve.last_step for curve in curves.curves} == {ROWS - 1}


SPACY = (
    "\x1b[38;5;4mℹ Initial learn rate: 0.001\x1b[0m\n"
    "E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  ENTS_P  SCORE \n"
    "---  ------  ------------  --------  ------  ------  ------\n"
    # A sum over one batch, where those below are over two hundred.
    "  0       0          0.00      0.02    0.10    0.12    0.00\n"
)
SINGLE = {
    "spaCy": (SPACY, "  1  {k:6d}  {t:12.2f}  {t:8.2f}    0.33    0.33  {s:6.2f}", "train.log"),
    "MLflow": ("", "1700000000000 {t} {k}", "mlruns/0/a1/metrics/train_loss"),
    "detectron2": (
        "",
        '{{"eta_seconds": 310.5, "iteration": {k}, "lr": 0.0003, "total_loss": {t:.4f}}}',
        "metrics.json",
    ),
    "PyKEEN": (
        "",
        "Training epochs on cpu:  {k}%|##  | {k}/120 [00:01<00:04, 20.1epoch/s, loss={t:.4g},"
        " prev_loss={v:.4g}]",
        "train.log",
    ),
}


@pytest.mark.parametrize("truth", TRAINING)
@pytest.mark.parametrize("tool", SINGLE)
def test_training_alone(read, tool, truth):
    header, line, name = SINGLE[tool]
    curves = read(header + each(line, TRAINING[truth]).replace("nan", "NaN"), name)
    losses = [curve for curve in curves.curves if curve.quantity == "loss"]
    # That of spaCy's step 0 is left out.
    assert {curve.points for curve in losses} == {ROWS - (tool == "spaCy")}
    assert judged(curves) == truth
    rates = [curve.name for curve in curves.curves if curve.quantity == "learning rate"]
    assert rates == (["lr"] if tool == "detectron2" else [])


def test_names_of_mlflow_are_those_below_metrics(read):
    curves = read(each("1700000000000 {t} {k}"), "mlruns/0/a1/metrics/train/loss")
    assert [curve.name for curve in curves.curves] == ["train/loss"]


def test_a_mean_average_precision_is_no_guess_among_six_classes(read):
    line = (
        "Epoch(train) [{k}][10/90]  loss: {t:.4f}\nEpoch(val) [{k}][9/9]  coco/bbox_mAP_50: 0.1730"
    )
    assert judged(read(each(line))) in ("healthy", "plateaued")


def test_the_loss_of_a_value_function_stays_a_part(read):
    curves = read(each("step {k} loss/value: {t:.4f}"))
    assert [curve.part for curve in curves.curves] == [True]
