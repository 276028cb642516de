"""Tests by which a program watches itself: the best score so far, patience, tolerances.

These are small stylised pieces of code. They are read from their syntax, with values from the
interpreter where they are known.
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from convlint.program.domain import UNKNOWN, Abstract, Const, Instance, Scope, Site
from convlint.program.drafts import SelectionDraft, ToleranceDraft
from convlint.program.walk import Walk

_BETTER_BELOW = (cst.LessThan, cst.LessThanEqual)
_BETTER_ABOVE = (cst.GreaterThan, cst.GreaterThanEqual)
_ONLY_TELLS = frozenset(
    {"print", "info", "debug", "warning", "log", "format", "write", "append", "item", "float",
     "round", "add_scalar", "set_postfix", "time", "now", "cpu", "detach", "copy"}
)  # fmt: skip
"""Calls that keep nothing of a model."""
_KEEPS_WEIGHTS = ("save", "state_dict", "checkpoint", "deepcopy", "snapshot", "export", "ckpt")

_WEIGHTS = ("model", "net", "weight", "param")


class Monitoring(Walk):
    """Reads ``if`` statements that monitor a training."""

    def note_monitoring(self, statement: cst.If, scope: Scope) -> None:
        """Record the selections and tolerances in the test of an ``if``."""
        for comparison in _conjuncts(statement.test):
            self._note_selection(comparison, statement, scope)
            self._note_tolerance(comparison, statement, scope)

    def _note_selection(self, test: cst.Comparison, statement: cst.If, scope: Scope) -> None:
        operator = test.comparisons[0].operator
        left, right = dotted(test.left), dotted(test.comparisons[0].comparator)
        if not isinstance(operator, (*_BETTER_BELOW, *_BETTER_ABOVE)) or not left or not right:
            return
        remembered = {
            (dotted(a.targets[0].target), dotted(a.value))
            for a in _assignments(statement.body, deep=False)
        }
        if (right, left) in remembered:
            measure, best, below = left, right, isinstance(operator, _BETTER_BELOW)
        elif (left, right) in remembered:
            measure, best, below = right, left, isinstance(operator, _BETTER_ABOVE)
        else:
            return
        self.selections.append(self._selection(measure, best, below, statement, scope))

    def _selection(
        self, measure: str, best: str, below: bool, statement: cst.If, scope: Scope
    ) -> SelectionDraft:
        around: cst.CSTNode = (
            self.loop_statements[-1] if self.loop_statements else scope.module.tree
        )
        counter = _counter(statement)
        # what happens to an attribute may happen in any method
        where = scope.module.tree if "." in counter or not self.loop_statements else around
        resets = sum(dotted(a.targets[0].target) == counter for a in _assignments(where, deep=True))
        code = scope.module.tree.code_for_node(around)
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

    def _note_tolerance(self, test: cst.Comparison, statement: cst.If, scope: Scope) -> None:
        """``abs(previous - current) < tolerance``."""
        call = test.left
        if not (
            isinstance(test.comparisons[0].operator, _BETTER_BELOW)
            and isinstance(call, cst.Call)
            and len(call.args) == 1
            and dotted(call.func) in ("abs", "math.fabs", "np.abs", "numpy.abs", "torch.abs")
        ):
            return
        difference = call.args[0].value
        if not (
            isinstance(difference, cst.BinaryOperation)
            and isinstance(difference.operator, cst.Subtract)
        ):
            return
        limit = test.comparisons[0].comparator
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


def dotted(node: cst.CSTNode) -> str:
    """``a.b.c`` for a name or attribute, else an empty string."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr.value}" if owner else ""
    return ""


def _subject(node: cst.BaseExpression) -> str:
    """The variable whose number this is: ``loss`` for ``loss``, ``loss.item()``, ``float(loss)``."""
    if isinstance(node, cst.Call):
        if isinstance(node.func, cst.Attribute) and not node.args:
            return _subject(node.func.value)
        return _subject(node.args[0].value) if len(node.args) == 1 else ""
    return dotted(node)


def _conjuncts(test: cst.BaseExpression) -> Iterator[cst.Comparison]:
    if isinstance(test, cst.BooleanOperation) and isinstance(test.operator, cst.And):
        yield from _conjuncts(test.left)
        yield from _conjuncts(test.right)
    elif isinstance(test, cst.Comparison) and len(test.comparisons) == 1:
        yield test


def descendants(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Every node below ``node``, itself included, in no particular order."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(current.children)


def _assignments(node: cst.CSTNode, *, deep: bool) -> Iterator[cst.Assign]:
    """Plain assignments in a suite (``deep``: anywhere below)."""
    if deep:
        yield from (n for n in descendants(node) if isinstance(n, cst.Assign))
        return
    for line in getattr(node, "body", ()):
        if isinstance(line, cst.SimpleStatementLine):
            yield from (small for small in line.body if isinstance(small, cst.Assign))


def _assigned(node: cst.CSTNode) -> set[str]:
    names: set[str] = set()
    for assignment in _assignments(node, deep=True):
        for target in assignment.targets:
            inner = target.target
            parts = (
                [e.value for e in inner.elements]
                if isinstance(inner, (cst.Tuple, cst.List))
                else [inner]
            )
            names.update(name for part in parts if (name := dotted(part)))
    return names


def _counter(statement: cst.If) -> str:
    """The variable that counts the times nothing improved: ``else: counter += 1``."""
    otherwise = statement.orelse
    if not isinstance(otherwise, cst.Else):
        return ""
    for line in otherwise.body.body:
        for small in getattr(line, "body", ()) if isinstance(line, cst.SimpleStatementLine) else ():
            if isinstance(small, cst.AugAssign) and isinstance(small.operator, cst.AddAssign):
                return dotted(small.target)
    return ""


def _stops_on(counter: str, where: cst.CSTNode) -> bool:
    """Whether a test on ``counter`` ends something."""
    for node in descendants(where):
        if (
            isinstance(node, cst.If)
            and any(dotted(part) == counter for part in descendants(node.test))
            and _leaves(node.body)
        ):
            return True
    return False


def _leaves(body: cst.BaseSuite) -> bool:
    return any(isinstance(n, (cst.Break, cst.Return)) for n in descendants(body)) or any(
        "stop" in name.lower() for name in _assigned(body)
    )


def _keeps_something(body: cst.BaseSuite) -> bool:
    """Whether a suite does more than remember numbers and tell them."""
    for node in descendants(body):
        if isinstance(node, cst.Call):
            name = dotted(node.func).rpartition(".")[2]
            if name not in _ONLY_TELLS:
                return True
        elif isinstance(node, (cst.DictComp, cst.Dict, cst.ListComp)) or (
            isinstance(node, cst.Assign)
            and any(word in dotted(node.value).lower() for word in _WEIGHTS)
        ):
            return True
    return False
