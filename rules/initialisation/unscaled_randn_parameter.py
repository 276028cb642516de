"""INI008: a weight matrix of unit normal numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Applicability, Confidence, Evidence, Finding, Severity
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule
from convlint.rules.patterns import edits
from convlint.rules.patterns.flows import (
    SHAPE_OPS,
    FlowGraph,
    one_per_place,
)
from convlint.rules.patterns.layers import (
    is_normalisation,
)
from convlint.rules.patterns.ownership import object_of
from convlint.rules.patterns.parameters import bare_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.facts import Flow, TrainingProgram, Value
    from convlint.rules import Changes

PRODUCTS = frozenset({"matmul", "mm", "bmm", "linear", "einsum"})
SCALING = frozenset({"mul", "truediv", "div", "normalize", "mul_", "div_"})
FEWEST_INPUTS = 16
"""Below this the product grows by less than four."""
NOT_WEIGHTS = lazy_regex(
    r"pos|cls|query|quer|latent|token|emb|codebook|proto|anchor|centroid|center|basis|freq|noise",
    re.IGNORECASE,
)


class UnscaledRandnParameter(Rule):
    """A weight matrix is drawn with standard deviation one.

    ## What it does
    Reports `nn.Parameter(torch.randn(a, b))` that multiplies a signal (`@`, `matmul`, `linear`,
    `einsum`) and is scaled neither when it is made nor after the product.

    ## Why it hurts
    A product with n inputs multiplies the scale of the signal by sqrt(n): 16 for 256 inputs.
    Softmax and saturating activations saturate, and the loss starts far too high.

    ## Example
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.randn(256, 10))

            def forward(self, x):
                return x @ self.weight

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## Use instead
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.randn(256, 10) * 256**-0.5)

            def forward(self, x):
                return x @ self.weight

        model = Net()
        optimizer = torch.optim.Adam(model.parameters())

    ## When it is fine
    Position and class tokens, queries, latents, codebooks and embeddings; fewer than 16 inputs; a
    mixture of attention heads; a normalisation or a division of the product; a product of two
    parameters, as of node embeddings to a learned adjacency.

    ## Measured
    `convlint probe` measures the initial loss and how activations grow.

    ## References
    - Glorot and Bengio, AISTATS 2010
    """

    code, slug, severity = "INI008", "unscaled-randn-parameter", Severity.WARNING
    fix = Applicability.UNSAFE
    confidence = Confidence.MEDIUM
    confirmed_by = ("exploding-gradient", "initial-loss-off", "saturated-activations")

    def static(self, program: TrainingProgram) -> Iterator[Finding]:
        """One finding per parameter."""
        graph = FlowGraph(program)
        reported: set[Location] = set()
        for _, name, parameter, made in bare_parameters(program, graph):
            place = parameter.location
            if place is None:
                continue
            if made.name != "torch.randn" or parameter.written or NOT_WEIGHTS.search(name):
                continue
            if "0" in made.args and _counts_heads(program, made.args["0"]):
                continue
            sizes = [made.args[key].number for key in ("0", "1", "2") if key in made.args]
            if (
                len(sizes) < 2
                or sizes[0] == 1
                or any(s is not None and s < FEWEST_INPUTS for s in sizes[:1])
            ):
                continue
            products = [user for user in graph.users(parameter) if user.op in PRODUCTS]
            if not products or len(products) != len(graph.users(parameter)):
                continue
            if all(_meets_parameters_alone(graph, product, parameter) for product in products):
                continue
            if any(
                user.op in SCALING or is_normalisation(user.op)
                for p in products
                for user in _taken_by(graph, p)
            ):
                continue
            if not one_per_place(reported, place):
                continue
            yield self.finding(
                place,
                f"`self.{name}` multiplies the signal with weights of standard deviation 1",
                help="scale it by the square root of the number of inputs: "
                "`torch.randn(n, m) * n**-0.5`, or use nn.init.xavier_normal_",
                fix=self.repair(
                    "scale it by the square root of the number of inputs",
                    _scaled(program, place, 1 if products[0].op == "linear" else 0),
                ),
                evidence=(Evidence("static", f"torch.randn → nn.Parameter → {products[0].op}"),),
            )


def _meets_parameters_alone(graph: FlowGraph, product: Flow, parameter: Flow) -> bool:
    """Whether no signal takes part: ``softmax(relu(a @ b))`` is a learned adjacency."""
    others = [number for number in product.inputs if number != parameter.id]
    origins = [origin for number in others for origin in graph.origins(number)]
    return bool(origins) and all(origin.op == "<parameter>" for origin in origins)


def _scaled(program: TrainingProgram, place: Location, inputs: int) -> Changes:
    """``randn(n, m)`` to ``randn(n, m) * n ** -0.5``; ``inputs`` is the axis of the inputs."""
    layout, outer = program.layout(place), edits.call_at(program, place)
    if layout is None or outer is None or not outer.arguments:
        return None
    made = layout.call(outer.arguments[0].value)
    if made is None or made.method != "randn" or len(made.arguments) != 2:
        return None
    size = made.arguments[inputs]
    if size.name or not (layout.literal(size.value) or layout.is_path_of_names(size.text)):
        return None
    return edits.append(made.place, f" * {size.text} ** -0.5")


def _counts_heads(program: TrainingProgram, size: Value) -> bool:
    """Whether this is the number of attention heads: four to sixteen as a rule."""
    counted = object_of(program, size.object)
    return counted is not None and any("heads" in name.lower() for name in counted.names)


def _taken_by(graph: FlowGraph, product: Flow) -> Iterator[Flow]:
    """What is done with a product, changes of its shape aside."""
    pending, seen = [product], {product.id}
    while pending:
        for user in graph.users(pending.pop()):
            yield user
            if user.op in SHAPE_OPS and user.id not in seen:
                seen.add(user.id)
                pending.append(user)
