"""The loss at the initial parameters against the loss of knowing nothing (PROBES.md M2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from convlint.gpu_probes.backends.statistics import plain
from convlint.gpu_probes.observations import LossFunction, Measurement, Place
from convlint.gpu_probes.quantities import loss_elements
from convlint.gpu_probes.quantities.loss_inputs import EnteredSums, class_axis, entered, made_by
from convlint.gpu_probes.quantities.parameters import measurable
from convlint.gpu_probes.quantities.uncertainty import finite_or_none, measured_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convlint.gpu_probes.quantities.loss_elements import LossSums, Masses

CATEGORICAL: Final = frozenset({"cross_entropy", "nll_loss"})
BINARY: Final = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
REAL: Final = frozenset({"mse_loss", "l1_loss"})
BROADCASTING: Final = REAL | {"smooth_l1_loss", "huber_loss"}

LARGEST_BROADCAST: Final = 1 << 26
"""Elements of an accidental (N, N) broadcast beyond which its loss is not recomputed."""


@dataclass
class _Site:
    """What one loss function at one call site has seen so far."""

    function: str
    place: Place | None
    reduction: str
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    broadcast: tuple[int, ...] | None
    label_smoothing: float
    classes: int | None
    back_propagated: bool
    made_by: str = ""
    calls: int = 0
    losses: LossSums | None = None
    masses: Masses | None = None
    entered: EnteredSums | None = None
    returned: torch.Tensor | None = None
    """Sum over calls of the value the function returned, for losses not recomputed here."""
    returned_elements: int = 0


class LossRecorder:
    """Recomputes every element's loss from what entered the loss function.

    Reads detached tensors only: the graph is the script's own. Sums stay on the device until
    ``results``.
    """

    def __init__(self) -> None:
        self._sites: dict[tuple[str, Place | None, bool], _Site] = {}

    @torch.no_grad()
    def observe(
        self,
        function: str,
        input: torch.Tensor,
        target: torch.Tensor,
        arguments: Mapping[str, Any],
        place: Place | None,
        result: torch.Tensor,
    ) -> None:
        """Add one call of ``torch.nn.functional.<function>`` with its other ``arguments`` by name.

        ``result`` is what it returned; a result without a graph counts as not back-propagated.
        """
        if not measurable(input) or not measurable(target):
            return
        back_propagated = result.requires_grad
        scores, wanted = plain(input), plain(target).to(input.device)
        key = (function, place, back_propagated)
        site = self._sites.get(key)
        if site is None:
            site = _site(function, scores, wanted, arguments, place, back_propagated)
            site.made_by = made_by(input)
            self._sites[key] = site
        site.calls += 1
        self._add_elements(site, scores, wanted, arguments, result)
        seen = entered(scores, class_axis(function, scores.dim()))
        site.entered = seen if site.entered is None else site.entered + seen

    def _add_elements(
        self,
        site: _Site,
        scores: torch.Tensor,
        wanted: torch.Tensor,
        arguments: Mapping[str, Any],
        result: torch.Tensor,
    ) -> None:
        sums: tuple[LossSums, Masses | None] | None = None
        if site.function in CATEGORICAL:
            sums = loss_elements.categorical(site.function, scores, wanted, arguments)
        elif site.function in BINARY:
            sums = loss_elements.binary(site.function, scores, wanted, arguments)
        elif (
            site.function in REAL
            and arguments.get("weight") is None
            and math.prod(site.broadcast or ()) <= LARGEST_BROADCAST
        ):
            shift = None if site.masses is None else site.masses.shift
            sums = loss_elements.real(site.function, scores, wanted, shift)
        if sums is None:
            _add_returned(site, result)
            return
        losses, masses = sums
        site.losses = losses if site.losses is None else site.losses + losses
        if masses is not None:
            site.masses = masses if site.masses is None else site.masses + masses

    def results(self) -> tuple[LossFunction, ...]:
        """One `LossFunction` per function and call site, in order of first call."""
        return tuple(_loss_function(site) for site in self._sites.values())


def _site(
    function: str,
    scores: torch.Tensor,
    wanted: torch.Tensor,
    arguments: Mapping[str, Any],
    place: Place | None,
    back_propagated: bool,
) -> _Site:
    axis = class_axis(function, scores.dim())
    return _Site(
        function=function,
        place=place,
        reduction=_reduction(arguments),
        input_shape=tuple(scores.shape),
        target_shape=tuple(wanted.shape),
        broadcast=_broadcast(function, scores, wanted),
        label_smoothing=float(arguments.get("label_smoothing") or 0.0),
        classes=None if axis is None else scores.shape[axis],
        back_propagated=back_propagated,
    )


def _reduction(arguments: Mapping[str, Any]) -> str:
    """The reduction in force, with torch's deprecated ``reduce`` and ``size_average``."""
    reduce, average = arguments.get("reduce"), arguments.get("size_average")
    if reduce is None and average is None:
        return str(arguments.get("reduction", "mean"))
    if reduce is False:
        return "none"
    return "sum" if average is False else "mean"


def _broadcast(function: str, scores: torch.Tensor, wanted: torch.Tensor) -> tuple[int, ...] | None:
    if function not in BROADCASTING or scores.shape == wanted.shape:
        return None
    shape = np.broadcast_shapes(tuple(scores.shape), tuple(wanted.shape))
    larger = math.prod(shape) > max(scores.numel(), wanted.numel())
    return tuple(shape) if larger else None


def _add_returned(site: _Site, result: torch.Tensor) -> None:
    value = plain(result).double().sum()
    site.returned = value if site.returned is None else site.returned + value.to(site.returned)
    site.returned_elements += result.numel()


def _loss_function(site: _Site) -> LossFunction:
    sums_to_one, inside, log_rows = (
        (None, None, None) if site.entered is None else site.entered.shares()
    )
    return LossFunction(
        function=site.function,
        calls=site.calls,
        initial=_initial(site),
        uninformed=_uninformed(site),
        uniform=_uniform(site),
        classes=site.classes,
        reduction=site.reduction,
        input_shape=site.input_shape,
        target_shape=site.target_shape,
        broadcast=site.broadcast,
        rows_sum_to_one=sums_to_one,
        values_in_unit_interval=inside,
        rows_log_probabilities=log_rows,
        label_smoothing=site.label_smoothing,
        back_propagated=site.back_propagated,
        made_by=site.made_by,
        place=site.place,
    )


def _initial(site: _Site) -> Measurement:
    if site.losses is not None:
        mean, error, elements = site.losses.mean()
        return measured_mean(mean, error, elements, unit="per element")
    if site.returned is None or not site.returned_elements:
        return Measurement(None, note="no element took part")
    value = float(site.returned.item()) / site.returned_elements
    note = f"as returned, reduction {site.reduction}"
    return Measurement(finite_or_none(value), unit="per call", n=site.calls, note=note)


def _uninformed(site: _Site) -> Measurement:
    if site.masses is None:
        return Measurement(None, note=f"no closed form for {site.function}")
    count = _elements(site)
    value = finite_or_none(site.masses.uninformed())
    note = "" if value is not None else "targets outside [0, 1] or none counted"
    return Measurement(value, unit="per element", n=count, note=note)


def _uniform(site: _Site) -> Measurement | None:
    value = None if site.masses is None else site.masses.uniform()
    if value is None or not math.isfinite(value):
        return None
    return Measurement(value, unit="per element", n=_elements(site))


def _elements(site: _Site) -> int:
    return 0 if site.losses is None else int(site.losses.elements.item())
