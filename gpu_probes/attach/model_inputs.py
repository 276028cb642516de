"""The tensors a model is given, and what it does to them before its first layer."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from convlint.gpu_probes.attach.autograd_graph import tensors_in
from convlint.gpu_probes.attach.module_registry import unwrapped


def named_inputs(
    module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
) -> list[tuple[str, torch.Tensor]]:
    """The tensors a module is given, named as its ``forward`` names its parameters."""
    names = [
        name
        for name, parameter in inspect.signature(unwrapped(module).forward).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    names += [f"input{position}" for position in range(len(names), len(args))]
    named = []
    for label, argument in (*zip(names, args, strict=False), *keywords.items()):
        tensors = list(tensors_in(argument, levels=1))
        for index, tensor in enumerate(tensors):
            named.append((label if len(tensors) == 1 else f"{label}[{index}]", tensor))
    return named


def same_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two dense tensors are the same elements in memory."""
    if one is other:
        return True
    if one.layout != torch.strided or other.layout != torch.strided or not one.numel():
        return False
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape


def rescaled(given: torch.Tensor, received: torch.Tensor) -> bool:
    """Whether the model changed the scale of its input before its first layer."""
    if given.numel() < 2 or received.numel() < 2:
        return False
    before = torch.stack([given.double().mean(), given.double().std()])
    after = torch.stack([received.double().mean(), received.double().std()])
    # A hundredth of the spread: reshaping and cropping stay below, any normalisation is above.
    return bool(((before - after).abs() > 0.01 * before[1]).any())
