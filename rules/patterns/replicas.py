"""Replicas of a model on several processes: who wraps it, and what only one of them does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.lazy_regex import lazy_regex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Call, TrainingProgram

__all__ = [
    "DATA_PARALLEL",
    "SHARDED",
    "only_on_one_rank",
    "unmanaged_replicas",
    "wrapped",
    "wrappings",
]

DATA_PARALLEL = frozenset(
    {
        "torch.nn.parallel.DistributedDataParallel",
        "torch.nn.parallel.distributed.DistributedDataParallel",
    }
)
SHARDED = frozenset({"torch.distributed.fsdp.FullyShardedDataParallel"})
"""The first FSDP, which flattens parameters; fully_shard keeps them."""

_ONE_RANK = lazy_regex(
    r"^\W*(\w+\.)*((global_|local_)?rank(\(\))?|get_rank\(\))\s*==\s*0\W*$"
    r"|^(\w+\.)*is_(main|master|local_main)(_process)?(\(\))?$"
)


def wrappings(program: TrainingProgram, names: frozenset[str]) -> Iterator[Call]:
    """The calls that wrap a module by one of these."""
    return (call for call in program.calls if call.name in names)


def wrapped(call: Call) -> int | None:
    """The module a wrapping call wraps."""
    module = call.args.get("module")
    return module.object if module is not None else None


def unmanaged_replicas(program: TrainingProgram) -> Call | None:
    """The first wrapping in DistributedDataParallel, where the script drives the processes."""
    if program.managed:
        return None
    return next(wrappings(program, DATA_PARALLEL), None)


def only_on_one_rank(conditions: tuple[str, ...]) -> bool:
    """Whether one of the tests in force holds in a single process only."""
    return any(_ONE_RANK.match(condition) for condition in conditions)
