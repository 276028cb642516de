"""How progress is measured and judged by the script itself, and settings nothing reads."""

from __future__ import annotations

import msgspec

from convlint.findings import Location
from convlint.program.facts.values import UNKNOWN, Value


class Selection(msgspec.Struct, frozen=True):
    """``if measure < best: best = measure``: the test that remembers the best score so far.

    ``below`` is true when smaller counts as better. ``initial`` is what ``best`` held before the
    loops. ``counter`` is the variable incremented when nothing improved, ``counter_reset`` whether
    it is ever set back, ``stops`` whether a test on it ends the loop. ``keeps`` is true when the
    code around may save or copy weights. ``others`` are the names the enclosing loop assigns.
    """

    location: Location
    measure: str
    best: str
    below: bool
    initial: Value = UNKNOWN
    loops: tuple[int, ...] = ()
    counter: str = ""
    counter_reset: bool = False
    stops: bool = False
    keeps: bool = True
    others: tuple[str, ...] = ()


class Tolerance(msgspec.Struct, frozen=True):
    """``if abs(previous - current) < limit``: the test whether a number still changes.

    ``compared`` names the two variables ("" for other expressions); ``stops`` is true when the
    test ends the loop or the function.
    """

    location: Location
    compared: tuple[str, str]
    limit: Value = UNKNOWN
    loops: tuple[int, ...] = ()
    stops: bool = False


class BatchShare(msgspec.Struct, frozen=True):
    """``correct / len(loader)``, where the loop at ``loop`` walks the same ``over`` and adds to
    ``count`` how many examples of each of its items are right."""

    count: str
    over: str
    location: Location
    loop: Location


class Unread(msgspec.Struct, frozen=True):
    """A setting that nothing reads: ``kind`` is ``option`` (of argparse) or ``constant``."""

    kind: str
    name: str
    location: Location


class Requirement(msgspec.Struct, frozen=True):
    """What a file of the project asks of a ``library``: pairs of an operator (``==``, ``~=``, ``<`` ...)
    and a version, which may end in ``.*``; None where it is not understood."""

    library: str
    clauses: tuple[tuple[str, str], ...] | None
    location: Location
