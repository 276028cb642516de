"""The processes of a distributed run compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """The processes of a distributed run compared, as far as they ``answered``.

    Everything else in the observations is what the first of the ``count`` ranks saw. After the
    first real step ``compared`` tensors are whole on every rank, and ``sharded`` ones are held in
    parts and not compared. ``parameters_differ`` and ``gradients_differ`` name the first that are
    not the same bits everywhere: after the step, and just before it. ``same_batches`` says whether
    the ranks trained on the very same first ``batches_compared`` batches. ``step_seconds`` is the
    median of each rank; ``own_seconds`` its least time from a step to the next backward pass: the
    batch and the forward pass, in which data-parallel ranks do not wait for each other.
    """

    count: int
    answered: int
    compared: int
    sharded: int
    parameters_differ: tuple[str, ...]
    gradients_differ: tuple[str, ...]
    same_batches: bool | None
    step_seconds: tuple[float | None, ...]
    batches_compared: int = 0
    own_seconds: tuple[float | None, ...] = ()
    timed_steps: int = 0
    """The fewest steps behind any of ``own_seconds``."""
