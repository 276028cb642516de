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
    median of each rank from one step to the next. ``own_seconds`` gives for each rank what its
    timed steps took, in the order in which all ranks make them, from the step to the next backward
    pass: the batch and the forward pass, in which data-parallel ranks do not wait for each other.
    In neither is the probe's own work nor, on Linux, the time in which other programs had the
    processors; nor in ``own_seconds`` the wait for other ranks where they exchange something.
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
    own_seconds: tuple[tuple[float, ...], ...] = ()
