"""Edits to the calls that set initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.layers import canonical, is_weight_layer
from convlint.rules.patterns.ownership import object_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convlint.findings import Location
    from convlint.program.facts import Initialisation, Object, TrainingProgram
    from convlint.rules import Changes


def weights_only(program: TrainingProgram, call: Initialisation) -> bool:
    """Whether a call initialises the weights of linear and convolution layers and nothing else."""
    here = [each for each in program.initialisations if each.location == call.location]
    layers = [object_of(program, number) for each in here for number in each.layers]
    return all(each.parameter == "weight" for each in here) and all(
        layer is not None and is_weight_layer(canonical(layer.cls)) for layer in layers
    )


def initialise_by(
    program: TrainingProgram, call: Initialisation, name: str, arguments: str = ""
) -> Changes:
    """Call the initialiser ``name`` of ``torch.nn.init`` on the same tensor."""
    tensor = tensor_of(program, call.location)
    function = edits.name_for(program, call.location, f"torch.nn.init.{name}")
    if tensor is None or function is None or not weights_only(program, call):
        return None
    written = edits.replace(call.location, f"{function[0]}({tensor}{arguments})")
    return None if written is None else (*written, *function[1])


def tensor_of(program: TrainingProgram, place: Location) -> str | None:
    """The text of what ``init.f_(w, ...)`` or ``w.f_(...)`` fills."""
    layout, tensor = program.layout(place), edits.operand_of(program, place)
    if layout is None or tensor is None:
        return None
    if is_function(program, place):
        return edits.argument_text(program, place, "tensor", 0)
    return layout.text(tensor)


def is_function(program: TrainingProgram, place: Location) -> bool:
    """Whether a call is of a function of ``torch.nn.init``, not of a tensor's method."""
    layout, call = program.layout(place), edits.call_at(program, place)
    if layout is None or call is None:
        return False
    return (layout.names.qualified(call.callee_text) or "").startswith("torch.nn.init.")


def initialise_all(
    program: TrainingProgram, made: Location, layers: Iterable[Object], nonlinearity: str
) -> Changes:
    """Behind the assignment of a Sequential: Kaiming initialisation of its weight layers."""
    statement = statement_edits.own_statement(program, made)
    layout = program.layout(made)
    init = edits.name_for(program, made, "torch.nn.init.kaiming_normal_")
    classes = sorted({layer.cls for layer in layers})
    names = [edits.name_for(program, made, cls) for cls in classes]
    if statement is None or layout is None or init is None or None in names:
        return None
    if len(statement.targets) != 1 or not layout.is_path_of_names(statement.targets[0]):
        return None
    written = [name[0] for name in names if name is not None]
    kinds = written[0] if len(written) == 1 else f"({', '.join(written)})"
    code = (
        f"for layer in {statement.targets[0]}.modules():\n"
        f"    if isinstance(layer, {kinds}):\n"
        f'        {init[0]}(layer.weight, nonlinearity="{nonlinearity}")'
    )
    added = statement_edits.insert_after(program, statement, code)
    return None if added is None or layout.names.binds("layer") else (*added, *init[1])
