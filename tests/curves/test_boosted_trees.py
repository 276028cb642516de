"""Logs of gradient boosting, as XGBoost 3.2, LightGBM 4.7 and CatBoost 1.2 write them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convlint.report.logged import verdict
from convlint.rules import all_rules

ROUNDS = 80
K = np.arange(ROUNDS)
TRAIN = 0.05 + 0.6 * 0.95**K
HELD_OUT = {"healthy": TRAIN + 0.05, "overfitting": TRAIN + 0.02 + 0.006 * np.maximum(0, K - 20)}


def judged(curves):
    return verdict(curves, [f for r in all_rules() if r.has_logged() for f in r.logged(curves)])


def pairs(curves):
    return [(pair.training, pair.validation) for pair in curves.pairs]


def each(line, held_out):
    return "\n".join(line.format(k=k, t=TRAIN[k], v=held_out[k]) for k in K) + "\n"


CONSOLES = {
    "XGBoost, scikit-learn": (
        "[{k}]\tvalidation_0-logloss:{t:.5f}\tvalidation_1-logloss:{v:.5f}",
        ("validation_0-logloss", "validation_1-logloss"),
    ),
    "XGBoost, two metrics and a time": (
        "[12:01:33] [{k}]\ttrain-mlogloss:{t:.5f}\ttrain-merror:0.1\teval-mlogloss:{v:.5f}\teval-merror:0.1",
        ("train-mlogloss", "eval-mlogloss"),
    ),
    "XGBoost, cross-validation": (
        "[{k}]\ttrain-rmse:{t:.5f}+0.01579\ttest-rmse:{v:.5f}+0.02463",
        ("train-rmse", "test-rmse"),
    ),
    "LightGBM": (
        "[{k}]\ttraining's l2: {t:.6g}\tvalid_1's l2: {v:.6g}",
        ("training's l2", "valid_1's l2"),
    ),
    "LightGBM, cross-validation": (
        "[{k}]\tcv_agg's train l1: {t:.6g} + 0.001\tcv_agg's valid l1: {v:.6g} + 0.002",
        ("cv_agg's train l1", "cv_agg's valid l1"),
    ),
    "LightGBM, command line": (
        "[LightGBM] [Info] Iteration:{k}, training binary_logloss : {t:.6f}\n"
        "[LightGBM] [Info] Iteration:{k}, valid_1 binary_logloss : {v:.6f}",
        ("training binary_logloss", "valid_1 binary_logloss"),
    ),
    "CatBoost": (
        "{k}:\tlearn: {t:.7f}\ttest: {v:.7f}\tbest: 0.0500000 ({k})\ttotal: 41ms\tremaining: 4.1s",
        ("train loss", "test loss"),
    ),
}


@pytest.mark.parametrize("truth", HELD_OUT)
@pytest.mark.parametrize("console", CONSOLES)
def test_consoles_have_their_pair_and_their_rounds(read, console, truth):
    line, names = CONSOLES[console]
    curves = read(each(line, HELD_OUT[truth]))
    assert names in pairs(curves)
    assert {curve.last_step for curve in curves.curves} == {ROUNDS - 1}
    assert judged(curves) == truth


@pytest.mark.parametrize("truth", HELD_OUT)
@pytest.mark.parametrize(
    ("training", "held_out"), [("validation_0", "validation_1"), ("training", "valid_1")]
)
def test_results_by_data_set_and_metric(read, training, held_out, truth):
    results = {
        training: {"logloss": TRAIN.tolist(), "auc": (1.0 - TRAIN).tolist()},
        held_out: {"logloss": HELD_OUT[truth].tolist(), "auc": (1.0 - HELD_OUT[truth]).tolist()},
    }
    curves = read(json.dumps(results), "evals_result.json")
    assert pairs(curves) == [(f"{training}/logloss", f"{held_out}/logloss")]
    assert judged(curves) == truth


@pytest.mark.parametrize("truth", HELD_OUT)
def test_catboost_training_json(read, truth):
    document = {
        "meta": {
            "test_metrics": [
                {"best_value": "Max", "name": "QueryAverage:top=5"},
                {"best_value": "Min", "name": "CrossEntropy"},
            ],
            "learn_metrics": [{"best_value": "Min", "name": "CrossEntropy"}],
        },
        "iterations": [
            {"learn": [TRAIN[k]], "iteration": int(k), "test": [0.5, HELD_OUT[truth][k]]} for k in K
        ],
    }
    curves = read(json.dumps(document), "catboost_training.json")
    assert pairs(curves) == [("train CrossEntropy", "test CrossEntropy")]
    assert [c.name for c in curves.curves if c.quantity == "score"] == [
        "test QueryAverage:top=5 score"
    ]
    assert judged(curves) == truth


def test_catboost_files_of_one_data_set_say_which(read):
    for name, split in (("learn_error.tsv", "train"), ("test_error.tsv", "validation")):
        curves = read(each("{k}\t{t:.9f}", TRAIN).join(["iter\tLogloss\n", ""]), name)
        assert [curve.split for curve in curves.curves] == [split]


def test_an_area_that_rises_is_a_score(read):
    line = "{k}:\tlearn: {a:.7f}\ttest: {a:.7f}\tbest: {a:.7f} ({k})\ttotal: 41ms\tremaining: 4.1s"
    curves = read("\n".join(line.format(k=k, a=1.0 - TRAIN[k]) for k in K))
    assert {curve.quantity for curve in curves.curves} == {"score"}
    assert judged(curves) == "undetermined"


def test_two_sets_that_were_not_trained_on_are_no_pair(read):
    curves = read(
        each(
            "[{k}]\tvalidation_0-logloss:{v:.5f}\tvalidation_1-logloss:{t:.5f}", HELD_OUT["healthy"]
        )
    )
    assert pairs(curves) == []


def test_the_best_round_counts_once(read):
    line = "[{k}]\ttraining's l2: {t:.6g}\tvalid_1's l2: {v:.6g}"
    text = (
        "[LightGBM] [Info] Start training from score -0.405465\n"
        "Training until validation scores don't improve for 50 rounds\n"
        + each(line, HELD_OUT["healthy"])
        + "Early stopping, best iteration is:\n"
        + line.format(k=20, t=TRAIN[20], v=0.3)
        + "\n"
    )
    curves = read(text)
    assert {curve.points for curve in curves.curves} == {ROUNDS}
    assert curves.remarks == ()


def test_a_rank_in_brackets_is_no_round(read):
    curves = read("\n".join(f"[0] step {10 * k} loss: {TRAIN[k]:.4f}" for k in K))
    assert curves.curves[0].last_step == 10 * (ROUNDS - 1)
