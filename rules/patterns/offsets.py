"""Constants in arithmetic: what is added to a tensor, subtracted, raised to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlint.program.facts import Flow

__all__ = ["constant_operand"]


def constant_operand(flow: Flow, name: str) -> float | None:
    """The number given as this operand: ``left`` or ``right`` of an operator, else an argument by
    its name or position. None when it is a tensor or not one number."""
    value = flow.args.get(name)
    return value.number if value is not None else None
