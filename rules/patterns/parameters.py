"""Parameters a module holds itself, and how each was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import ObjectKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.facts import Flow, Object, TrainingProgram
    from convlint.rules.patterns.flows import FlowGraph

__all__ = ["bare_parameters"]


def bare_parameters(
    program: TrainingProgram, graph: FlowGraph
) -> Iterator[tuple[Object, str, Flow, Flow]]:
    """Every ``self.name = nn.Parameter(torch.f(...))``: the module, the name, the parameter and
    the tensor it was made of, when that comes straight from a creating function."""
    for owner in program.objects:
        if owner.kind is not ObjectKind.MODEL:
            continue
        for name, value in owner.attributes.items():
            parameter = graph.get(value.flow)
            if parameter is None or parameter.op != "<parameter>" or len(parameter.inputs) != 1:
                continue
            made = graph.get(parameter.inputs[0])
            if made is not None and not made.inputs and made.op in ("<constant>", "<unknown>"):
                yield owner, name, parameter, made
