"""Which tensors are float16: cast by hand, made by a converted model, or under autocast."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from convlint.program.facts import EventKind
from convlint.rules.patterns.flows import JOIN, SHAPE_OPS, objects_by_id
from convlint.rules.patterns.gradients import events_of_kind
from convlint.rules.patterns.layers import ACTIVATION_OPS, DROPOUT_OPS, is_weight_layer

if TYPE_CHECKING:
    from convlint.program.facts import Flow, Object, TrainingProgram
    from convlint.rules.patterns.flows import FlowGraph

__all__ = ["HalfPrecision"]

HALF = frozenset({"torch.float16", "torch.half"})
CASTS = frozenset({"to", "type", "float", "double", "bfloat16", "half", "tensor", "type_as"})
KEEPING = (
    (SHAPE_OPS - CASTS - {"numpy", "from_numpy", "as_tensor", "array", "asarray", "astype"})
    | ACTIVATION_OPS
    | DROPOUT_OPS
    | {"sum", "mean", "norm", "std", "var", "exp", "sqrt", "abs", "pow", "masked_fill", "neg"}
)
"""Operations on one tensor that keep its dtype (outside autocast)."""
ARITHMETIC = frozenset({"add", "sub", "mul", "div"})
PRODUCTS = frozenset({"matmul", "mm", "bmm", "einsum", "baddbmm", "addmm"})
"""Operations that autocast runs in float16, as it does linear layers and convolutions."""
AUTOCAST_KEEPING = (SHAPE_OPS - CASTS) | DROPOUT_OPS | ARITHMETIC | {"relu"}


class HalfPrecision:
    """The float16 tensors of one program; unknown is not float16."""

    def __init__(self, program: TrainingProgram, graph: FlowGraph) -> None:
        """Prepare to judge the tensors of ``program``."""
        self._program = program
        self._graph = graph

    def is_half(self, number: int | None) -> bool:
        """Whether a tensor surely is float16."""
        seen: set[int] = set()
        under_autocast = number in self._autocast
        pending = [number]
        while pending:
            flow = self._graph.get(pending.pop())
            if flow is None:
                return False
            if flow.id in seen:
                continue
            seen.add(flow.id)
            if flow.id in self._outputs_of_half_models or self._casts_to_half(flow):
                continue
            if under_autocast:
                if flow.op in PRODUCTS or is_weight_layer(flow.op):
                    continue
                passing = flow.op in AUTOCAST_KEEPING
            else:
                passing = flow.op in KEEPING or (flow.op in ARITHMETIC and len(flow.inputs) == 1)
            if flow.op == JOIN:
                pending.extend(flow.inputs)
            elif passing and flow.inputs:
                pending.append(flow.inputs[0])
            else:
                return False
        return bool(seen)

    @staticmethod
    def _casts_to_half(flow: Flow) -> bool:
        if flow.op == "half":
            return True
        return flow.op in ("to", "type") and any(v.name in HALF for v in flow.args.values())

    @cached_property
    def _outputs_of_half_models(self) -> frozenset[int]:
        objects = objects_by_id(self._program)
        found = set()
        for event in events_of_kind(self._program, EventKind.FORWARD):
            if event.target is None or event.flow is None or "autocast" in event.context:
                continue
            dtype = objects[event.target].attributes.get("dtype")
            if dtype is not None and dtype.name in HALF:
                found.add(event.flow)
        return frozenset(found)

    @cached_property
    def _autocast(self) -> frozenset[int]:
        """The tensors computed by models called under float16 autocast."""
        if not self._autocasts_to_half():
            return frozenset()
        met: set[int] = set()
        pending = [
            event.flow
            for event in events_of_kind(self._program, EventKind.FORWARD)
            if "autocast" in event.context
        ]
        while pending:
            flow = self._graph.get(pending.pop())
            if flow is not None and flow.id not in met:
                met.add(flow.id)
                pending.extend(flow.inputs)
        return frozenset(met)

    def _autocasts_to_half(self) -> bool:
        """Whether every autocast of the program is on a GPU and in float16."""
        casts = [o for o in self._program.objects if o.cls == "torch.amp.autocast"]
        return bool(casts) and all(_is_half_on_gpu(cast) for cast in casts)


def _is_half_on_gpu(cast: Object) -> bool:
    """Whether an autocast is on a GPU (which the old ``torch.cuda.amp.autocast`` need not say) and
    in float16, its dtype there when none is given."""
    device, dtype = cast.args.get("device_type"), cast.args.get("dtype")
    on_gpu = device is None or device.constant == "cuda"
    enabled = cast.args.get("enabled")
    off = enabled is not None and enabled.constant is False
    return on_gpu and not off and (dtype is None or dtype.name in HALF)
