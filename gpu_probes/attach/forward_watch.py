"""What happens inside the model: inputs, activations, signals, modes, seen by module hooks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convlint.gpu_probes.attach.autograd_graph import tensors_in
from convlint.gpu_probes.attach.mode_watch import ModeWatch, is_mode_sensitive
from convlint.gpu_probes.attach.model_inputs import named_inputs, rescaled, same_memory
from convlint.gpu_probes.attach.module_calls import ModuleCalls
from convlint.gpu_probes.attach.moving_targets import MovingTargets
from convlint.gpu_probes.attach.places import user_place
from convlint.gpu_probes.quantities.activations import ActivationRecorder
from convlint.gpu_probes.quantities.gradient_flow import GradientFlowRecorder
from convlint.gpu_probes.quantities.inputs import InputRecorder

if TYPE_CHECKING:
    from types import CodeType

    from convlint.gpu_probes.attach.autograd_graph import LossGraph
    from convlint.gpu_probes.attach.module_registry import Model
    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.observations import Place

_Where = tuple[nn.Module | None, "CodeType | None", int]

ACTIVATION_MODULES = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "LeakyReLU": "leaky_relu",
    "PReLU": "leaky_relu",
    "RReLU": "leaky_relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "GELU": "gelu",
    "SiLU": "silu",
    "ELU": "elu",
    "CELU": "elu",
    "SELU": "selu",
    "Softplus": "softplus",
    "Hardtanh": "hardtanh",
    "Hardsigmoid": "hardsigmoid",
    "Hardswish": "hardswish",
    "Mish": "mish",
}
ACTIVATION_FUNCTIONS = {
    **{name: name for name in ("relu", "relu6", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")},
    **{name: name for name in ("elu", "selu", "softplus", "softmax", "hardtanh", "mish")},
    "relu_": "relu",
    "sigmoid_": "sigmoid",
    "tanh_": "tanh",
}
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_NORMALISING = ("Norm", "Embedding")
# A forward pass that never meets a backward pass is forgotten after this many others, or after
# this many backward passes that were not its own.
_REMEMBERED_FORWARDS = 64
_REMEMBERED_BACKWARDS = 3
# Steps of an unrolled loop observed separately at one line; the rest repeat it.
_CALLS_PER_OWNER = 64


@dataclass(eq=False)
class ForwardPass:
    """One outermost forward pass with gradients on, until a backward pass claims it."""

    model: Model
    nodes: list[Any] = field(default_factory=list)
    modes: list[tuple[nn.Module, bool]] = field(default_factory=list)
    inputs: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    given: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    """The same, until the forward pass is over."""
    mixing: str = ""
    """Class of the first module in it that computes with statistics of the batch."""
    first_layer: nn.Module | None = None
    calls: dict[str, int] = field(default_factory=dict)
    place: Place | None = None
    missed: int = 0
    """Backward passes that did not come from this forward pass."""


class _FunctionalActivations(TorchFunctionMode):
    """Sees activations called as functions or tensor methods."""

    def __init__(self, watch: ForwardWatch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kind = ACTIVATION_FUNCTIONS.get(getattr(func, "__name__", ""))
        if kind is None or not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        return self._watch.functional_activation(func, kind, args, kwargs)


class ForwardWatch:
    """Feeds the recorders from global module hooks; hooks nothing on the tensors' backward but
    the reads of the gradient-flow recorder."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._measuring = observer.measuring
        self.inputs = InputRecorder()
        self.activations = ActivationRecorder()
        self.flows: dict[str, GradientFlowRecorder] = {}
        self.passes: deque[ForwardPass] = deque(maxlen=_REMEMBERED_FORWARDS)
        self.recurrent = False
        self.same_batch_memory = False
        """Whether the script passes the very same data again: training on the full batch."""
        self._previous_input: torch.Tensor | None = None
        self.modes = ModeWatch(observer.models)
        self.targets = MovingTargets()
        self._stack: list[nn.Module] = []
        self._current: ForwardPass | None = None
        self._mode: _FunctionalActivations | None = None
        self._handles: list[Any] = []
        self._calls = ModuleCalls()
        self._wheres: dict[tuple[int, CodeType | None, int], _Where] = {}
        self.attach()

    def attach(self) -> None:
        """Hook every module, unless that is done already."""
        if not self._handles:
            self._calls.follow()
            module = nn.modules.module
            self._handles = [
                module.register_module_forward_pre_hook(self._before),
                module.register_module_forward_hook(self._after, always_call=True),
            ]

    def detach(self) -> None:
        """Remove the module hooks: from here on the model runs at full speed."""
        if self._handles:
            self._calls.leave()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._previous_input = None
        self.passes.clear()

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not self._measuring.idle:
            return
        outermost = not self._stack
        self._stack.append(module)
        if not torch.is_grad_enabled():
            if outermost:
                self.targets.evaluated(module)
            return
        if outermost:
            self._begin(module, args)
        if self._current is not None:
            with self._measuring.section("modes"):
                self._note_layer(module, args)

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        with self._measuring.section("models"):
            if not any(True for _ in module.parameters()):
                return
            model = self._observer.models.model_of(module)
            self._current = ForwardPass(model, place=user_place())
            keywords, self._calls.keywords = self._calls.keywords, {}
            inputs = named_inputs(module, args, keywords)
            if self._observer.window_open:
                self._current.inputs = inputs
            self._current.given = inputs
            self._compare_with_previous(inputs)
            self._observer.ranks.batch(tensor for _, tensor in inputs)
        if self._current is not None and self._observer.window_open:
            self._mode = _FunctionalActivations(self)
            self._mode.__enter__()  # type: ignore[no-untyped-call]  # untyped in torch
        if self._current is not None:
            self._observer.tapes.begin()

    def _compare_with_previous(self, inputs: list[tuple[str, torch.Tensor]]) -> None:
        """Notice a batch that lies where the one before lies: the data set itself.

        The batch before is kept alive meanwhile, so that its memory is not used again.
        """
        if not inputs or self.same_batch_memory:
            return
        first, before = inputs[0][1], self._previous_input
        if before is not None and same_memory(first, before):
            self.same_batch_memory = True
        self._previous_input = first.detach()

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if module not in self._stack or not self._measuring.idle:
            return
        while self._stack.pop() is not module:
            continue
        outermost = not self._stack
        if outermost and self._mode is not None:
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._mode = None
        forward = self._current
        if forward is None:
            return
        if self._observer.window_open and output is not None:
            with self._measuring.section("activations"):
                self._note_output(forward, module, args, output)
        if outermost:
            self._current = None
            self._observer.taped.forwarded(forward, output)
            forward.given = []
            with self._measuring.section("inputs"):
                self._give_inputs(forward, None, None)
            forward.nodes = [t.grad_fn for t in tensors_in(output) if t.grad_fn is not None]
            if forward.nodes:
                self.passes.append(forward)

    def _note_layer(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        forward = self._current
        assert forward is not None
        if is_mode_sensitive(module):
            forward.modes.append((module, module.training))
        if isinstance(module, _RECURRENT):
            self.recurrent = True
        if not forward.mixing and _mixes_samples(module):
            forward.mixing = type(module).__name__
        if forward.first_layer is None and _is_first_layer(module):
            forward.first_layer = module
            tensor = next((a for a in args if isinstance(a, torch.Tensor)), None)
            self._give_inputs(forward, module, tensor)

    def _give_inputs(
        self, forward: ForwardPass, layer: nn.Module | None, received: torch.Tensor | None
    ) -> None:
        inputs, forward.inputs = forward.inputs, []
        for name, tensor in inputs:
            if not self._observer.window_open:
                continue
            inside = ""
            if layer is not None and any(mark in type(layer).__name__ for mark in _NORMALISING):
                inside = type(layer).__name__
            elif received is not None and rescaled(tensor, received):
                inside = "forward"
            self._observer.check_finite("input", name, tensor, forward.place)
            self.inputs.observe(forward.model.name, name, tensor, forward.place, inside)

    def _note_output(
        self, forward: ForwardPass, module: nn.Module, args: tuple[Any, ...], output: Any
    ) -> None:
        tensor = next(iter(tensors_in(output)), None)
        if tensor is None or not tensor.is_floating_point():
            return
        model = forward.model
        name, cls = model.module_name(module), type(module).__name__
        kind = ACTIVATION_MODULES.get(cls)
        bears_weight = any(p is not None for p in module._parameters.values())
        if kind is None and not bears_weight:
            return
        place = self._observer.models.place(module, model)
        depth = model.depth(module)
        self._observer.check_finite("activation", name, tensor, place)
        if kind is not None:
            received = args[0] if args and isinstance(args[0], torch.Tensor) else tensor
            dim = getattr(module, "dim", None) if kind == "softmax" else None
            self.activations.observe(
                name, cls, kind, depth, received, tensor, place, self._enclosing(), dim=dim
            )
        else:
            flow = self.flows.setdefault(model.name, GradientFlowRecorder())
            flow.forward(name, cls, depth, tensor, place)

    def functional_activation(
        self, func: Any, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call ``func`` and observe it, unless an activation module is calling."""
        owner, forward = (self._stack[-1] if self._stack else None), self._current
        if owner is None or forward is None or not self._measuring.idle:
            return func(*args, **kwargs)
        if type(owner).__name__ in ACTIVATION_MODULES:
            return func(*args, **kwargs)
        in_place = func.__name__.endswith("_") or bool(kwargs.get("inplace"))
        received = args[0].detach().clone() if in_place else args[0]
        output = func(*args, **kwargs)
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            with self._measuring.section("functional activations"):
                self._note_functional(forward, owner, kind, received, output, args, kwargs)
        return output

    def _note_functional(
        self,
        forward: ForwardPass,
        owner: nn.Module,
        kind: str,
        received: torch.Tensor,
        output: torch.Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        label = ".".join(part for part in (forward.model.module_name(owner), kind) if part)
        number = forward.calls[label] = forward.calls.get(label, -1) + 1
        if number >= _CALLS_PER_OWNER:
            return
        name = f"{label}[{number}]" if number else label
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None) if kind == "softmax" else None
        depth = forward.model.named_depth(name)
        place = user_place()
        self._observer.check_finite("activation", name, output, place)
        self.activations.observe(
            name, kind, kind, depth, received, output, place, self._enclosing(), dim=dim
        )

    def where(self) -> _Where:
        """The module that is computing, and the user's frame with its line."""
        frame = self._calls.user_frame()
        module = self._stack[-1] if self._stack else None
        code, line = (None, 0) if frame is None else (frame.f_code, frame.f_lineno)
        # One object for all operations of a line.
        return self._wheres.setdefault((id(module), code, line), (module, code, line))

    def _enclosing(self) -> str:
        for module in reversed(self._stack):
            name = type(module).__name__
            if isinstance(module, _RECURRENT) or "Attention" in name or "Attn" in name:
                return name
        return ""

    def claim(self, graph: LossGraph, place: Place | None) -> list[ForwardPass]:
        """The forward passes that led to this loss, back-propagated at ``place``."""
        claimed = [forward for forward in self.passes if graph.contains(forward.nodes)]
        unclaimed = [forward for forward in self.passes if forward not in claimed]
        self.passes.clear()
        for forward in unclaimed:
            forward.missed += 1
            if forward.missed < _REMEMBERED_BACKWARDS:
                self.passes.append(forward)
        self.targets.back_propagated(forward.model.root for forward in claimed)
        for forward in claimed:
            self.modes.followed(place, forward.model, forward.modes)
        return claimed


def _mixes_samples(module: nn.Module) -> bool:
    """Whether the module's output for a sample depends on the others' by design."""
    statistics = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return statistics and (module.training or module.running_mean is None)


def _is_first_layer(module: nn.Module) -> bool:
    bears_weight = any(p is not None for p in module._parameters.values())
    return bears_weight or "Norm" in type(module).__name__
