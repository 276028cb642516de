"""The script's own forward pass, run again on the same batch with the same random draws.

It serves curvature where the loss is the model's output or one loss function of it, up to a
constant factor; anything else is left alone. Everything the pass may change besides the graph is
put back.
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

# What leaves a loss the same up to a constant factor.
_MULTIPLES = ("MulBackward0", "DivBackward0")


@dataclass
class RecordedForward:
    """What a forward pass started from, and what it gave."""

    module: nn.Module
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    random_state: torch.Tensor
    cuda_states: list[torch.Tensor]
    output: Any = None


def record_forward(
    module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]
) -> RecordedForward:
    """Keep the arguments and the random state of a forward pass about to run."""
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # untyped in torch
    states = torch.cuda.get_rng_state_all() if cuda else []
    return RecordedForward(module, args, keywords, torch.get_rng_state(), states)


def replayed_loss(
    recorded: RecordedForward, loss: torch.Tensor, calls: list[LossCall]
) -> Callable[[], torch.Tensor] | None:
    """A function that computes ``loss`` again, or None where that cannot be done to the bit."""
    minimised = next(
        (found for found in _candidates(recorded, calls) if _multiple(loss, found.result)), None
    )
    if minimised is None:
        return None
    factor = loss.detach() / minimised.result.detach()

    def again() -> torch.Tensor:
        with kept_random_state(), kept_module_state(recorded.module), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_rng_state(recorded.random_state)
            if recorded.cuda_states:
                torch.cuda.set_rng_state_all(recorded.cuda_states)
            return minimised.compute()

    try:
        same = torch.equal(again().detach(), minimised.result.detach())
    except Exception:  # the script's own forward pass may raise anything when run out of turn
        return None
    if not same or not bool(torch.isfinite(factor)):
        return None
    return again if loss is minimised.result else lambda: again() * factor


@dataclass
class _Candidate:
    """A scalar the script may minimise, and how to compute it again."""

    result: torch.Tensor
    compute: Callable[[], torch.Tensor]


def _candidates(recorded: RecordedForward, calls: list[LossCall]) -> Iterator[_Candidate]:
    """The model's scalar outputs, and the loss functions of its outputs."""
    outputs = list(tensors_in(recorded.output))

    def run_forward() -> list[torch.Tensor]:
        return list(tensors_in(recorded.module(*recorded.args, **recorded.keywords)))

    for position, output in enumerate(outputs):
        if output.numel() == 1:
            yield _Candidate(output, functools.partial(_picked, run_forward, position))
    for call in calls:
        place = next((i for i, output in enumerate(outputs) if output is call.input), None)
        if place is not None and call.result.numel() == 1:
            yield _Candidate(call.result, functools.partial(_applied, call, run_forward, place))


def _multiple(loss: torch.Tensor, part: torch.Tensor) -> bool:
    """Whether ``loss`` is ``part`` times constants: shares of a step, a GradScaler's scale."""
    node, wanted = loss.grad_fn, part.grad_fn
    while node is not None and node is not wanted:
        below = [function for function, _ in node.next_functions if function is not None]
        if node.name() not in _MULTIPLES or len(below) != 1:
            return False
        node = below[0]
    return node is not None


def _picked(run_forward: Callable[[], list[torch.Tensor]], position: int) -> torch.Tensor:
    return run_forward()[position]


def _applied(
    call: LossCall, run_forward: Callable[[], list[torch.Tensor]], position: int
) -> torch.Tensor:
    function = getattr(functional, call.function)
    result = function(run_forward()[position], target=call.target, **call.arguments)
    assert isinstance(result, torch.Tensor)
    return result


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
