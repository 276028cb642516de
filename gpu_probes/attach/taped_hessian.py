"""Holds the Hessian of a loss against its tape, replayed in float64 at other parameters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from convlint.gpu_probes.curvature.consistency import DoubleDifferences, difference_from_losses
from convlint.gpu_probes.curvature.differences import difference_from_finite_differences
from convlint.gpu_probes.curvature.operator import (
    CurvatureUnavailable,
    RetainedGraphHessian,
    blocks,
    unavailable_on_failure,
)
from convlint.gpu_probes.tape import Change, TapeUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from convlint.gpu_probes.curvature.operator import HessianOperator
    from convlint.gpu_probes.tape import Tape

__all__ = ["SETTLED", "off_the_loss"]

SETTLED = 1e-3
"""Differences in float32 that agree to this have settled the matter. Others may have met kinks, so
many with a large batch that two steps agree on what they see of them."""

_DOUBLE = Change(dtype=torch.float64)
_TWICE = Change(dtype=torch.float64, twice_differentiable=True)


def off_the_loss(
    tape: Tape,
    loss: torch.Tensor,
    parameters: Sequence[torch.Tensor],
    scale: float,
    *,
    deadline: float,
) -> float | None:
    """Relative difference of the Hessian on the graph of ``loss`` from differences on its tape.

    Of gradients, or of the loss alone where the step has a backward of its own. What was computed
    in half precision differs by its rounding alone; its Hessian is then that of the replay, which
    still shows a gradient of nothing. ``scale`` is the factor by which ``loss`` exceeds the loss that
    is minimized; ``deadline`` (``time.monotonic``) is checked before every replay. None when the tape
    cannot be replayed in float64, time or memory are short, or kinks decide even there.
    """
    rounded = tape.in_half_precision
    if rounded and tape.own_backward:
        return None
    wanted = {id(p) for p in parameters}
    leaves = {p: p for p in tape.parameters if id(p) in wanted}
    try:
        if rounded:
            leaves = {p: p.detach().double().requires_grad_() for p in leaves}
            with unavailable_on_failure():
                loss = tape.loss(_exchanged(tape, leaves), change=_TWICE)
        hessian = RetainedGraphHessian(loss, list(leaves.values()), loss_scale=scale)
        replayed = _Replayed(
            tape, {leaf: p for p, leaf in leaves.items()}, hessian, scale, deadline
        )
        if tape.own_backward:
            return difference_from_losses(hessian, replayed.loss_at)
        differences = DoubleDifferences(hessian, replayed.gradient_at)
        return difference_from_finite_differences(hessian, differences)
    except (TapeUnavailable, CurvatureUnavailable):
        return None


def _exchanged(tape: Tape, values: Mapping[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    """The parameters of the tape, some of them replaced."""
    return [values.get(p, p) for p in tape.parameters]


class _Replayed:
    """A tape in float64, at displacements from the parameters of a Hessian.

    ``originals`` are the parameters of the tape by those of the Hessian.
    """

    def __init__(
        self,
        tape: Tape,
        originals: Mapping[torch.Tensor, torch.Tensor],
        hessian: HessianOperator,
        scale: float,
        deadline: float,
    ) -> None:
        self._tape = tape
        self._parameters = [originals[leaf] for leaf in hessian.parameters]
        self._scale = scale
        self._deadline = deadline

    def loss_at(self, displacement: torch.Tensor) -> float:
        self._in_time()
        with torch.no_grad():
            value = self._tape.loss(self._moved(displacement), change=_DOUBLE)
        return float(value) / self._scale

    def gradient_at(self, displacement: torch.Tensor) -> torch.Tensor:
        self._in_time()
        with unavailable_on_failure():
            _, gradients = self._tape.gradients(self._moved(displacement), change=_DOUBLE)
        found = dict(zip(self._tape.parameters, gradients, strict=True))
        pieces = []
        for parameter in self._parameters:
            gradient = found[parameter]
            known = torch.zeros(parameter.numel()) if gradient is None else gradient.reshape(-1)
            pieces.append(known.to(displacement))
        return torch.cat(pieces) / self._scale

    def _in_time(self) -> None:
        # float64 is up to 64 times as slow as float32 on a GPU made for graphics.
        if time.monotonic() >= self._deadline:
            raise CurvatureUnavailable("there was no time to replay the step")

    def _moved(self, displacement: torch.Tensor) -> list[torch.Tensor]:
        pieces = blocks(displacement, self._parameters)
        there = {
            p: p.detach().double() + piece.to(p.device)
            for p, piece in zip(self._parameters, pieces, strict=True)
        }
        return _exchanged(self._tape, there)
