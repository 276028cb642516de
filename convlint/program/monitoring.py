"""Tests by which a program watches itself: the best score so far, patience, tolerances.

These are small stylised pieces of code. They are read from their syntax, with values from the
interpreter where they are known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from convlint.program.domain import UNKNOWN, Abstract, Const, Instance, Scope, Site
from convlint.program.drafts import SelectionDraft, ToleranceDraft
from convlint.program.syntax import argument_values, descendants, dotted, unstarred
from convlint.program.walk import Walk

_BETTER_BELOW = (ast.Lt, ast.LtE)
_BETTER_ABOVE = (ast.Gt, ast.GtE)
_ONLY_TELLS = frozenset(
    {"print", "info", "debug", "warning", "log", "format", "write", "append", "item", "float",
     "round", "add_scalar", "set_postfix", "time", "now", "cpu", "detach", "copy"}
)  # fmt: skip
"""Calls that keep nothing of a model."""
_KEEPS_WEIGHTS = ("save", "state_dict", "checkpoint", "deepcopy", "snapshot", "export", "ckpt")

_WEIGHTS = ("model", "net", "weight", "param")


class Monitoring(Walk):
    """Reads ``if`` statements that monitor a training."""

    def note_monitoring(self, statement: ast.If, scope: Scope) -> None:
        """Record the selections and tolerances in the test of an ``if``."""
        for comparison in _conjuncts(statement.test):
            self._note_selection(comparison, statement, scope)
            self._note_tolerance(comparison, statement, scope)

    def _note_selection(self, test: ast.Compare, statement: ast.If, scope: Scope) -> None:
        operator = test.ops[0]
        left, right = dotted(test.left), dotted(test.comparators[0])
        if not isinstance(operator, (*_BETTER_BELOW, *_BETTER_ABOVE)) or not left or not right:
            return
        remembered = {
            (dotted(a.targets[0]), dotted(a.value))
            for a in statement.body
            if isinstance(a, ast.Assign)
        }
        if (right, left) in remembered:
            measure, best, below = left, right, isinstance(operator, _BETTER_BELOW)
        elif (left, right) in remembered:
            measure, best, below = right, left, isinstance(operator, _BETTER_ABOVE)
        else:
            return
        self.selections.append(self._selection(measure, best, below, statement, scope))

    def _selection(
        self, measure: str, best: str, below: bool, statement: ast.If, scope: Scope
    ) -> SelectionDraft:
        around: ast.AST = self.loop_statements[-1] if self.loop_statements else scope.module.tree
        counter = _counter(statement)
        # what happens to an attribute may happen in any method
        where = scope.module.tree if "." in counter or not self.loop_statements else around
        resets = sum(dotted(a.targets[0]) == counter for a in _assignments(where))
        code = scope.module.positions.text(around)
        return SelectionDraft(
            Site(scope.module, statement),
            measure,
            best,
            below,
            self._before_loops(best, scope),
            tuple(self.loops),
            counter,
            counter_reset=resets > (1 if where is scope.module.tree else 0),
            stops=bool(counter) and _stops_on(counter, where),
            keeps=_keeps_something(statement.body) or any(w in code for w in _KEEPS_WEIGHTS),
            others=tuple(sorted(_assigned(around))),
        )

    def _before_loops(self, name: str, scope: Scope) -> Abstract:
        """What a variable held when the loop around began."""
        root, _, attribute = name.partition(".")
        if not attribute:
            value = scope.before_loops.get(name, scope.names.get(name, UNKNOWN))
        else:
            owner = scope.names.get(root, UNKNOWN)
            value = (
                owner.attributes.get(attribute, UNKNOWN) if isinstance(owner, Instance) else UNKNOWN
            )
        return value if isinstance(value, Const) else UNKNOWN

    def _note_tolerance(self, test: ast.Compare, statement: ast.If, scope: Scope) -> None:
        """``abs(previous - current) < tolerance``."""
        call = test.left
        if not (
            isinstance(test.ops[0], _BETTER_BELOW)
            and isinstance(call, ast.Call)
            and len(call.args) == 1
            and dotted(call.func) in ("abs", "math.fabs", "np.abs", "numpy.abs", "torch.abs")
        ):
            return
        difference = call.args[0]
        if not (isinstance(difference, ast.BinOp) and isinstance(difference.op, ast.Sub)):
            return
        limit = test.comparators[0]
        self.tolerances.append(
            ToleranceDraft(
                Site(scope.module, statement),
                (_subject(difference.left), _subject(difference.right)),
                self.evaluate(limit, scope),
                Site(scope.module, limit),
                tuple(self.loops),
                _leaves(statement.body),
            )
        )


def _subject(node: ast.expr) -> str:
    """The variable whose number this is: ``loss`` for ``loss``, ``loss.item()``, ``float(loss)``."""
    if isinstance(node, ast.Call):
        given = argument_values(node)
        if isinstance(node.func, ast.Attribute) and not given:
            return _subject(node.func.value)
        return _subject(given[0]) if len(given) == 1 else ""
    return dotted(node)


def _conjuncts(test: ast.expr) -> Iterator[ast.Compare]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from _conjuncts(value)
    elif isinstance(test, ast.Compare) and len(test.ops) == 1:
        yield test


def _assignments(root: ast.AST | list[ast.stmt]) -> Iterator[ast.Assign]:
    """Plain assignments anywhere below."""
    return (node for node in descendants(root) if isinstance(node, ast.Assign))


def _assigned(root: ast.AST | list[ast.stmt]) -> set[str]:
    names: set[str] = set()
    for assignment in _assignments(root):
        for target in assignment.targets:
            parts = (
                unstarred(target.elts) if isinstance(target, (ast.Tuple, ast.List)) else [target]
            )
            names.update(name for part in parts if (name := dotted(part)))
    return names


def _counter(statement: ast.If) -> str:
    """The variable that counts the times nothing improved: ``else: counter += 1``."""
    for line in statement.orelse:
        if isinstance(line, ast.AugAssign) and isinstance(line.op, ast.Add):
            return dotted(line.target)
    return ""


def _stops_on(counter: str, where: ast.AST) -> bool:
    """Whether a test on ``counter`` ends something."""
    for node in descendants(where):
        if (
            isinstance(node, ast.If)
            and any(dotted(part) == counter for part in descendants(node.test))
            and _leaves(node.body)
        ):
            return True
    return False


def _leaves(body: list[ast.stmt]) -> bool:
    return any(isinstance(n, (ast.Break, ast.Return)) for n in descendants(body)) or any(
        "stop" in name.lower() for name in _assigned(body)
    )


def _keeps_something(body: list[ast.stmt]) -> bool:
    """Whether a suite does more than remember numbers and tell them."""
    for node in descendants(body):
        if isinstance(node, ast.Call):
            name = dotted(node.func).rpartition(".")[2]
            if name not in _ONLY_TELLS:
                return True
        elif isinstance(node, (ast.DictComp, ast.Dict, ast.ListComp)) or (
            isinstance(node, ast.Assign)
            and any(word in dotted(node.value).lower() for word in _WEIGHTS)
        ):
            return True
    return False
