"""Which earlier cells of a session a cell rests on, by the names they define and use."""

from __future__ import annotations

import ast
import symtable
from typing import TYPE_CHECKING, NamedTuple

from convlint.notebooks import python_of_cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def with_definitions(history: Sequence[str], cell: str) -> list[str]:
    """``history`` with ``cell`` in its last place, and empty text for the cells it does not need.

    A cell is needed when it defines a name that a needed cell after it, or ``cell``, uses without
    having defined it. Of several definitions the last before the use counts. The last entry of
    ``history`` is the cell that is being run, magic and all.
    """
    needed = names_of(cell).used
    chosen = [*("" for _ in history[:-1]), cell]
    for position in range(len(history) - 2, -1, -1):
        text = history[position]
        if text.startswith("%%"):
            continue
        names = names_of(text)
        if names.defined & needed:
            chosen[position] = text
            needed = (needed - names.defined) | names.used
    return chosen


class Names(NamedTuple):
    """The global names a cell leaves defined, and those it needs to be defined before."""

    defined: frozenset[str]
    used: frozenset[str]


def names_of(text: str) -> Names:
    """Of one cell, magics left out; none of a cell that is no Python."""
    try:
        body = ast.parse(python_of_cell(text)).body
    except (SyntaxError, ValueError, RecursionError):
        return Names(frozenset(), frozenset())
    defined: set[str] = set()
    used: set[str] = set()
    for statement in body:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        stores = {s.get_name() for s in table.get_symbols() if _is_defined(s)}
        loads = set(_loaded(table))
        simple = isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr)
        # What a loop or a function assigns it may read after; `x = x / 255` reads first.
        needs = loads if simple else loads - stores
        used |= (needs | _augmented(statement)) - defined
        defined |= stores
    return Names(frozenset(defined), frozenset(used))


def _is_defined(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _loaded(table: symtable.SymbolTable) -> Iterator[str]:
    """Names read as globals, in functions, classes and comprehensions as well."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _loaded(child)


def _augmented(statement: ast.stmt) -> set[str]:
    return {
        node.target.id
        for node in ast.walk(statement)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
    }
