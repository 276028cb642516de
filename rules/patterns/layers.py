"""What a model is made of: weight layers in order, what follows each, and what surrounds them.

Families are named by canonical operation (``Flow.op``), so that a module, a function and a method
are one thing; a layer's class is brought to the same form.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from convlint.lazy_regex import lazy_regex
from convlint.program.libraries.operations import operation
from convlint.rules.patterns.flows import SHAPE_OPS, UNKNOWN_SOURCES, FlowGraph, objects_by_id
from convlint.rules.patterns.once import once_per_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Flow, Model, Object, TrainingProgram

__all__ = [
    "ACTIVATION_OPS",
    "PARAMETERLESS_OPS",
    "RECTIFIER_OPS",
    "SATURATING_OPS",
    "SMOOTH_RECTIFIER_OPS",
    "Architecture",
    "Stage",
    "canonical",
    "fan_in",
    "is_attention",
    "is_normalisation",
    "is_recurrent",
    "is_weight_layer",
]

RECTIFIER_OPS = frozenset({"relu", "relu6", "leaky_relu", "prelu", "rrelu"})
"""Piecewise linear activations that pass about half of the signal's variance."""
SMOOTH_RECTIFIER_OPS = frozenset(
    {"gelu", "silu", "elu", "celu", "selu", "mish", "hardswish", "softplus", "glu"}
)
SATURATING_OPS = frozenset({"sigmoid", "tanh", "softsign", "hardsigmoid", "hardtanh"})
"""Activations that are flat on both sides."""
OUTPUT_OPS = frozenset({"softmax", "log_softmax", "softmin", "softmax2d"})
ACTIVATION_OPS = RECTIFIER_OPS | SMOOTH_RECTIFIER_OPS | SATURATING_OPS | OUTPUT_OPS

DROPOUT_OPS = frozenset(
    {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
)
POOLING_OPS = frozenset(
    f"{kind}_pool{dims}d"
    for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "lp")
    for dims in (1, 2, 3)
)
PASSING_OPS = (
    SHAPE_OPS | DROPOUT_OPS | POOLING_OPS | {"upsample", "interpolate", "zero_pad2d", "pad"}
)
"""Operations a signal's scale passes nearly unchanged."""
PARAMETERLESS_OPS = (
    (ACTIVATION_OPS - {"prelu"}) | PASSING_OPS | {"threshold", "unfold", "fold", "pixel_shuffle"}
)

_WEIGHT = lazy_regex(r"^(lazy_)?(linear|bilinear|conv(_transpose)?[123]d|conv_transpose[123]d)$")
_NORMALISATION = lazy_regex(
    r"^(lazy_)?(batch_norm|sync_batch_norm|layer_norm|group_norm|instance_norm|rms_norm"
    r"|local_response_norm|weight_norm|spectral_norm|normalize)([123]d)?$"
)
_RECURRENT = lazy_regex(r"^(lstm|gru|rnn)(_cell|_tanh|_relu)*$")
_ATTENTION = lazy_regex(r"^(multihead_attention|scaled_dot_product_attention|transformer\w*)$")
_MERGING = frozenset(
    {
        "add", "iadd", "sub", "isub", "mul", "imul", "matmul", "bmm", "mm", "einsum", "cat",
        "concat", "concatenate", "stack", "hstack", "vstack", "addcmul", "baddbmm", "hypot",
        "maximum", "minimum", "where",
    }
)  # fmt: skip
"""Operations that bring several tensors together: skip connections, gates, products."""


def canonical(cls: str) -> str:
    """A class in the form of ``Flow.op``: ``torch.nn.BatchNorm2d`` gives ``batch_norm2d``.

    Empty for a class that is not torch's.
    """
    return operation(cls) if cls.startswith("torch.") else ""


def is_weight_layer(op: str) -> bool:
    """Whether ``op`` is a linear map with a weight: Linear, a convolution."""
    return bool(_WEIGHT.match(op))


def is_normalisation(op: str) -> bool:
    """Whether ``op`` normalises its input."""
    return bool(_NORMALISATION.match(op))


def is_recurrent(op: str) -> bool:
    """Whether ``op`` is a recurrent layer or cell."""
    return bool(_RECURRENT.match(op))


def is_attention(op: str) -> bool:
    """Whether ``op`` is an attention or transformer layer."""
    return bool(_ATTENTION.match(op))


def fan_in(layer: Object) -> float | None:
    """Inputs per output unit of a weight layer, or None when its sizes are not known."""
    op = canonical(layer.cls)

    def number(name: str, default: float | None = None) -> float | None:
        value = layer.args.get(name)
        return default if value is None else value.number

    if op == "linear":
        return number("in_features")
    if re.match(r"^conv[123]d$", op):
        channels, groups = number("in_channels"), number("groups", 1.0)
        kernel = layer.args.get("kernel_size")
        if channels is None or not groups or kernel is None:
            return None
        if kernel.numbers is not None:
            area = 1.0
            for side in kernel.numbers:
                area *= side
        elif kernel.number is not None:
            area = kernel.number ** int(op[-2])
        else:
            return None
        return channels / groups * area
    return None


class Stage(msgspec.Struct, frozen=True):
    """One weight layer in a model, and the operation its output meets next.

    ``activation`` is the next operation that is not dropout, pooling, a reshape or a
    normalisation; None when there is none or the graph branches there. ``layer`` is None for a
    functional call on a bare parameter.
    """

    op: str
    layer: Object | None
    activation: str | None
    next_stage: int | None
    """Position of the weight layer that follows in a straight line, None for the last."""


@once_per_program
def _forwards(program: TrainingProgram) -> dict[int, tuple[Flow, ...]]:
    """The flows of each model's forward, by the model's object, as they come to be asked for."""
    return {}


def _in_order(flows: dict[int, Flow]) -> Iterator[Flow]:
    """Inputs before what is computed from them; ties and cycles by number."""
    done: set[int] = set()
    for start in sorted(flows):
        pending = [(start, False)]
        entered: set[int] = set()
        while pending:
            number, ready = pending.pop()
            if number in done or number not in flows:
                continue
            if ready or number in entered:
                done.add(number)
                yield flows[number]
                continue
            entered.add(number)
            pending.append((number, True))
            pending.extend((child, False) for child in reversed(flows[number].inputs))


class Architecture:
    """One model: its weight layers in the order of use, and what else is in it."""

    def __init__(self, program: TrainingProgram, model: Model) -> None:
        """Read ``model`` of ``program``; its forward when it is known, else its Sequential."""
        self._program = program
        self._objects = objects_by_id(program)
        self._graph = FlowGraph(program)
        self.model = model

    @cached_property
    def _flows(self) -> tuple[Flow, ...]:
        """The flows of the forward, in order of computation."""
        if not self.model.forward_known:
            return ()
        known = _forwards(self._program)
        if self.model.object not in known:
            found = {
                flow.id: flow
                for output in self.model.outputs
                for flow in self._graph.ancestors(output)
            }
            known[self.model.object] = tuple(_in_order(found))
        return known[self.model.object]

    @cached_property
    def layers(self) -> tuple[Object, ...]:
        """The library modules in the model, in order of registration."""
        return tuple(self._objects[n] for n in self.model.layers if n in self._objects)

    def owners(self) -> Iterator[Object]:
        """The model and every submodule registered in it."""
        pending, met = [self.model.object], set[int]()
        while pending:
            module = self._objects.get(pending.pop())
            if module is not None and module.id not in met:
                met.add(module.id)
                yield module
                pending.extend(module.children.values())

    @cached_property
    def ops(self) -> frozenset[str]:
        """Every operation in the model, by what its forward does and by what it registers."""
        used = {flow.op for flow in self._flows}
        return frozenset(used | {canonical(layer.cls) for layer in self.layers})

    @cached_property
    def known(self) -> bool:
        """Whether nothing in the model is hidden from us."""
        if not self.model.complete or UNKNOWN_SOURCES & self.ops:
            return False
        if any(not canonical(layer.cls) for layer in self.layers):
            return False
        return bool(self.stages)

    @property
    def normalises(self) -> bool:
        """Whether there is any normalisation layer or call."""
        return any(is_normalisation(op) for op in self.ops)

    @property
    def recurrent(self) -> bool:
        """Whether there is any recurrent layer or cell."""
        return any(is_recurrent(op) for op in self.ops)

    @property
    def attends(self) -> bool:
        """Whether there is any attention or transformer layer."""
        return any(is_attention(op) for op in self.ops)

    @property
    def embeds(self) -> bool:
        """Whether there is any embedding."""
        return bool({"embedding", "embedding_bag"} & self.ops)

    @cached_property
    def merges(self) -> bool:
        """Whether tensors meet: a skip connection, a gate, a product of two activations."""
        for flow in self._flows:
            if flow.op in _MERGING and len(flow.inputs) > 1:
                origins = [self._graph.get(number) for number in flow.inputs]
                if sum(o is not None and o.op != "<constant>" for o in origins) > 1:
                    return True
        return False

    @property
    def plain(self) -> bool:
        """Fully known, and nothing but weight layers and activations in a straight line."""
        return self.known and not (self.normalises or self.recurrent or self.attends or self.merges)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The weight layers, in the order in which the signal meets them."""
        return self._stages_of_forward() if self._flows else self._stages_of_sequential()

    def _stages_of_forward(self) -> tuple[Stage, ...]:
        within = frozenset(flow.id for flow in self._flows)
        weights = [flow for flow in self._flows if is_weight_layer(flow.op)]
        position = {flow.id: index for index, flow in enumerate(weights)}
        normalisation = frozenset(op for op in self.ops if is_normalisation(op))
        passing = PASSING_OPS | normalisation
        stages = []
        for flow in weights:
            after = self._graph.following(flow, within, passing)
            following = self._graph.following(flow, within, passing | ACTIVATION_OPS)
            layer = self._objects.get(flow.layer) if flow.layer is not None else None
            stages.append(
                Stage(
                    op=flow.op,
                    layer=layer,
                    activation=after.op if after is not None else None,
                    next_stage=position.get(following.id) if following is not None else None,
                )
            )
        return tuple(stages)

    @cached_property
    def sequence(self) -> tuple[Object, ...]:
        """The modules a bare Sequential applies one after the other; empty for other models."""
        root = self._objects.get(self.model.object)
        if root is None or canonical(root.cls) != "sequential":
            return ()
        return tuple(self._flattened(root))

    def _stages_of_sequential(self) -> tuple[Stage, ...]:
        chain = self.sequence
        stages: list[Stage] = []
        for index, layer in enumerate(chain):
            if not is_weight_layer(canonical(layer.cls)):
                continue
            ops = [canonical(other.cls) for other in chain[index + 1 :]]
            met = [op for op in ops if op not in PASSING_OPS and not is_normalisation(op)]
            beyond = [op for op in met if op not in ACTIVATION_OPS]
            straight = bool(beyond) and is_weight_layer(beyond[0])
            stages.append(
                Stage(
                    op=canonical(layer.cls),
                    layer=layer,
                    activation=met[0] if met else None,
                    next_stage=len(stages) + 1 if straight else None,
                )
            )
        return tuple(stages)

    def _flattened(self, sequential: Object) -> Iterator[Object]:
        for number in sequential.children.values():
            child = self._objects.get(number)
            if child is not None:
                if canonical(child.cls) == "sequential":
                    yield from self._flattened(child)
                else:
                    yield child

    def longest_run(self, followed_by: frozenset[str]) -> tuple[Stage, ...]:
        """The longest straight line of weight layers each followed by one of these activations."""
        best: tuple[Stage, ...] = ()
        for first in range(len(self.stages)):
            run: list[Stage] = []
            at: int | None = first
            while at is not None and self.stages[at].activation in followed_by:
                run.append(self.stages[at])
                at = self.stages[at].next_stage
                if len(run) > len(self.stages):
                    break
            if len(run) > len(best):
                best = tuple(run)
        return best

    def hidden(self) -> tuple[Stage, ...]:
        """The weight layers whose output feeds another weight layer."""
        return tuple(stage for stage in self.stages if stage.next_stage is not None)
