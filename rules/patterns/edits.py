"""Edits to source, said in terms of calls, arguments and statements.

Each function takes the place of something a fact names and returns the edits (``Changes``), or
None when the source there is not written in a way the edit fits: then there is no fix, never a
wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.findings import Edit, Location
from convlint.rules.patterns.statement_edits import in_method, insert_after

if TYPE_CHECKING:
    from convlint.program.facts import Flow, Object, TrainingProgram, Value
    from convlint.program.layout import CallLayout
    from convlint.rules import Changes


ARITHMETIC = frozenset({"Add", "Sub", "Mult", "Div", "Pow", "MatMult"})
"""Operations that bind at least as strongly as the addition of a constant behind them."""


def replace(place: Location | None, text: str | None) -> Changes:
    """Put ``text`` in the place of what stands at ``place``."""
    return None if place is None or text is None else (Edit(place, text),)


def insert_at(place: Location, text: str) -> Changes:
    """Put ``text`` in front of ``place``."""
    return (Edit(start_of(place), text),)


def append(place: Location, text: str) -> Changes:
    """Put ``text`` directly behind ``place``."""
    return (Edit(end_of(place), text),)


def start_of(place: Location) -> Location:
    """The empty place in front of ``place``."""
    return Location(place.path, place.line, place.column, place.line, place.column)


def end_of(place: Location) -> Location:
    """The empty place behind ``place``."""
    return Location(place.path, place.end_line, place.end_column, place.end_line, place.end_column)


def call_at(program: TrainingProgram, place: Location | None) -> CallLayout | None:
    """How the call at ``place`` is written."""
    layout = program.layout(place)
    return None if layout is None else layout.call(place)


def text_at(program: TrainingProgram, place: Location | None) -> str | None:
    """The text of the expression at ``place``."""
    layout = program.layout(place)
    return None if layout is None else layout.expression(place)


def receiver_of(program: TrainingProgram, place: Location | None) -> str | None:
    """The ``a.b`` of the call ``a.b.step()``, when reading it again changes nothing."""
    call = call_at(program, place)
    layout = program.layout(place)
    if call is None or layout is None or not call.method:
        return None
    return call.receiver_text if layout.is_path_of_names(call.receiver_text) else None


def set_argument(
    program: TrainingProgram,
    place: Location | None,
    name: str,
    text: str,
    position: int | None = None,
) -> Changes:
    """Give the call at ``place`` the argument ``name=text``, instead of the one it has.

    ``position`` is where the argument stands among positional ones (from 0).
    """
    call = call_at(program, place)
    if call is None:
        return None
    given = call.argument(name, position)
    return add_keyword(program, place, name, text) if given is None else replace(given.value, text)


def add_keyword(program: TrainingProgram, place: Location | None, name: str, text: str) -> Changes:
    """Add ``name=text`` behind the last argument; not where stars may bring it already."""
    call = call_at(program, place)
    if call is None or call.open_ended or call.argument(name) is not None:
        return None
    if not call.arguments:
        end = call.place
        inside = Location(
            end.path, end.end_line, end.end_column - 1, end.end_line, end.end_column - 1
        )
        return (Edit(inside, f"{name}={text}"),)
    last = call.arguments[-1].whole
    if (last.end_line, last.end_column) >= (call.place.end_line, call.place.end_column):
        return None  # a bare generator brings the brackets of the call along
    layout = program.layout(place)
    if layout is not None and layout.parenthesised(last) and len(call.arguments) > 1:
        return None
    return append(last, f", {name}={text}")


def remove_argument(
    program: TrainingProgram, place: Location | None, name: str, position: int | None = None
) -> Changes:
    """Take the argument out, with its comma."""
    call = call_at(program, place)
    given = None if call is None else call.argument(name, position)
    if call is None or given is None:
        return None
    index = call.arguments.index(given)
    if index:
        before = call.arguments[index - 1].whole
        return (Edit(between(end_of(before), end_of(given.whole)), ""),)
    if len(call.arguments) > 1:
        return (Edit(between(given.whole, start_of(call.arguments[1].whole)), ""),)
    return (Edit(given.whole, ""),)


def remove_element(program: TrainingProgram, place: Location | None) -> Changes:
    """Take one argument or list element out, with its comma; not the only one."""
    layout = program.layout(place)
    found = None if layout is None else layout.siblings_of(place)
    if found is None:
        return None
    parts, index = found
    if len(parts) < 2:
        return None
    if index:
        return (Edit(between(end_of(parts[index - 1]), end_of(parts[index])), ""),)
    return (Edit(between(parts[0], start_of(parts[1])), ""),)


def move_element(
    program: TrainingProgram, place: Location | None, before: Location | None
) -> Changes:
    """Move one argument or list element in front of another of the same call or list."""
    layout = program.layout(place)
    found = None if layout is None else layout.siblings_of(place)
    removed = remove_element(program, place)
    if found is None or layout is None or place is None or before is None:
        return None
    if before not in found[0]:
        return None
    return (
        None if removed is None else (*removed, Edit(start_of(before), layout.text(place) + ", "))
    )


def swap_arguments(
    program: TrainingProgram, place: Location | None, first: int = 0, second: int = 1
) -> Changes:
    """Exchange two positional arguments."""
    call = call_at(program, place)
    if call is None or len(call.arguments) <= second:
        return None
    one, other = call.arguments[first], call.arguments[second]
    if one.name is not None or other.name is not None:
        return None
    return (Edit(one.whole, other.text), Edit(other.whole, one.text))


def rename_callee(program: TrainingProgram, place: Location | None, text: str | None) -> Changes:
    """Call ``text`` instead, with the same arguments."""
    call = call_at(program, place)
    return None if call is None else replace(call.callee, text)


def rename_last_part(program: TrainingProgram, place: Location | None, name: str) -> Changes:
    """``a.b.old(...)`` to ``a.b.name(...)``; not where ``old`` was imported by itself."""
    call = call_at(program, place)
    if call is None or call.receiver is None:
        return None
    callee = call.callee
    start = callee.end_column - len(call.method)
    last = Location(callee.path, callee.end_line, start, callee.end_line, callee.end_column)
    return replace(last, name)


def rename_class(
    program: TrainingProgram, place: Location | None, old: str, qualified: str
) -> Changes:
    """Construct another class of the same package, with the same arguments."""
    call = call_at(program, place)
    if call is None:
        return None
    if call.method == old:
        return rename_last_part(program, place, qualified.rpartition(".")[2])
    name = name_for(program, place, qualified) if call.callee_text == old else None
    renamed = None if name is None else rename_callee(program, place, name[0])
    return None if renamed is None or name is None else (*renamed, *name[1])


def argument_text(
    program: TrainingProgram, place: Location | None, name: str = "input", position: int = 0
) -> str | None:
    """The text of one argument of the call at ``place``."""
    call = call_at(program, place)
    given = None if call is None else call.argument(name, position)
    return None if given is None else given.text


def operand_of(
    program: TrainingProgram, place: Location | None, *, module: bool = False
) -> Location | None:
    """What ``f(x, ...)``, ``x.f(...)`` or, for a ``module``, ``f(x)`` works on: the place of ``x``."""
    call = call_at(program, place)
    layout = program.layout(place)
    if call is None or layout is None:
        return None
    if not module and layout.names.qualified(call.callee_text) is None:
        return call.receiver
    for name in ("input", "x"):
        first = call.argument(name, 0)
        if first is not None:
            return first.value
    return None


def unwrap(program: TrainingProgram, place: Location | None, *, module: bool = False) -> Changes:
    """``softmax(x)``, ``x.softmax(-1)`` or, for a ``module``, ``self.softmax(x)`` to ``x``."""
    layout = program.layout(place)
    inner = operand_of(program, place, module=module)
    if layout is None or inner is None or place is None:
        return None
    text = layout.text(inner)
    return (Edit(place, text if layout.is_atom(inner) else f"({text})"),)


def call_method(program: TrainingProgram, place: Location | None, suffix: str) -> Changes:
    """``x`` to ``x.detach()`` for the suffix ``.detach()``, in brackets where needed."""
    layout = program.layout(place)
    if layout is None or place is None or layout.expression(place) is None:
        return None
    if layout.is_atom(place):
        return append(place, suffix)
    return (Edit(start_of(place), "("), Edit(end_of(place), ")" + suffix))


def only_in_training(
    program: TrainingProgram, place: Location | None, name: str, position: int | None = None
) -> Changes:
    """``name=p`` to ``name=p if self.training else 0.0``."""
    call = call_at(program, place)
    given = None if call is None else call.argument(name, position)
    if given is None or not in_method(program, place) or " if " in given.text:
        return None
    return append(given.value, " if self.training else 0.0")


def drop_operation(program: TrainingProgram, flow: Flow | None) -> Changes:
    """Take an activation and the like out: a function, a method, a module's call or a layer.

    A layer is taken out of the Sequential it is a part of.
    """
    if flow is None:
        return None
    layer = next((each for each in program.objects if each.id == flow.layer), None)
    call = call_at(program, flow.location)
    if layer is None:
        named = call is not None and call.callee_text.rpartition(".")[2] == flow.op
        return unwrap(program, flow.location) if named else None
    if is_called_as(program, layer, flow.location):
        return unwrap(program, flow.location, module=True)
    return drop_layer(program, layer.location)


def drop_layer(program: TrainingProgram, place: Location) -> Changes:
    """Take a layer out of the Sequential in whose call it is made."""
    layout = program.layout(place)
    around = None if layout is None else layout.around(place)
    if around is None or not around.callee_text.endswith("Sequential"):
        return None
    return remove_element(program, place)


def is_called_as(program: TrainingProgram, layer: Object, place: Location | None) -> bool:
    """Whether the call at ``place`` is one of this layer, by its attribute's name or on the spot."""
    call = call_at(program, place)
    if call is None:
        return False
    if call.callee == layer.location:
        return True
    names = {name.rpartition(".")[2] for name in layer.names}
    return call.callee_text.rpartition(".")[2] in names


def wrap(place: Location | None, before: str | None, after: str) -> Changes:
    """Put text around an expression."""
    if place is None or before is None:
        return None
    return (Edit(start_of(place), before), Edit(end_of(place), after))


def set_value(program: TrainingProgram, value: Value | None, text: str) -> Changes:
    """Write ``text`` where the constant ``value`` is written: the argument or its default.

    Not where several places together make the value, or where it is computed.
    """
    if value is None or not value.known:
        return None
    origin = value.origin
    places = [value.location]
    if origin is not None and origin.kind != "literal":
        places = [origin.location]
    for place in places:
        layout = program.layout(place)
        if layout is None or place is None:
            return None
        if layout.literal(place):
            return (Edit(place, text),)
        call = layout.call(place)
        default = None if call is None else call.argument("default")
        if default is not None and layout.literal(default.value):
            return (Edit(default.value, text),)
        statement = layout.statement(place)
        if (
            statement is not None
            and statement.kind in ("Assign", "AnnAssign")
            and statement.value is not None
            and layout.literal(statement.value)
            and len(statement.targets) == 1
        ):
            return (Edit(statement.value, text),)
    return None


def with_guard(
    program: TrainingProgram, place: Location | None, guard: str, *, bare: bool = False
) -> Changes:
    """``x`` to ``(x + 1e-8)``; without the outer brackets where ``bare`` (an argument)."""
    layout = program.layout(place)
    if layout is None or place is None or layout.expression(place) is None:
        return None
    sides = layout.binary(place)
    inner = layout.is_atom(place) or (sides is not None and sides[1] in ARITHMETIC)
    before, after = ("", "") if inner else ("(", ")")
    if not bare:
        before, after = f"({before}", f"{after}{guard})"
        return (Edit(start_of(place), before), Edit(end_of(place), after))
    edges = (Edit(end_of(place), after + guard),)
    return (Edit(start_of(place), before), *edges) if before else edges


def set_literal(program: TrainingProgram, made: Object, value: Value | None, text: str) -> Changes:
    """Write ``text`` where an argument of ``made`` is written as a constant of its own.

    Not a default, which other calls may share, and not in a call that makes several objects.
    """
    if value is None or (value.origin is not None and value.origin.kind != "literal"):
        return None
    return set_value(program, value, text) if made_once(program, made) else None


def made_once(program: TrainingProgram, made: Object) -> bool:
    """Whether the call that makes an object makes no other one: it is in no helper or loop."""
    return sum(each.location == made.location for each in program.objects) == 1


def name_for(
    program: TrainingProgram, place: Location | None, qualified: str
) -> tuple[str, tuple[Edit, ...]] | None:
    """How to write a library name in the file around ``place``, with the import that may need.

    The import is put behind the first imports of the file.
    """
    layout = program.layout(place)
    if layout is None or place is None:
        return None
    name = layout.names.name_of(qualified)
    if name is not None:
        return name, ()
    root = qualified.partition(".")[0]
    last = layout.last_import
    if (
        layout.names.binds(root)
        or last is None
        or (place.line, place.column) < (last.place.line, 1)
    ):
        return None
    added = insert_after(program, last, f"import {root}")
    return None if added is None else (qualified, added)


def between(start: Location, end: Location) -> Location:
    """The place from the start of one place to the start of another."""
    return Location(start.path, start.line, start.column, end.line, end.column)
