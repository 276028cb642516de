"""What the name of a score says: which way is better, and on which data it was computed."""

from __future__ import annotations

from convlint.findings import Location
from convlint.lazy_regex import lazy_regex

_LOWER = frozenset({"loss", "losses", "err", "error", "mse", "mae", "rmse", "ppl", "perplexity"})
_HIGHER = frozenset({"acc", "accuracy", "acc1", "f1", "auc", "auroc", "iou", "miou", "dice", "bleu",
                     "precision", "recall", "r2", "psnr", "ssim", "map"})  # fmt: skip
_SCORES = _LOWER | _HIGHER | {"score", "metric"}
_NEGATED = frozenset({"neg", "negative", "minus"})
_SPLIT = lazy_regex(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")


def _words(name: str) -> set[str]:
    return {word.lower() for word in _SPLIT.split(name.rpartition(".")[2]) if word}


def lower_is_better(name: str) -> bool:
    """Whether the name is one of a loss or an error."""
    words = _words(name)
    return bool(words & _LOWER) and not words & (_HIGHER | _NEGATED)


def higher_is_better(name: str) -> bool:
    """Whether the name is one of an accuracy or a like score."""
    words = _words(name)
    return bool(words & _HIGHER) and not words & (_LOWER | _NEGATED)


def is_training_score(name: str) -> bool:
    """Whether the name says that the score was computed on the training data."""
    words = _words(name)
    return bool(words & {"train", "training", "trn"}) and bool(words & _SCORES)


def is_validation_score(name: str) -> bool:
    """Whether the name says that the score was computed on validation data."""
    words = _words(name)
    return bool(words & {"val", "valid", "validation", "dev"}) and bool(words & _SCORES)


def is_test_score(name: str) -> bool:
    """Whether the name says that the score was computed on the test data."""
    words = _words(name)
    return "test" in words and bool(words & _SCORES)


def test_of(statement: Location) -> Location:
    """The ``if`` of a statement, without its body."""
    return Location(
        statement.path, statement.line, statement.column, statement.line, statement.column + 2
    )
