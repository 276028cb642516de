"""What gradient boosting logs: XGBoost, LightGBM and CatBoost, on the console and as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from convlint.curves.naming import role_of
from convlint.curves.readers.text import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.readers.text import Row

_FIELD = r"\s+[A-Za-z][\w@./-]*(?:'s [\w@./-]+(?: [\w@./-]+)?)?: ?[-+\w.]+(?: \+ [\w.]+)?"
_ROUND = re.compile(rf"^(?:\[[\d:]+\]\s+)?\[(?P<step>\d+)\](?P<rest>(?:{_FIELD})+)\s*$")
"""XGBoost's ``[9]  train-rmse:0.5  eval-rmse:0.6``, LightGBM's ``[9]  valid_0's l2: 0.6``."""

_CATBOOST = re.compile(r"^(?P<step>\d+):\s+(?P<rest>(?:learn|test): .*)")
_CATBOOST_TEST = re.compile(r"\btest: (\S+)")
_CATBOOST_BEST = re.compile(r"\bbest: (\S+)")

_BEST_FOLLOWS = re.compile(r"best iteration(?: is)?:\s*$", re.IGNORECASE)

_START = "Start training from score"
"""LightGBM's name for the constant it begins with."""


def as_written(line: str, *, higher: bool) -> str:
    """A line of one round with its number and its metrics by name; any other line as it is.

    ``higher`` is the answer of ``higher_is_better``: CatBoost does not say which metric it prints.
    """
    if line.startswith("[") and (found := _ROUND.match(line)):
        return f"iteration {found['step']} {found['rest']}"
    if (": " in line or ":\t" in line) and (found := _CATBOOST.match(line)):
        kind = "score" if higher else "loss"
        rest = found["rest"].partition("best: ")[0]
        rest = rest.replace("learn: ", f"train {kind}: ").replace("test: ", f"test {kind}: ")
        return f"iteration {found['step']} {rest}"
    return "" if _START in line else line


def is_round(line: str) -> bool:
    """Whether this is a line of one round of XGBoost or LightGBM."""
    return line.startswith("[") and _ROUND.match(line) is not None


def repeats_best(line: str) -> bool:
    """Whether the line below prints the best round once more, as early stopping does at the end."""
    return "est iteration" in line and _BEST_FOLLOWS.search(line) is not None


def higher_is_better(lines: Sequence[str]) -> bool:
    """Whether CatBoost's best value is one above the first it printed, as an accuracy's is."""
    first: float | None = None
    for line in lines:
        if not _CATBOOST.match(line):
            continue
        test, best = (pattern.search(line) for pattern in (_CATBOOST_TEST, _CATBOOST_BEST))
        if test is None or best is None:
            continue
        value, reached = number(test[1]), number(best[1])
        if first is None:
            first = value
        if first is not None and reached is not None and reached != first:
            return reached > first
    return False


def catboost_records(document: dict[str, Any]) -> Iterator[Row] | None:
    """The rows of CatBoost's ``catboost_training.json``; None for any other document."""
    meta, records = document.get("meta"), document.get("iterations")
    if not isinstance(meta, dict) or not isinstance(records, list):
        return None
    learn, test = (
        _names(meta.get("learn_metrics"), "train"),
        _names(meta.get("test_metrics"), "test"),
    )
    return _catboost_rows(records, learn, test) if learn or test else None


def _names(metrics: Any, split: str) -> list[str]:
    names = []
    for metric in metrics if isinstance(metrics, list) else ():
        if not isinstance(metric, dict):
            return []
        name = str(metric.get("name", ""))
        if role_of(name).quantity == "other":
            name = f"{name} {'score' if metric.get('best_value') == 'Max' else 'loss'}"
        names.append(f"{split} {name}")
    return names


def _catboost_rows(records: list[Any], learn: list[str], test: list[str]) -> Iterator[Row]:
    for index, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            continue
        values = {"iteration": number(record.get("iteration"))}
        for key, names in (("learn", learn), ("test", test)):
            given = record.get(key)
            # Of several test sets the first comes first.
            entries = given if isinstance(given, list) else []
            values |= {name: number(entry) for name, entry in zip(names, entries, strict=False)}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            yield index, known
