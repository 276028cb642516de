"""The script's own forward pass, run again on the same batch with the same random draws.

It serves curvature where the loss is the model's output, or one loss function of it; anything
else is left alone. Everything the pass may change besides the graph is put back.
"""

from __future__ import annotations

import functools
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from convlint.gpu_probes.attach.autograd_graph import tensors_in
from convlint.gpu_probes.attach.measuring import kept_random_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from convlint.gpu_probes.attach.loss_watch import LossCall


@dataclass
class RecordedForward:
    """What a forward pass started from, and what it gave."""

    module: nn.Module
    args: tuple[Any, ...]
    random_state: torch.Tensor
    cuda_states: list[torch.Tensor]
    output: Any = None


def record_forward(module: nn.Module, args: tuple[Any, ...]) -> RecordedForward:
    """Keep the arguments and the random state of a forward pass about to run."""
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # untyped in torch
    states = torch.cuda.get_rng_state_all() if cuda else []
    return RecordedForward(module, args, torch.get_rng_state(), states)


def replayed_loss(
    recorded: RecordedForward, loss: torch.Tensor, calls: list[LossCall]
) -> Callable[[], torch.Tensor] | None:
    """A function that computes ``loss`` again, or None where that cannot be done to the bit."""
    compute = _computation(recorded, loss, calls)
    if compute is None:
        return None

    def again() -> torch.Tensor:
        with kept_random_state(), kept_module_state(recorded.module), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_rng_state(recorded.random_state)
            if recorded.cuda_states:
                torch.cuda.set_rng_state_all(recorded.cuda_states)
            return compute()

    try:
        same = torch.equal(again().detach(), loss.detach())
    except Exception:  # the script's own forward pass may raise anything when run out of turn
        return None
    return again if same else None


def _computation(
    recorded: RecordedForward, loss: torch.Tensor, calls: list[LossCall]
) -> Callable[[], torch.Tensor] | None:
    outputs = list(tensors_in(recorded.output))

    def run_forward() -> list[torch.Tensor]:
        return list(tensors_in(recorded.module(*recorded.args)))

    own = _position(loss, outputs)
    if own is not None:
        return functools.partial(_picked, run_forward, own)
    for call in calls:
        position = _position(call.input, outputs)
        if call.result is loss and position is not None:
            return functools.partial(_applied, call, run_forward, position)
    return None


def _picked(run_forward: Callable[[], list[torch.Tensor]], position: int) -> torch.Tensor:
    return run_forward()[position]


def _applied(
    call: LossCall, run_forward: Callable[[], list[torch.Tensor]], position: int
) -> torch.Tensor:
    function = getattr(functional, call.function)
    result = function(run_forward()[position], target=call.target, **call.arguments)
    assert isinstance(result, torch.Tensor)
    return result


def _position(wanted: torch.Tensor, tensors: list[torch.Tensor]) -> int | None:
    return next((i for i, tensor in enumerate(tensors) if tensor is wanted), None)


@contextmanager
def kept_module_state(root: nn.Module) -> Iterator[None]:
    """Put back every attribute and container that a forward pass changes; lend it buffers.

    The forward pass works on copies of the buffers: the script's graph may need the originals,
    and even writing their old content back would show in their version.
    """
    modules = list(root.modules())
    attributes = [dict(module.__dict__) for module in modules]
    containers = [
        (value, type(value)(value))
        for held in attributes
        for value in held.values()
        if type(value) in (list, dict, set)
    ]
    for module in modules:
        module.__dict__["_buffers"] = {
            name: None if buffer is None else buffer.detach().clone()
            for name, buffer in module._buffers.items()
        }
    try:
        yield
    finally:
        for module, held in zip(modules, attributes, strict=True):
            module.__dict__.clear()
            module.__dict__.update(held)
        for container, content in containers:
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)
