"""How far an optimizer steps along the gradient, in units of plain gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["is_adaptive", "plain_rate"]

_ADAPTIVE = frozenset(
    {"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "SparseAdam"}
)


def is_adaptive(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it divides the gradient by the root of its mean square."""
    return type(optimizer).__name__ in _ADAPTIVE


def plain_rate(optimizer: torch.optim.Optimizer) -> float | None:
    """The rate of gradient descent that moves as far as ``SGD`` in the long run.

    Momentum β sums gradients to lr (1 - dampening) / (1 - β). None for other optimizers, and where
    parameter groups differ.
    """
    if type(optimizer).__name__ != "SGD":
        return None
    rates = set()
    for group in optimizer.param_groups:
        momentum = float(group.get("momentum", 0.0))
        dampening = float(group.get("dampening", 0.0)) if momentum else 0.0
        if momentum >= 1.0:
            return None
        rates.add(float(group["lr"]) * (1.0 - dampening) / (1.0 - momentum))
    return rates.pop() if len(rates) == 1 else None
