"""Update-to-weight ratios of the real steps (PROBES.md M5)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from convlint.gpu_probes.backends import multi_tensor_statistics
from convlint.gpu_probes.backends.statistics import (
    DIFFERENCE_SUM_OF_SQUARES,
    OTHER_SUM_OF_SQUARES,
)
from convlint.gpu_probes.backends.torch_foreach import squared_differences, sums_of_squares
from convlint.gpu_probes.observations import Measurement, Place, Skipped, UpdateRatio
from convlint.gpu_probes.quantities.parameters import measurable
from convlint.gpu_probes.quantities.uncertainty import finite_or_none

if TYPE_CHECKING:
    from collections.abc import Callable

SUSTAINED_STEPS: Final = 5
"""One wild step is noise; a ratio that holds for five steps in a row is the run's own."""

SMALL: Final = 100_000
"""Elements that are measured at every step: that costs less than finding out whether to."""

EVERY_STEP: Final = 10
"""First steps that are measured whatever the size; from then on five of ten, in a row."""

MOVED: Final = 0.1
"""A step that changes a tensor by more of its norm has the norm itself measured anew: five smaller
ones change it by a third at most, where what is healthy spans two decades."""


@dataclass
class _Pending:
    """Weights of one optimizer as they were before its step."""

    stretch: int
    """Number of the steps left out before: what is measured on end has the same."""
    optimizer_id: int
    parameters: list[torch.Tensor]
    copies: list[torch.Tensor]


@dataclass
class _History:
    """Per-step norms of one fixed list of tensors; each entry is a (T,) device tensor."""

    optimizer_id: int
    tensors: list[torch.Tensor]
    updates: list[torch.Tensor] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list)
    stretches: list[int] = field(default_factory=list)


@dataclass
class _Series:
    """One tensor over the measured steps, from all lists it was in."""

    tensor: torch.Tensor
    updates: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    stretches: list[int] = field(default_factory=list)


class UpdateRecorder:
    """Norms of each tensor and of its change over the real optimizer steps.

    Every step of small models; of large ones the first ten and then every other five. ``describe(tensor)`` gives a parameter's name and the line that created it. Costs one copy of
    the weights that the optimizer holds, kept and reused between steps; where the device cannot
    spare it the recorder stops and says so in ``skipped``.
    """

    def __init__(self, describe: Callable[[torch.Tensor], tuple[str, Place | None]]) -> None:
        self._describe = describe
        self._copies: dict[int, torch.Tensor] = {}
        self._pending: dict[int, _Pending] = {}
        self._history: dict[tuple[int, tuple[int, ...]], _History] = {}
        self._steps: dict[int, int] = {}
        self._left_out: dict[int, int] = {}
        self.skipped: Skipped | None = None

    @torch.no_grad()
    def before_step(self, optimizer: torch.optim.Optimizer, optimizer_id: int) -> None:
        """Copy the weights about to be stepped: those that have a gradient."""
        if self.skipped is not None:
            return
        step = self._steps.get(id(optimizer), 0)
        self._steps[id(optimizer)] = step + 1
        parameters = [
            p
            for group in optimizer.param_groups
            for p in group["params"]
            # Sharded tensors change their storage under the step; their shards are not comparable.
            if p.grad is not None and measurable(p) and not hasattr(p, "to_local")
        ]
        in_turn = step < EVERY_STEP or (step // SUSTAINED_STEPS) % 2 == 0
        if not in_turn and sum(p.numel() for p in parameters) > SMALL:
            self._left_out[id(optimizer)] = self._left_out.get(id(optimizer), 0) + 1
            return
        try:
            copies = self._copied(parameters)
        except torch.OutOfMemoryError:
            self._copies.clear()
            self.skipped = Skipped(
                "update ratio", "no memory for a copy of the weights on their device"
            )
            return
        self._pending[id(optimizer)] = _Pending(
            self._left_out.get(id(optimizer), 0), optimizer_id, parameters, copies
        )

    def _copied(self, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
        for parameter in parameters:
            held = self._copies.get(id(parameter))
            if held is None or held.shape != parameter.shape or held.device != parameter.device:
                self._copies[id(parameter)] = torch.empty_like(parameter, requires_grad=False)
        copies = [self._copies[id(parameter)] for parameter in parameters]
        if copies:
            torch._foreach_copy_(copies, [parameter.detach() for parameter in parameters])
        return copies

    @torch.no_grad()
    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure what the step changed; a step without its `before_step` is ignored."""
        pending = self._pending.pop(id(optimizer), None)
        if pending is None or not pending.parameters:
            return
        key = (pending.optimizer_id, tuple(map(id, pending.parameters)))
        history = self._history.setdefault(key, _History(pending.optimizer_id, pending.parameters))
        updates, weights = _norms(pending, history)
        history.updates.append(updates)
        history.weights.append(weights)
        history.stretches.append(pending.stretch)

    def results(self) -> tuple[UpdateRatio, ...]:
        """One `UpdateRatio` per tensor and optimizer, in the order of the parameter groups."""
        series: dict[tuple[int, int], _Series] = {}
        for history in self._history.values():
            updates = torch.stack(history.updates).cpu().numpy()
            weights = torch.stack(history.weights).cpu().numpy()
            for index, tensor in enumerate(history.tensors):
                one = series.setdefault((history.optimizer_id, id(tensor)), _Series(tensor))
                one.updates.extend(updates[:, index].tolist())
                one.weights.extend(weights[:, index].tolist())
                one.stretches.extend(history.stretches)
        return tuple(self._ratio(optimizer_id, one) for (optimizer_id, _), one in series.items())

    def _ratio(self, optimizer_id: int, series: _Series) -> UpdateRatio:
        tensor = series.tensor
        name, place = self._describe(tensor)
        zero_initialised = series.weights[0] == 0
        ratios = [
            update / weight if weight > 0 else math.nan
            for update, weight in zip(series.updates, series.weights, strict=True)
        ]
        if zero_initialised:
            measured = Measurement(
                None, unit="per step", n=len(ratios), note="starts at zero: no scale to compare"
            )
            largest = None
        else:
            measured = _median(ratios)
            largest = _sustained(ratios, series.stretches)
        return UpdateRatio(
            name=name,
            shape=tuple(tensor.shape),
            ratio=measured,
            largest=largest,
            optimizer=optimizer_id,
            zero_initialised=zero_initialised,
            place=place,
        )


def _norms(pending: _Pending, history: _History) -> tuple[torch.Tensor, torch.Tensor]:
    """Norms of what the step changed and of the weights before it, float64 of shape (T,).

    On the CPU the norm of the weights, which costs as much again, is carried over while steps are
    small beside it.
    """
    if any(p.device.type != "cpu" for p in pending.parameters):
        both = multi_tensor_statistics(pending.parameters, pending.copies, norms_only=True)
        changed = both.column(DIFFERENCE_SUM_OF_SQUARES).sqrt()
        return changed, both.column(OTHER_SUM_OF_SQUARES).sqrt()
    changed = squared_differences(pending.parameters, pending.copies).sqrt()
    weights = history.weights[-1] if history.weights else None
    follows = history.stretches[-1:] == [pending.stretch]
    if weights is None or not follows or not bool((history.updates[-1] < MOVED * weights).all()):
        weights = sums_of_squares(pending.copies).sqrt()
    return changed, weights


def _median(ratios: list[float]) -> Measurement:
    """Median over the steps with the distribution-free 95 % interval of its order statistics."""
    finite = sorted(ratio for ratio in ratios if math.isfinite(ratio))
    count = len(finite)
    note = "" if count == len(ratios) else f"{len(ratios) - count} steps were not finite"
    if not count:
        return Measurement(None, unit="per step", n=0, note=note)
    # Ranks n/2 -+ 0.98 sqrt(n): the normal approximation of the binomial(n, 1/2).
    half = 0.98 * math.sqrt(count)
    low, high = math.floor(count / 2 - half), math.ceil(count / 2 + half)
    interval = (finite[low], finite[high]) if low >= 0 and high < count else None
    return Measurement(float(np.median(finite)), unit="per step", n=count, ci=interval, note=note)


def _sustained(ratios: list[float], stretches: list[int]) -> float | None:
    """Largest ratio that held for five steps measured on end; None with fewer."""
    windows = [
        min(ratios[start : start + SUSTAINED_STEPS])
        for start in range(len(ratios) - SUSTAINED_STEPS + 1)
        if all(map(math.isfinite, ratios[start : start + SUSTAINED_STEPS]))
        and len(set(stretches[start : start + SUSTAINED_STEPS])) == 1
    ]
    return finite_or_none(max(windows)) if windows else None
