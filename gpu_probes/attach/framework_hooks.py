"""Hooks torch: every place through which a training loop must pass tells the observer.

Nothing here changes a number of the script: functions are wrapped by attribute, called with the
arguments they were given, and return what they returned.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from convlint.gpu_probes.attach.schedule_watch import called_by_construction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from convlint.gpu_probes.attach.observer import Observer


def install_hooks(observer: Observer) -> None:
    """Hook torch in this process, for good."""
    _hook_creation(observer)
    _hook_backward(observer)
    _hook_steps(observer)
    _hook_clearing(observer)
    _hook_clipping(observer)
    _hook_scaler(observer)
    _hook_schedulers(observer)
    _hook_loader(observer)
    _hook_gradients_elsewhere(observer)
    _hook_captured_graphs(observer)
    observer.losses.install()
    if observer.ranks.own_time is not None:
        observer.ranks.own_time.follow_exchanges()


@contextmanager
def hooks_installed(observing: Callable[[], Observer]) -> Iterator[Observer]:
    """Hook torch for the observer that ``observing`` makes, and leave torch as it was.

    One thing stays: a ``__new__`` of schedulers that then does what ``object.__new__`` does.
    Python cannot take it back: a class that once had its own refuses arguments without it.
    """
    owners: list[Any] = [
        *(nn.Module, torch.optim.Optimizer, torch.amp.GradScaler, torch.utils.data.DataLoader),
        *(torch.autograd, torch.func, nn.utils, nn.utils.clip_grad, nn.functional),
        torch.cuda.CUDAGraph,
        *_with_subclasses(torch.optim.lr_scheduler.LRScheduler),
    ]
    before = [dict(vars(owner)) for owner in owners]
    observer = observing()
    install_hooks(observer)
    try:
        yield observer
    finally:
        observer.forward.detach()
        for handle in observer.handles:
            handle.remove()
        _scheduler_made.clear()
        for owner, names in zip(owners, before, strict=True):
            for name, value in list(vars(owner).items()):
                if value is _new_scheduler:
                    continue
                if name not in names:
                    delattr(owner, name)
                elif value is not names[name]:
                    setattr(owner, name, names[name])


def _with_subclasses(cls: type) -> list[type]:
    below: list[type] = type.__subclasses__(cls)
    return [cls, *(found for each in below for found in _with_subclasses(each))]


def _hook_creation(observer: Observer) -> None:
    for cls in (nn.Module, torch.optim.Optimizer):
        original = cls.__init__

        def created(
            self: Any, *args: Any, _original: Callable[..., None] = original, **kwargs: Any
        ) -> None:
            _original(self, *args, **kwargs)
            if observer.measuring.idle:
                observer.created.remember(self)
                if isinstance(self, torch.optim.Optimizer):
                    observer.optimizers.record(self)

        cls.__init__ = functools.wraps(original)(created)  # type: ignore[method-assign]

    add_group = torch.optim.Optimizer.add_param_group

    @functools.wraps(add_group)
    def add_param_group(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        add_group(self, *args, **kwargs)
        observer.optimizers.groups_changed()

    torch.optim.Optimizer.add_param_group = add_param_group  # type: ignore[method-assign]


def _hook_backward(observer: Observer) -> None:
    original = torch.autograd.backward
    signature = inspect.signature(original)

    @functools.wraps(original)
    def backward(*args: Any, **kwargs: Any) -> None:
        measuring = observer.measuring
        if not measuring.idle:
            if measuring.in_another_thread:
                observer.gradient_in_thread()
            elif measuring.capturing:
                observer.captured()
            original(*args, **kwargs)
            return
        given = signature.bind(*args, **kwargs).arguments.get("tensors")
        tensors = [given] if isinstance(given, torch.Tensor) else list(given or ())
        if not isinstance(given, torch.Tensor):
            args = (tensors, *args[1:]) if args else args
        if not any(t.requires_grad for t in tensors):
            original(*args, **kwargs)
            return
        observer.before_backward(tensors)
        measuring.back_propagating = True
        try:
            original(*args, **kwargs)
        finally:
            measuring.back_propagating = False
        observer.after_backward()

    torch.autograd.backward = backward


def _hook_gradients_elsewhere(observer: Observer) -> None:
    """Gradients that no backward pass brings: a loop that uses only these cannot be followed."""
    for owner, names in (
        (torch.func, ("grad", "grad_and_value", "vjp", "jacrev")),
        (torch.autograd, ("grad",)),
    ):
        for name in names:
            original = getattr(owner, name)

            def gradient(
                *args: Any,
                _original: Callable[..., Any] = original,
                _name: str = f"{owner.__name__}.{name}",
                **kwargs: Any,
            ) -> Any:
                if observer.measuring.idle:
                    observer.gradient_elsewhere(_name)
                return _original(*args, **kwargs)

            setattr(owner, name, functools.wraps(original)(gradient))


def _hook_captured_graphs(observer: Observer) -> None:
    original = torch.cuda.CUDAGraph.replay

    @functools.wraps(original)
    def replay(self: torch.cuda.CUDAGraph) -> None:
        if observer.measuring.idle:
            observer.before_replay()
        original(self)

    torch.cuda.CUDAGraph.replay = replay  # type: ignore[method-assign]


def _hook_steps(observer: Observer) -> None:
    from torch.optim.optimizer import (
        register_optimizer_step_post_hook,
        register_optimizer_step_pre_hook,
    )

    def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        if not observer.measuring.stepping:
            return None
        # The optimizer itself stands first among the arguments of a hooked step.
        closures = [a for a in (*args[1:], *kwargs.values()) if callable(a)]
        followed = observer.before_step(optimizer, closures[0] if closures else None)
        if followed is None:
            return None
        exchange = {id(closures[0]): followed}
        return (
            tuple(exchange.get(id(a), a) for a in args),
            {name: exchange.get(id(a), a) for name, a in kwargs.items()},
        )

    def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if observer.measuring.stepping:
            observer.after_step(optimizer)

    observer.handles += [
        register_optimizer_step_pre_hook(before),
        register_optimizer_step_post_hook(after),
    ]


def _hook_clearing(observer: Observer) -> None:
    clear_optimizer, clear_module = torch.optim.Optimizer.zero_grad, nn.Module.zero_grad

    @functools.wraps(clear_optimizer)
    def optimizer_zero_grad(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        if observer.measuring.idle:
            observer.taped.settle()
        clear_optimizer(self, *args, **kwargs)
        if observer.measuring.stepping:
            observer.optimizers.gradients_cleared(observer.optimizers.record(self))

    @functools.wraps(clear_module)
    def module_zero_grad(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        if observer.measuring.idle:
            observer.taped.settle()
        clear_module(self, *args, **kwargs)
        if observer.measuring.stepping:
            own = {id(p) for p in self.parameters()}
            for record in observer.optimizers.holding(own):
                if own.issuperset(map(id, record.parameters())):
                    observer.optimizers.gradients_cleared(record)
                else:
                    record.note("zero_grad")

    torch.optim.Optimizer.zero_grad = optimizer_zero_grad  # type: ignore[method-assign]
    nn.Module.zero_grad = module_zero_grad  # type: ignore[method-assign]


def _hook_clipping(observer: Observer) -> None:
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        original = getattr(nn.utils, name)

        def clip(
            parameters: torch.Tensor | Iterable[torch.Tensor],
            *args: Any,
            _original: Callable[..., Any] = original,
            **kwargs: Any,
        ) -> Any:
            if not isinstance(parameters, torch.Tensor):
                parameters = list(parameters)
            if observer.measuring.idle:
                observer.taped.clipping(by_value=_original.__name__ == "clip_grad_value_")
            result = _original(parameters, *args, **kwargs)
            if observer.measuring.idle:
                clipped = [parameters] if isinstance(parameters, torch.Tensor) else parameters
                observer.tapes.clipped(clipped, *_clipping(_original, args, kwargs))
                for record in observer.optimizers.holding(id(p) for p in clipped):
                    record.clipped = True
                    record.note("clip")
            return result

        wrapped = functools.wraps(original)(clip)
        setattr(nn.utils, name, wrapped)
        setattr(nn.utils.clip_grad, name, wrapped)


def _clipping(
    original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[object, float | None]:
    """The threshold of a clip, and the order of its norm (None by value)."""
    given = inspect.signature(original).bind(None, *args, **kwargs).arguments
    if "clip_value" in given:
        return given["clip_value"], None
    return given.get("max_norm"), float(given.get("norm_type", 2.0))


def _hook_scaler(observer: Observer) -> None:
    scaler = torch.amp.GradScaler
    scale, unscale = scaler.scale, scaler.unscale_

    @functools.wraps(scale)
    def scaled(self: Any, outputs: Any) -> Any:
        result = scale(self, outputs)
        if self.is_enabled() and observer.measuring.idle:
            observer.loss_scaled(result, self.get_scale())
        return result

    @functools.wraps(unscale)
    def unscaled(self: Any, optimizer: torch.optim.Optimizer) -> None:
        unscale(self, optimizer)
        if self.is_enabled() and observer.measuring.idle:
            observer.optimizers.record(optimizer).note("unscale")
            observer.tapes.unscaled()

    scaler.scale = scaled  # type: ignore[method-assign]
    scaler.unscale_ = unscaled  # type: ignore[method-assign]


def _hook_schedulers(observer: Observer) -> None:
    base = torch.optim.lr_scheduler.LRScheduler
    hooked: set[type] = set()
    driving: list[Any] = []

    def hook_class(cls: type) -> None:
        owner = next((c for c in cls.__mro__ if "step" in vars(c)), None)
        if owner is None or owner in hooked or owner is object:
            return
        hooked.add(owner)
        original = vars(owner)["step"]

        @functools.wraps(original)
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not observer.measuring.idle or called_by_construction():
                return original(self, *args, **kwargs)
            if driving:
                if driving[-1] is not self:
                    observer.schedules.nested(self)
                return original(self, *args, **kwargs)
            observer.schedules.called(self)
            optimizer = getattr(self, "optimizer", None)
            if optimizer is not None:
                observer.optimizers.record(optimizer).note("scheduler_step")
            if observer.phase == "hold":
                return None
            driving.append(self)
            try:
                return original(self, *args, **kwargs)
            finally:
                driving.pop()

        owner.step = step  # type: ignore[attr-defined]

    def made(scheduler: Any) -> None:
        for ancestor in type(scheduler).__mro__:
            hook_class(ancestor)
        observer.schedules.created(scheduler)

    _scheduler_made.append(made)
    base.__new__ = _new_scheduler  # type: ignore[method-assign]


_scheduler_made: list[Callable[[Any], None]] = []
"""Who hears of schedulers: at most one."""


def _new_scheduler(cls: type, *args: Any, **kwargs: Any) -> Any:
    scheduler: Any = object.__new__(cls)
    for made in _scheduler_made:
        made(scheduler)
    return scheduler


def _hook_loader(observer: Observer) -> None:
    loader = torch.utils.data.DataLoader
    original = loader.__iter__

    @functools.wraps(original)
    def iterate(self: Any) -> Any:
        if observer.measuring.idle and observer.steps_seen() == 0:
            observer.loader_used = True
            try:
                observer.loader_batch = getattr(self, "batch_size", None)
                observer.schedules.loader_length = len(self)
            except TypeError:
                observer.schedules.loader_length = None
        return original(self)

    loader.__iter__ = iterate  # type: ignore[method-assign]
