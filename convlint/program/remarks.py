"""Facts read off the syntax of one file, without following what it does.

Settings that nothing reads, counts divided by the number of batches, and tests that skip a batch
and say nothing.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from convlint.lazy_regex import lazy_regex
from convlint.program.facts import BatchShare, Unread
from convlint.program.syntax import descendants, dotted
from convlint.program.words import counted_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convlint.findings import Location
    from convlint.program.index import SourceModule

_NOT_A_NAME = lazy_regex(r"\W")
_HANDS_ALL_ON = lazy_regex(
    r"\bvars\(|\b__dict__\b|\blocals\(|\bglobals\(|\basdict\(|\bparse_known_args\b"
)
_COUNTS = ("sum(", "==", ".eq(")


def unread_settings(
    module: SourceModule, modules: Iterable[SourceModule], read: frozenset[str]
) -> Iterator[Unread]:
    """Options of the command line and constants of the module that nothing reads.

    None where the arguments are handed on as a whole (``vars(args)``), or where their names may be
    made at run time.
    """
    if _HANDS_ALL_ON.search(module.source):
        return
    words = [counted_words(source) for source in modules]
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name) and sum(w[target.id] for w in words) == 1:
                yield Unread("constant", target.id, module.positions.of(target))
    if "add_argument" not in module.source or not _stay_here(module):
        return
    for call in module.nodes.of(ast.Call):
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"):
            continue
        name = _destination(call)
        if name and name not in read and sum(w[name] for w in words) <= _mentions(call, name):
            yield Unread("option", name, module.positions.of(call))


def _destination(call: ast.Call) -> str:
    """The attribute under which argparse keeps the option."""
    for keyword in call.keywords:
        if keyword.arg == "dest" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    flags = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if len(flags) != len(call.args) or not flags:
        return ""
    long = next((flag for flag in flags if flag.startswith("--")), flags[0])
    return _NOT_A_NAME.sub("_", long.lstrip("-"))


def _mentions(call: ast.Call, name: str) -> int:
    """How often the option's own definition names it."""
    return sum(
        len(re.findall(rf"\b{re.escape(name)}\b", node.value))
        for node in descendants(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _stay_here(module: SourceModule) -> bool:
    """Whether the arguments are only ever read one by one: no call is given all of them."""
    parsed = {
        target.id
        for node in module.nodes.of(ast.Assign)
        if isinstance(node.value, ast.Call) and dotted(node.value.func).endswith("parse_args")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if not parsed:
        return False
    defined = {n.name for n in module.tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for call in module.nodes.of(ast.Call):
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if any(isinstance(value, ast.Name) and value.id in parsed for value in given) and (
            dotted(call.func) not in {*defined, "print"}
        ):
            return False
    return True


def batch_shares(module: SourceModule) -> Iterator[BatchShare]:
    """``correct / len(loader)`` where ``correct`` counts examples over the loader's batches."""
    if not any(map(_divisor, module.nodes.of(ast.BinOp))):
        return
    for body in (module.tree.body, *(f.body for f in module.nodes.of(ast.FunctionDef))):
        yield from _shares_in(module, body)


def _shares_in(module: SourceModule, body: list[ast.stmt]) -> Iterator[BatchShare]:
    inside = list(_own(body))
    counted: dict[tuple[str, str], Location] = {}
    for loop in inside:
        if not isinstance(loop, ast.For):
            continue
        over = _iterated(loop.iter)
        if not over:
            continue
        for line in _own(loop.body):
            if isinstance(line, ast.AugAssign) and isinstance(line.op, ast.Add):
                name = dotted(line.target)
                if name and _counts_examples(module, line.value):
                    counted[name, over] = module.positions.of(loop)
    if not counted:
        return
    scaled = {
        id(part)
        for node in inside
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.FloorDiv))
        for part in (node.left,)
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div)
    }
    for node in inside:
        if not isinstance(node, ast.BinOp) or id(node) in scaled:
            continue
        name, over = _counted_name(node.left), _divisor(node)
        place = counted.get((name, over))
        if place is not None:
            yield BatchShare(name, over, module.positions.of(node), place)


def _divisor(node: ast.BinOp) -> str:
    """``y`` of ``x / len(y)``."""
    size = node.right
    if not (isinstance(node.op, ast.Div) and isinstance(size, ast.Call) and len(size.args) == 1):
        return ""
    return dotted(size.args[0]) if dotted(size.func) == "len" else ""


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes below these statements, without those of functions defined among them."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        yield node
        pending.extend(ast.iter_child_nodes(node))


def _iterated(node: ast.expr) -> str:
    """What a loop walks, seen through ``enumerate`` and progress bars."""
    while (
        isinstance(node, ast.Call)
        and node.args
        and dotted(node.func).endswith(("enumerate", "tqdm", "track"))
    ):
        node = node.args[0]
    return dotted(node)


def _counts_examples(module: SourceModule, value: ast.expr) -> bool:
    """``(predicted == labels).sum().item()``: how many of a batch, not which part of it."""
    text = module.positions.text(value)
    summed = "sum(" in text
    return (
        summed
        and any(mark in text for mark in _COUNTS[1:])
        and "/" not in text
        and ("mean(" not in text and "*" not in text)
    )


def _counted_name(node: ast.expr) -> str:
    """The counter in ``correct`` and ``100.0 * correct``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        sides = [s for s in (node.left, node.right) if not isinstance(s, ast.Constant)]
        return dotted(sides[0]) if len(sides) == 1 else ""
    if isinstance(node, ast.Call) and dotted(node.func) == "float" and len(node.args) == 1:
        return dotted(node.args[0])
    return dotted(node)


def silent_skips(module: SourceModule) -> Iterator[Location]:
    """Tests whose true side holds nothing but ``continue``."""
    for node in module.nodes.of(ast.If):
        if [type(line) for line in node.body] == [ast.Continue]:
            yield module.positions.of(node)
