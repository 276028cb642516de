"""What several rules compute from one program, computed once."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.program.facts import TrainingProgram

__all__ = ["once_per_program"]

_Index = TypeVar("_Index")


def once_per_program(
    build: Callable[[TrainingProgram], _Index],
) -> Callable[[TrainingProgram], _Index]:
    """Keep what ``build`` gave for the program it saw last: the rules run over one at a time.

    The result is shared, so nobody may change it.
    """
    kept: list[tuple[TrainingProgram, _Index]] = []

    @wraps(build)
    def remembered(program: TrainingProgram) -> _Index:
        if kept and kept[0][0] is program:
            return kept[0][1]
        result = build(program)
        kept[:] = [(program, result)]
        return result

    return remembered
