"""What several rules ask of a training log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Evidence, Location

if TYPE_CHECKING:
    from convlint.curves.facts import Curve, Curves

__all__ = [
    "at", "is_plain", "logged_evidence", "main_loss", "moves_its_target", "step", "training_losses", "words",
]  # fmt: skip

BY_LINE = ("csv", "json-lines", "text")
"""Formats whose rows stand on lines of their own."""

PLAIN_WORDS = {
    "loss", "train", "training", "total", "avg", "average", "mean", "running", "epoch", "step", "batch",
    "val", "valid", "validation", "dev", "eval", "test",
}  # fmt: skip
"""Words that leave it the loss as a whole."""

MOVING_WORDS = {
    "policy", "actor", "critic", "q", "qf1", "qf2", "qf", "gen", "disc", "generator", "pg",
    "discriminator", "adv", "adversarial", "g", "d", "reward", "return", "rew", "pi", "vf",
}  # fmt: skip
"""A game between networks, or targets that training moves: its losses rise in healthy runs."""


def training_losses(curves: Curves) -> tuple[Curve, ...]:
    """The whole training losses, where a lower one is better: none of a game, none of parts, none
    of a range test, which ends in divergence on purpose."""
    if moves_its_target(curves) or curves.range_test is not None:
        return ()
    losses = curves.judged_losses("train")
    # Beside the loss itself, others are parts of it, or say the same on another scale.
    losses = tuple(loss for loss in losses if is_plain(loss.name)) or losses
    # Of one loss by step and by epoch, the longer series says the more.
    longest: dict[str, Curve] = {}
    for curve in losses:
        stem = " ".join(sorted(words(curve.name) - {"step", "epoch"}))
        known = longest.get(stem)
        if known is None or curve.points > known.points:
            longest[stem] = curve
    return tuple(longest.values())


def moves_its_target(curves: Curves) -> bool:
    """Whether this is a game between networks or reinforcement learning, whose losses say little."""
    return any(MOVING_WORDS & words(curve.name) for curve in curves.curves) or any(
        "episode" in words(name) for name in curves.ignored
    )


def is_plain(name: str) -> bool:
    """Whether nothing is said of the loss but its split and how it was averaged."""
    return "loss" in words(name) and not words(name) - PLAIN_WORDS


def main_loss(curves: Curves) -> Curve | None:
    """The training loss, when it is clear which one is meant."""
    losses = training_losses(curves)
    return losses[0] if len(losses) == 1 else None


def at(curves: Curves, line: int) -> Location:
    """A line of the log; its beginning where rows are no lines."""
    place = max(line, 1) if curves.format in BY_LINE else 1
    return Location(curves.path, place, 1, place, 2)


def step(number: float) -> str:
    """A step as it is written: ``1,200``, or ``2.5`` of a fractional epoch."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.4g}"


def logged_evidence(
    statement: str, *, quantity: str, value: float | None, expected: str = ""
) -> tuple[Evidence, ...]:
    """One fact read from the log."""
    return (Evidence("logged", statement, quantity=quantity, value=value, expected=expected),)


def words(name: str) -> set[str]:
    """The words of a curve's name, in lower case."""
    return set("".join(c if c.isalnum() else " " for c in name.lower()).split())
