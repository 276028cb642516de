"""Edits to training loops: clear gradients, clip them, switch modes, put calls in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.facts import EventKind
from convlint.rules.patterns import edits, statement_edits
from convlint.rules.patterns.training_loops import STEPS, stepped_optimizer

if TYPE_CHECKING:
    from convlint.findings import Location
    from convlint.program.facts import Event, TrainingProgram
    from convlint.rules import Changes
    from convlint.rules.patterns.training_loops import TrainingLoop


def step_of(loop: TrainingLoop, optimizer: int) -> Event | None:
    """The first step of an optimizer in a loop."""
    for occurrence in loop.occurrences:
        if occurrence.kind in STEPS and stepped_optimizer(occurrence.event) == optimizer:
            return occurrence.event
    return None


def optimizer_name(program: TrainingProgram, step: Event | None) -> str | None:
    """How the source names the optimizer of ``optimizer.step()`` or ``scaler.step(optimizer)``."""
    if step is None:
        return None
    if step.kind is not EventKind.SCALER_STEP:
        return edits.receiver_of(program, step.location)
    text = edits.argument_text(program, step.location, "optimizer", 0)
    layout = program.layout(step.location)
    if text is None or layout is None or not layout.is_path_of_names(text):
        return None
    return text


def clear_first(
    program: TrainingProgram, loop: TrainingLoop, optimizer: int, backward: Event
) -> Changes:
    """Clear the optimizer's gradients first thing in the loop that steps it.

    Where loop and step stand in different functions: directly before the backward. Not where the
    loop gives the optimizer's name to another one: what it means at the start is then not what steps.
    """
    step = step_of(loop, optimizer)
    name = optimizer_name(program, step)
    if step is None or name is None:
        return None
    code = f"{name}.zero_grad()"
    place = loop.loop.location
    if statement_edits.same_function(program, place, step.location):
        compound = statement_edits.compound_at(program, place)
        if compound is None or name.partition(".")[0] in compound.writes:
            return None
        return statement_edits.insert_at_start(program, compound, code)
    if statement_edits.same_function(program, backward.location, step.location):
        return statement_edits.insert_before(
            statement_edits.statement_at(program, backward.location), code
        )
    return None


def move_behind(
    program: TrainingProgram, moved: Location | None, anchor: Location | None
) -> Changes:
    """Move the statement of one call directly behind that of another in the same block."""
    one, other = (
        statement_edits.own_statement(program, moved),
        statement_edits.own_statement(program, anchor),
    )
    if not statement_edits.neighbours(program, one, other):
        return None
    return statement_edits.move(program, one, after=other)


def move_before(
    program: TrainingProgram, moved: Location | None, anchor: Location | None
) -> Changes:
    """Move the statement of one call directly before that of another in the same block."""
    one, other = (
        statement_edits.own_statement(program, moved),
        statement_edits.own_statement(program, anchor),
    )
    if not statement_edits.neighbours(program, one, other):
        return None
    return statement_edits.move(program, one, before=other)


def move_past(program: TrainingProgram, moved: Location | None, anchor: Location | None) -> Changes:
    """Move the statement of one call behind another, or behind what holds the other one."""
    one, other = (
        statement_edits.own_statement(program, moved),
        statement_edits.statement_at(program, anchor),
    )
    if one is None or other is None or one.function != other.function:
        return None
    for outer in (other, *other.around()):
        if statement_edits.neighbours(program, one, outer):
            return statement_edits.move(program, one, after=outer)
    return None


def divide_loss(program: TrainingProgram, backward: Event, divisor: str) -> Changes:
    """``loss.backward()`` to ``(loss / k).backward()``, inside of a scaler's ``scale`` if any."""
    call = edits.call_at(program, backward.location)
    layout = program.layout(backward.location)
    if call is None or layout is None or call.receiver is None or call.method != "backward":
        return None
    scaled = layout.call(call.receiver)
    if scaled is None:
        if not layout.is_atom(call.receiver):
            return None
        return edits.wrap(call.receiver, "(", f" / {divisor})")
    first = scaled.argument("outputs", 0)
    if scaled.method != "scale" or first is None or not layout.is_atom(first.value):
        return None
    return edits.append(first.value, f" / {divisor}")


def model_name(program: TrainingProgram, loop: TrainingLoop, near: Location) -> str | None:
    """How the source around ``near`` names the one model that runs in the loop."""
    names: set[str] = set()
    for occurrence in loop.of_kind(EventKind.FORWARD):
        place = occurrence.event.location
        call = edits.call_at(program, place)
        layout = program.layout(place)
        if call is None or layout is None or not layout.is_path_of_names(call.callee_text):
            return None
        if not statement_edits.same_function(program, place, near):
            return None
        names.add(call.callee_text)
    return names.pop() if len(names) == 1 else None
