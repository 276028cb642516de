"""Seeds of random number generators."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlint.program.facts import TrainingProgram

SEEDING = frozenset(
    {
        "torch.manual_seed", "torch.random.manual_seed", "torch.cuda.manual_seed",
        "torch.cuda.manual_seed_all", "numpy.random.seed",
    }
)  # fmt: skip
"""Calls that set the state of a global generator."""

_EVERYTHING = ("seed_everything", "set_seed", "set_random_seed", "manual_seed_all_libraries")


def sets_everything(program: TrainingProgram) -> bool:
    """Whether a helper of some library seeds every generator."""
    return any(call.name.rpartition(".")[2] in _EVERYTHING for call in program.calls)


def sets_seed(program: TrainingProgram) -> bool:
    """Whether any global generator is seeded."""
    return sets_everything(program) or any(call.name in SEEDING for call in program.calls)
