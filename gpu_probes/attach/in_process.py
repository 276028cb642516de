"""``convlint.probe``: the measurements of a probe on a model in this process, left as it was."""

from __future__ import annotations

import copy
import sys
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from convlint.gpu_probes.attach.framework_hooks import hooks_installed
from convlint.gpu_probes.attach.measuring import kept_random_state
from convlint.gpu_probes.attach.observer import Observer
from convlint.gpu_probes.attach.run_script import Probe
from convlint.gpu_probes.attach.settings import ProbeSettings
from convlint.gpu_probes.measurements import CURVATURE, REMEDIES, TIERS, budget_of, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from convlint.gpu_probes.observations import Observations, Place


def probe(
    model: torch.nn.Module,
    loss_fn: Callable[[Any, Any], torch.Tensor],
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    *,
    tier: str = "standard",
    steps: int | None = None,
    hold: int | None = None,
    budget: float | None = None,
    curvature: bool = True,
    remedies: bool = False,
) -> Observations:
    """Train ``model`` for a short horizon, measure, and put everything back as it was.

    A batch is ``(input, ..., target)``, trained with ``loss_fn(model(input, ...), target)``, or a
    dict, trained with ``loss_fn(model(**batch), batch)``. ``batches`` (a ``DataLoader``, a list)
    is gone through again when it ends; an iterator ends the probe with its last batch. The loss
    must be a scalar. LBFGS, whose step evaluates the loss itself, is given a closure. Compiled
    models run eagerly meanwhile. ``tier``, ``steps``, ``hold``, ``budget`` (seconds) and ``remedies`` are those
    of ``convlint probe``.

    The model's parameters and buffers, its mode, the optimizer's state and the random state of
    Python, NumPy and torch are afterwards what they were. The measurements are those of
    ``convlint probe``; objects made before the call have no line of their own.

    Returns what was measured; a notebook shows it as a summary with the findings.

    Raises:
        ValueError: an unknown tier, no batch, a batch that is neither a tuple nor a dict, lazy
            parameters without a shape, or a loss that is no scalar with a gradient.
        RuntimeError: called outside the main thread.
        Exception: whatever the model or the loss raises.
    """
    if tier not in TIERS:
        raise ValueError(f"tier={tier!r}: choose {', '.join(TIERS)}")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("convlint.probe measures in the main thread only")
    size = TIERS[tier]
    with tempfile.TemporaryDirectory(prefix="convlint-") as directory:
        settings = ProbeSettings(
            script=sys._getframe(1).f_code.co_filename,
            arguments=(),
            directory=directory,
            steps=steps_of(tier, remedies) if steps is None else steps,
            hold=size.hold if hold is None else hold,
            budget=budget_of(tier, remedies) if budget is None else budget,
            seed=None,
            tier=tier,
            without=() if curvature else CURVATURE,
            also=(REMEDIES,) if remedies else (),
        )
        if any(map(torch.nn.parameter.is_lazy, _tensors_of(model, optimizer))):
            raise ValueError("the model has lazy parameters: call it on a batch before the probe")
        with _left_as_it_was(model, optimizer), _eager():
            seen = _observed(settings, model, loss_fn, batches, optimizer)
    from convlint.curves.run import with_curves

    return with_curves(seen)


class _Concluded(BaseException):
    """Leaves the loop from inside a step."""


class _LocalProbe(Probe):
    """A probe whose end is the end of the loop, not of the process."""

    stopped = "finished"

    def conclude(self, stopped: str, error: str = "", place: Place | None = None) -> NoReturn:
        """Leave the training loop."""
        self.stopped = stopped
        raise _Concluded


def _observed(
    settings: ProbeSettings,
    model: torch.nn.Module,
    loss_fn: Callable[[Any, Any], torch.Tensor],
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
) -> Observations:
    local = _LocalProbe(settings)
    with hooks_installed(lambda: Observer(local)) as observer:
        local.observer = observer
        observer.optimizers.record(optimizer)
        model.train()
        watched = _watched(loss_fn)
        try:
            for batch in _again_and_again(batches):

                def evaluate(batch: Any = batch) -> torch.Tensor:
                    optimizer.zero_grad()
                    loss = _loss(model, watched, batch)
                    loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
                    return loss

                if isinstance(optimizer, torch.optim.LBFGS):
                    optimizer.step(evaluate)  # type: ignore[no-untyped-call]  # as above
                else:
                    evaluate()
                    optimizer.step()
        except _Concluded:
            pass
        return observer.observations(local.stopped, "", None, ())


def _again_and_again(batches: Iterable[Any]) -> Iterator[Any]:
    rounds = 0
    while True:
        iterator = iter(batches)
        number = 0
        for batch in iterator:
            number += 1
            yield batch
        if not number and not rounds:
            raise ValueError("batches is empty")
        if iterator is batches or not number:
            return
        rounds += 1


def _loss(
    model: torch.nn.Module, loss_fn: Callable[[Any, Any], torch.Tensor], batch: Any
) -> torch.Tensor:
    if isinstance(batch, dict):
        loss = loss_fn(model(**batch), batch)
    elif isinstance(batch, tuple | list) and len(batch) > 1:
        loss = loss_fn(model(*batch[:-1]), batch[-1])
    else:
        raise ValueError("a batch must be (input, ..., target) or a dict")
    if not isinstance(loss, torch.Tensor):
        raise ValueError(f"loss_fn returned a {type(loss).__name__}; it must return a tensor")
    if loss.numel() != 1:
        raise ValueError(f"the loss has shape {tuple(loss.shape)}; it must be a scalar")
    if not loss.requires_grad:
        raise ValueError("the loss has no gradient: nothing it was computed from requires one")
    return loss


def _watched(loss_fn: Callable[[Any, Any], torch.Tensor]) -> Callable[[Any, Any], torch.Tensor]:
    """A loss function of torch under our hook: the caller holds the one from before it."""
    name = getattr(loss_fn, "__name__", "")
    hooked = getattr(torch.nn.functional, name, None)
    wraps: bool = getattr(hooked, "__wrapped__", None) is loss_fn
    return hooked if wraps and hooked is not None else loss_fn


@contextmanager
def _eager() -> Iterator[None]:
    """Run compiled code as written: its compiler cannot see through our hooks."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    if "torch._dynamo" not in sys.modules or set_stance is None:
        yield
        return
    with set_stance("force_eager"):
        yield


def _tensors_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> set[torch.Tensor]:
    tensors = {*model.parameters(), *model.buffers()}
    tensors.update(p for group in optimizer.param_groups for p in group["params"])
    return tensors


@contextmanager
def _left_as_it_was(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    tensors = _tensors_of(model, optimizer)
    values = [(tensor, tensor.detach().clone(), tensor.grad) for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    modes = [(module, module.training) for module in model.modules()]
    state = copy.deepcopy(optimizer.state_dict())
    try:
        with kept_random_state():
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for tensor, value, gradient in values:
                tensor.copy_(value)
                tensor.grad = gradient
        optimizer.load_state_dict(state)
