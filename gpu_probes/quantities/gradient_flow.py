"""How the signal grows forward and the gradient backward through depth (PROBES.md M1)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from convlint.gpu_probes.backends.statistics import plain
from convlint.gpu_probes.backends.torch_foreach import sums_of_squares
from convlint.gpu_probes.observations import GradientFlow, LayerFlow, Measurement, Place
from convlint.gpu_probes.quantities.parameters import WeightScale, measurable
from convlint.gpu_probes.quantities.uncertainty import finite_or_none, student_t

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHORTEST_CHAIN: Final = 4
"""Layers of one kind below which a slope has no meaning: three points always look like a line."""

NOT_MIXING: Final = ("Norm", "Embedding", "PReLU")
"""Marks in the class names of modules that bear weights but are no layer of a chain."""


@dataclass
class _Layer:
    name: str
    cls: str
    depth: int
    place: Place | None
    output_squares: torch.Tensor | None = None
    output_elements: int = 0
    gradient_squares: torch.Tensor | None = None
    gradient_elements: int = 0


class GradientFlowRecorder:
    """Accumulates mean squares of module outputs and of the gradients that reach them.

    A tensor hook on the output reads its gradient and returns nothing, so the graph and the
    numbers stay the script's own. Set ``active`` to False when the held batches are over: hooks
    of graphs that are still alive (or are differentiated again for curvature) then do nothing.
    """

    def __init__(self) -> None:
        self.active = True
        self._layers: dict[tuple[str, int], _Layer] = {}

    def forward(
        self, name: str, cls: str, depth: int, output: torch.Tensor, place: Place | None
    ) -> None:
        """Add the output of one call of a weight-bearing module, before it is modified."""
        if not self.active or not output.requires_grad or not measurable(output):
            return
        layer = self._layers.setdefault((name, depth), _Layer(name, cls, depth, place))
        layer.output_squares = _plus(layer.output_squares, _sum_of_squares(output))
        layer.output_elements += output.numel()

        def read(gradient: torch.Tensor) -> None:
            if self.active:
                layer.gradient_squares = _plus(layer.gradient_squares, _sum_of_squares(gradient))
                layer.gradient_elements += gradient.numel()

        output.register_hook(read)  # type: ignore[no-untyped-call]  # untyped in torch

    def results(self, model_name: str, weights: Mapping[str, WeightScale]) -> GradientFlow:
        """The flow through one model, layers in order of depth.

        ``weights`` by module name comes from `ParameterRecorder.weights_by_module`. The slope and
        ``end_to_end`` compare norms over the held batches (rms times the square root of the
        elements), which fan-in initialisation preserves whatever the widths, strides and
        reshapes; over layers of equal size that is the rms.
        """
        layers = sorted(self._layers.values(), key=lambda layer: layer.depth)
        reached = [layer for layer in layers if layer.gradient_elements]
        chain = _largest_chain(reached)
        return GradientFlow(
            model=model_name,
            layers=tuple(_layer_flow(layer, weights.get(layer.name)) for layer in layers),
            slope=_slope(chain),
            end_to_end=_end_to_end(chain),
            forward_end_to_end=_forward_end_to_end(chain),
        )


@torch.no_grad()
def _sum_of_squares(tensor: torch.Tensor) -> torch.Tensor:
    """Sum of squares in float64, left on the device."""
    return sums_of_squares([plain(tensor)])[0]


def _plus(held: torch.Tensor | None, added: torch.Tensor) -> torch.Tensor:
    return added if held is None else held + added.to(held.device)


def _rms(squares: torch.Tensor | None, elements: int) -> float:
    return math.sqrt(squares.item() / elements) if squares is not None and elements else math.nan


def _layer_flow(layer: _Layer, weight: WeightScale | None) -> LayerFlow:
    return LayerFlow(
        module=layer.name,
        cls=layer.cls,
        depth=layer.depth,
        output_rms=finite_or_none(_rms(layer.output_squares, layer.output_elements)),
        output_grad_rms=finite_or_none(_rms(layer.gradient_squares, layer.gradient_elements)),
        weight_rms=None if weight is None else weight.weight_rms,
        weight_grad_rms=None if weight is None else weight.weight_grad_rms,
        place=layer.place,
    )


def _largest_chain(layers: Sequence[_Layer]) -> list[_Layer]:
    """The layers of the most frequent class, nearest the input first.

    Layers that mix inputs by a matrix come before those that rescale or look up.
    """
    mixing = [layer for layer in layers if not any(mark in layer.cls for mark in NOT_MIXING)]
    candidates = mixing or layers
    if not candidates:
        return []
    commonest, _ = Counter(layer.cls for layer in candidates).most_common(1)[0]
    return [layer for layer in candidates if layer.cls == commonest]


def _gradient_norm(layer: _Layer) -> float:
    return math.nan if layer.gradient_squares is None else math.sqrt(layer.gradient_squares.item())


def _slope(chain: Sequence[_Layer]) -> Measurement:
    """Least squares of the log gradient norm over the position in the chain, per layer toward the
    input, with the t interval of its residuals."""
    unit = "ln per layer"
    if len(chain) < SHORTEST_CHAIN:
        return Measurement(
            None, unit=unit, n=len(chain), note=f"fewer than {SHORTEST_CHAIN} layers of one kind"
        )
    norms = [_gradient_norm(layer) for layer in chain]
    if not all(math.isfinite(norm) and norm > 0 for norm in norms):
        return Measurement(
            None, unit=unit, n=len(chain), note="a layer's gradient is zero or not finite"
        )
    count = len(norms)
    logs = [math.log(norm) for norm in norms]
    centre = (count - 1) / 2
    mean = sum(logs) / count
    spread = sum((index - centre) ** 2 for index in range(count))
    per_layer = sum((index - centre) * log for index, log in enumerate(logs)) / spread
    residual = sum(
        (log - mean - per_layer * (index - centre)) ** 2 for index, log in enumerate(logs)
    )
    half = student_t(count - 2) * math.sqrt(residual / (count - 2) / spread)
    # Depth counts from the input, the slope toward it.
    return Measurement(
        -per_layer,
        unit=unit,
        n=count,
        ci=(-per_layer - half, -per_layer + half),
        note=f"{count} {chain[0].cls} layers",
    )


def _end_to_end(chain: Sequence[_Layer]) -> Measurement:
    unit = "first / last"
    if len(chain) < 2:
        return Measurement(None, unit=unit, n=len(chain), note="fewer than 2 layers of one kind")
    first, last = _gradient_norm(chain[0]), _gradient_norm(chain[-1])
    if not (math.isfinite(first) and math.isfinite(last)) or last == 0:
        return Measurement(None, unit=unit, n=len(chain), note="the gradient is zero or not finite")
    return Measurement(
        finite_or_none(first / last),
        unit=unit,
        n=len(chain),
        note=f"{chain[0].name} over {chain[-1].name}, norms over the batch",
    )


def _forward_end_to_end(chain: Sequence[_Layer]) -> Measurement | None:
    if len(chain) < 2:
        return None
    first = _rms(chain[0].output_squares, chain[0].output_elements)
    last = _rms(chain[-1].output_squares, chain[-1].output_elements)
    if not (math.isfinite(first) and math.isfinite(last)) or first == 0:
        return Measurement(
            None, unit="last / first", n=len(chain), note="an output is zero or not finite"
        )
    return Measurement(finite_or_none(last / first), unit="last / first", n=len(chain))
