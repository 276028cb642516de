"""Edits to statements: where they stand, putting new ones in, moving them, indenting them anew.

As in ``edits``, None stands for a change that the source there leaves no exact way to write.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Edit, Location

if TYPE_CHECKING:
    from convlint.program.facts import TrainingProgram
    from convlint.program.layout import Layout
    from convlint.program.written_statements import Statement
    from convlint.rules import Changes


def statement_at(program: TrainingProgram, place: Location | None) -> Statement | None:
    """The innermost statement around ``place``."""
    layout = program.layout(place)
    return None if layout is None else layout.statement(place)


def lone_call(program: TrainingProgram, place: Location | None) -> Statement | None:
    """The statement that is nothing but the call at ``place``, alone on its lines."""
    statement = statement_at(program, place)
    if statement is None or statement.lines is None or statement.value != place:
        return None
    return statement if statement.kind == "Expr" else None


def own_statement(program: TrainingProgram, place: Location | None) -> Statement | None:
    """The statement that is the call at ``place``, or assigns its result, alone on its lines."""
    statement = statement_at(program, place)
    if statement is None or statement.lines is None or statement.value != place:
        return None
    return statement if statement.kind in ("Expr", "Assign", "AnnAssign") else None


def compound_at(program: TrainingProgram, place: Location | None, *kinds: str) -> Statement | None:
    """The loop, function, ``with`` or ``if`` that starts at ``place``."""
    layout = program.layout(place)
    return None if layout is None else layout.compound(place, *kinds)


def in_method(program: TrainingProgram, place: Location | None) -> bool:
    """Whether a place stands in a method whose instance is called ``self``."""
    layout, statement = program.layout(place), statement_at(program, place)
    if layout is None or statement is None or statement.function is None:
        return False
    function = layout.compound(statement.function, "FunctionDef")
    return function is not None and function.parameters[:1] == ("self",)


def made_in_loop(program: TrainingProgram, place: Location | None, name: str) -> bool:
    """Whether a loop around ``place`` gives the name (of ``name.attribute``) its value."""
    statement = statement_at(program, place)
    root = name.partition(".")[0]
    return statement is not None and any(
        root in loop.writes for loop in statement.around() if loop.kind in ("For", "While")
    )


def insert_before(statement: Statement | None, code: str | None) -> Changes:
    """A statement of its own in front of ``statement``."""
    if statement is None or code is None or statement.lines is None:
        return None
    line = statement.lines.line
    place = Location(statement.place.path, line, 1, line, 1)
    return (Edit(place, _indented(code, statement.indent)),)


def insert_after(
    program: TrainingProgram, statement: Statement | None, code: str | None
) -> Changes:
    """A statement of its own behind ``statement``, and behind a comment on its line."""
    layout = program.layout(statement.place) if statement is not None else None
    if statement is None or code is None or statement.lines is None or layout is None:
        return None
    last = statement.place.end_line
    column = len(layout.line_text(last)) + 1
    place = Location(statement.place.path, last, column, last, column)
    return (Edit(place, "\n" + _indented(code, statement.indent)[:-1]),)


def insert_at_start(
    program: TrainingProgram, compound: Statement | None, code: str | None
) -> Changes:
    """A first statement in the body of a loop or function, above the comments of the next."""
    if compound is None or code is None or not compound.body:
        return None
    first = compound.body[0]
    layout = program.layout(first.place)
    if first.lines is None or layout is None:
        return None
    line = first.lines.line
    while line - 1 > compound.place.line and layout.is_comment(line - 1):
        line -= 1
    place = Location(first.place.path, line, 1, line, 1)
    return (Edit(place, _indented(code, first.indent)),)


def remove_statement(program: TrainingProgram, statement: Statement | None) -> Changes:
    """Take a statement out, with its lines; not the only one of its block."""
    layout = program.layout(statement.place) if statement is not None else None
    if statement is None or statement.lines is None or layout is None:
        return None
    if len(layout.siblings(statement)) < 2:
        return None
    return (Edit(statement.lines, ""),)


def move(
    program: TrainingProgram,
    statement: Statement | None,
    *,
    before: Statement | None = None,
    after: Statement | None = None,
    at_start_of: Statement | None = None,
) -> Changes:
    """Take a statement out and put it elsewhere in the file, indented as its new neighbours."""
    layout = program.layout(statement.place) if statement is not None else None
    if statement is None or layout is None or not statement.movable:
        return None
    removed = remove_statement(program, statement)
    code = _dedented(layout, statement)
    if removed is None or code is None or statement.lines is None:
        return None
    if after is not None and after in statement.around():
        if _end(after.place) != _end(statement.place):
            behind = insert_after(program, after, code)
            return None if behind is None else (*removed, *behind)
        text = _indented(code, after.indent)
        whole = layout.has_line_end(statement.place.end_line)
        return (Edit(statement.lines, text if whole else text[:-1]),)
    added: Changes
    if before is not None:
        added = insert_before(before, code)
    elif after is not None:
        added = insert_after(program, after, code)
    else:
        added = insert_at_start(program, at_start_of, code)
    return None if added is None else (*removed, *added)


def hoist(program: TrainingProgram, place: Location | None, *, outermost: bool = False) -> Changes:
    """Move the assignment of a call in front of the loop it directly stands in.

    Not when the loop changes anything it reads. With ``outermost`` further out, as far as that
    holds.
    """
    statement = own_statement(program, place)
    target: Statement | None = None
    inner, loop = statement, None if statement is None else statement.parent
    while statement is not None and loop is not None and loop.kind in ("For", "While"):
        others = (other for other in loop.body if other is not inner)
        if statement.reads & loop.loop_names.union(*(other.writes for other in others)):
            break
        target, inner, loop = loop, loop, loop.parent
        if not outermost:
            break
    return None if target is None else move(program, statement, before=target)


def move_later(
    program: TrainingProgram, place: Location | None, anchor: Location | None
) -> Changes:
    """Move the assignment of a call behind that of another in the same block.

    Not when a statement between them reads what is assigned.
    """
    one, other = own_statement(program, place), statement_at(program, anchor)
    layout = program.layout(place)
    if one is None or other is None or layout is None or not neighbours(program, one, other):
        return None
    between_them = [s for s in layout.siblings(one) if one.index < s.index <= other.index]
    if one.index >= other.index or any(one.writes & s.reads for s in between_them):
        return None
    return move(program, one, after=other)


def end_block_before(program: TrainingProgram, statement: Statement | None) -> Changes:
    """Take a statement and all that follow it in their ``with`` out of the block, in place."""
    layout = program.layout(statement.place) if statement is not None else None
    if statement is None or layout is None or statement.parent is None or statement.index == 0:
        return None
    block = statement.parent
    tail = block.body[statement.index :]
    if statement not in tail or block.kind != "With" or block.lines is None:
        return None
    parts = [_dedented(layout, each) if each.movable and each.lines else None for each in tail]
    last = tail[-1].lines
    if last is None or statement.lines is None:
        return None
    code = "\n".join(part for part in parts if part is not None)
    between_them = sum(_height(each) for each in tail) == last.end_line - statement.lines.line
    if None in parts or not between_them or not layout.has_line_end(tail[-1].place.end_line):
        return None
    place = Location(last.path, statement.lines.line, 1, last.end_line, last.end_column)
    return (Edit(place, _indented(code, block.indent)),)


def _height(statement: Statement) -> int:
    assert statement.lines is not None
    return statement.lines.end_line - statement.lines.line


def wrap_in_block(
    program: TrainingProgram, statement: Statement | None, header: str | None
) -> Changes:
    """Put a statement below ``header`` (``with torch.no_grad():``), indented one step further."""
    layout = program.layout(statement.place) if statement is not None else None
    if statement is None or layout is None or header is None or not statement.movable:
        return None
    code = _dedented(layout, statement)
    if code is None or statement.lines is None:
        return None
    step = "\t" if statement.indent.startswith("\t") else "    "
    if statement.body and statement.body[0].indent.startswith(statement.indent):
        step = statement.body[0].indent[len(statement.indent) :] or step
    text = _indented(header, statement.indent) + _indented(code, statement.indent + step)
    if not layout.has_line_end(statement.place.end_line):
        text = text[:-1]
    return (Edit(statement.lines, text),)


def same_function(program: TrainingProgram, one: Location | None, other: Location | None) -> bool:
    """Whether two places stand in the same function, so that the same names are in scope."""
    first, second = statement_at(program, one), statement_at(program, other)
    return (
        first is not None
        and second is not None
        and first.place.path == second.place.path
        and first.function == second.function
    )


def neighbours(program: TrainingProgram, one: Statement | None, other: Statement | None) -> bool:
    """Whether two statements stand in the same block."""
    return one is not None and other is not None and one.block == other.block


def _end(place: Location) -> tuple[int, int]:
    return (place.end_line, place.end_column)


def _indented(code: str, indent: str) -> str:
    return "".join(f"{indent}{line}\n" if line else "\n" for line in code.split("\n"))


def _dedented(layout: Layout, statement: Statement) -> str | None:
    """The statement's lines without their common indentation; None when it is not common."""
    assert statement.lines is not None
    lines = layout.text(statement.lines).rstrip("\n").split("\n")
    if not all(line.startswith(statement.indent) or not line.strip() for line in lines):
        return None
    return "\n".join(re.sub(rf"^{re.escape(statement.indent)}", "", line) for line in lines)
