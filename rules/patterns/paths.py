"""The linear orders in which the events of a loop can happen.

An event tree has branches; a fault in the order of events is a fault of one *path* through it.
Paths respect ``continue``, ``break``, ``return`` and ``raise``, and take the same side of the same
test throughout one iteration: with ``if use_amp:`` written twice there are two paths, not four.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from convlint.lazy_regex import lazy_regex
from convlint.program.facts import Branch, Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from convlint.program.facts import Node

PATH_CAP = 64
"""Above this many distinct orders a loop is not judged: it would cost more than it tells."""


_LAST_ITERATION = lazy_regex(r"==[^=]*-\s*1\b")


class Condition(msgspec.Struct, frozen=True):
    """One side of one test: arm ``arm`` of the branch on ``text``."""

    text: str
    arm: int
    modulo: bool = False
    first_iteration: bool = False

    @property
    def last_iteration(self) -> bool:
        """True for the true side of tests such as ``epoch == epochs - 1``."""
        return self.arm == 0 and _LAST_ITERATION.search(self.text) is not None


class Occurrence(msgspec.Struct, frozen=True):
    """An event on a path, with the tests it stands under and the inner loops that repeat it."""

    event: Event
    conditions: tuple[Condition, ...] = ()
    loops: tuple[int, ...] = ()

    @property
    def kind(self) -> EventKind:
        """The kind of the event."""
        return self.event.kind

    @property
    def conditional(self) -> bool:
        """True when a test decides whether it happens."""
        return bool(self.conditions) or "conditional-expression" in self.event.flags

    @property
    def modulo(self) -> bool:
        """True when a test with ``%`` decides whether it happens."""
        return any(condition.modulo for condition in self.conditions)

    @property
    def first_iteration(self) -> bool:
        """True when it happens in the first iteration only."""
        return any(c.first_iteration and c.arm == 0 for c in self.conditions)

    @property
    def last_iteration(self) -> bool:
        """True when it happens in the last iteration only."""
        return any(condition.last_iteration for condition in self.conditions)


class Path(msgspec.Struct, frozen=True):
    """One order of events through a loop body.

    ``choices`` are the sides taken, by text of the test; ``ends`` is ``break`` or ``return`` when
    the path leaves the loop, else None (another iteration may follow).
    """

    occurrences: tuple[Occurrence, ...] = ()
    choices: tuple[Condition, ...] = ()
    ends: str | None = None

    def compatible(self, following: Path) -> bool:
        """Whether one iteration can take this path and a later one ``following``.

        Tests with ``%`` and tests for one iteration change from iteration to iteration; the
        others are taken to be settings, equal in all of them.
        """
        if self.ends is not None:
            return False
        taken = {c.text: c for c in self.choices}
        for choice in following.choices:
            mine = taken.get(choice.text)
            if mine is None or mine.arm == choice.arm:
                continue
            if not (choice.modulo or choice.first_iteration or _LAST_ITERATION.search(choice.text)):
                return False
        return True


def occurrences(
    nodes: tuple[Node, ...],
    conditions: tuple[Condition, ...] = (),
    loops: tuple[int, ...] = (),
) -> Iterator[Occurrence]:
    """Every event below ``nodes`` in source order, on whatever path."""
    for node in nodes:
        if isinstance(node, Event):
            yield Occurrence(node, conditions, loops)
        elif isinstance(node, Branch):
            for index, arm in enumerate(node.arms):
                yield from occurrences(arm.body, (*conditions, condition_of(node, index)), loops)
        else:
            yield from occurrences(node.body, conditions, (*loops, node.id))


def paths(
    body: tuple[Node, ...], kinds: Collection[EventKind], cap: int = PATH_CAP
) -> list[Path] | None:
    """The orders in which events of ``kinds`` can happen in one pass through ``body``.

    Inner loops are passed through once. Returns None when there are more than ``cap`` orders.
    """
    key = (id(body), frozenset(kinds), cap)
    known = _known.get(key)
    if known is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        known = _known[key] = (body, _enumerated(body, kinds, cap))
    return None if known[1] is None else list(known[1])


_MOST_KNOWN = 64
_known: dict[
    tuple[int, frozenset[EventKind], int], tuple[tuple[Node, ...], tuple[Path, ...] | None]
] = {}
"""Several rules ask for the same paths of one program; with each body, so that its id stays its."""


def _enumerated(
    body: tuple[Node, ...], kinds: Collection[EventKind], cap: int
) -> tuple[Path, ...] | None:
    try:
        found = _extend([Path()], _prune(body, kinds), (), (), cap)
    except _TooManyPathsError:
        return None
    return tuple(replace(path, ends=None) if path.ends == "continue" else path for path in found)


class _TooManyPathsError(Exception):
    """The cap on paths was exceeded."""


class _Fork(NamedTuple):
    """A branch that matters: each side with its test, its body and how it ends."""

    arms: list[tuple[Condition, list[_Step], str | None]]


class _Pass(NamedTuple):
    """A loop that matters."""

    loop: int
    body: list[_Step]


_Step = Event | _Fork | _Pass


def _prune(nodes: tuple[Node, ...], kinds: Collection[EventKind]) -> list[_Step]:
    """Drop the events of other kinds, and the branches and loops that then decide nothing."""
    kept: list[_Step] = []
    for node in nodes:
        if isinstance(node, Event):
            if node.kind in kinds:
                kept.append(node)
        elif isinstance(node, Branch):
            arms = [(_prune(arm.body, kinds), arm.ends) for arm in node.arms]
            if any(body or ends for body, ends in arms):
                sided = enumerate(arms)
                kept.append(_Fork([(condition_of(node, i), *arm) for i, arm in sided]))
        else:
            body = _prune(node.body, kinds)
            if body:
                kept.append(_Pass(node.id, body))
    return kept


def _extend(
    live: list[Path],
    steps: list[_Step],
    conditions: tuple[Condition, ...],
    loops: tuple[int, ...],
    cap: int,
) -> list[Path]:
    """Continue every live path through ``steps``; paths that have ended stay as they are."""
    for node in steps:
        if isinstance(node, Event):
            here = Occurrence(node, conditions, loops)
            live = [p if p.ends else replace(p, occurrences=(*p.occurrences, here)) for p in live]
        elif isinstance(node, _Fork):
            live = _extend_branch(live, node, conditions, loops, cap)
        else:
            ended = [p for p in live if p.ends]
            through = _extend(
                [p for p in live if not p.ends], node.body, conditions, (*loops, node.loop), cap
            )
            # break and continue of the inner loop lead to what follows it
            live = ended + [p if p.ends == "return" else replace(p, ends=None) for p in through]
            live = _distinct(live, cap)
    return [p for p in live if p.ends != "raise"]


def _extend_branch(
    live: list[Path],
    fork: _Fork,
    conditions: tuple[Condition, ...],
    loops: tuple[int, ...],
    cap: int,
) -> list[Path]:
    result = [p for p in live if p.ends]
    test = fork.arms[0][0].text
    for path in live:
        if path.ends:
            continue
        taken = next((c for c in path.choices if c.text and c.text == test), None)
        for side, body, ends in fork.arms:
            if taken is not None and taken.arm != side.arm:
                continue
            start = path if taken or not side.text else replace(path, choices=(*path.choices, side))
            inside = _extend([start], body, (*conditions, side), loops, cap) if body else [start]
            if ends == "raise":
                continue
            result.extend(p if p.ends or not ends else replace(p, ends=ends) for p in inside)
    return _distinct(result, cap)


def _distinct(found: list[Path], cap: int) -> list[Path]:
    seen: dict[tuple[tuple[int, ...], tuple[Condition, ...], str | None], Path] = {}
    for path in found:
        key = (tuple(id(o.event) for o in path.occurrences), path.choices, path.ends)
        seen.setdefault(key, path)
    if len(seen) > cap:
        raise _TooManyPathsError
    return list(seen.values())


def condition_of(branch: Branch, arm: int) -> Condition:
    """The side ``arm`` of ``branch``, with negations written as the other side of the test."""
    text = branch.condition.strip()
    flipped = False
    if len(branch.arms) == 2:
        if text.startswith("not ") and " and " not in text and " or " not in text:
            text, flipped = text[4:].strip(), True
        elif text.endswith(" is None"):
            text, flipped = f"{text[: -len(' is None')]} is not None", True
    return Condition(
        text=text,
        arm=1 - arm if flipped else arm,
        modulo=branch.modulo,
        first_iteration=branch.first_iteration and not flipped,
    )


def continued(path: Path) -> tuple[Occurrence, ...]:
    """The events of two successive iterations that both take ``path``.

    A path that leaves the loop has no second iteration.
    """
    return path.occurrences if path.ends else path.occurrences * 2
