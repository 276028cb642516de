"""Derivatives of the usual activation functions, from their input or their output.

Saturation is judged by what the activation lets through: the mean of \\|f'(x)\\| over the samples
as a share of the largest \\|f'\\| (PROBES.md M3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Derivative:
    """``of(values)`` is f', ``largest`` its largest magnitude; ``values`` is the output of the
    activation when ``from_output`` (exact even where the input was overwritten), else the input."""

    of: Callable[[torch.Tensor], torch.Tensor]
    largest: float
    from_output: bool


def _gelu(x: torch.Tensor) -> torch.Tensor:
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    below: torch.Tensor = torch.special.ndtr(x)
    return below + x * density


def _silu(x: torch.Tensor) -> torch.Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate))


def _mish(x: torch.Tensor) -> torch.Tensor:
    inner = torch.tanh(torch.nn.functional.softplus(x))
    return inner + x * (1 - inner * inner) * torch.sigmoid(x)


def _elu(y: torch.Tensor) -> torch.Tensor:
    return torch.where(y > 0, torch.ones_like(y), y + 1)


_SELU_SCALE: Final = 1.0507009873554805
_SELU_FLOOR: Final = _SELU_SCALE * 1.6732632423543772


def _selu(y: torch.Tensor) -> torch.Tensor:
    return torch.where(y > 0, torch.full_like(y, _SELU_SCALE), y + _SELU_FLOOR)


def _hardswish(x: torch.Tensor) -> torch.Tensor:
    inside = (2 * x + 3) / 6
    return torch.where(x < -3, torch.zeros_like(x), torch.where(x > 3, torch.ones_like(x), inside))


def _hardsigmoid(y: torch.Tensor) -> torch.Tensor:
    return ((y > 0) & (y < 1)).to(y.dtype) / 6


def _hardtanh(y: torch.Tensor) -> torch.Tensor:
    return (y.abs() < 1).to(y.dtype)


DERIVATIVES: Final[dict[str, Derivative]] = {
    "sigmoid": Derivative(lambda y: y * (1 - y), 0.25, True),
    "tanh": Derivative(lambda y: 1 - y * y, 1.0, True),
    "softsign": Derivative(lambda y: (1 - y.abs()) ** 2, 1.0, True),
    "softplus": Derivative(torch.sigmoid, 1.0, False),
    # The largest slopes lie at x = sqrt(2) for GELU, x = 2.3994 for SiLU, x = 1.4906 for Mish.
    "gelu": Derivative(_gelu, 1.1289, False),
    "silu": Derivative(_silu, 1.0998, False),
    "mish": Derivative(_mish, 1.0885, False),
    "elu": Derivative(_elu, 1.0, True),
    "selu": Derivative(_selu, _SELU_FLOOR, True),
    "hardswish": Derivative(_hardswish, 1.5, False),
    "hardsigmoid": Derivative(_hardsigmoid, 1 / 6, True),
    "hardtanh": Derivative(_hardtanh, 1.0, True),
}
"""Kinds whose saturation is measured. The ReLU family has none here: its flat half is measured
exactly, as dead units."""
