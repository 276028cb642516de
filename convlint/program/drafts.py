"""Facts under construction: events, flows and calls that still hold abstract values and sites."""

from __future__ import annotations

import msgspec

from convlint.program.domain import (
    Abstract,
    Argument,
    Condition,
    Indexed,
    Instance,
    Iterated,
    Site,
)
from convlint.program.facts import EventKind


class FlowDraft(msgspec.Struct, eq=False):
    """A node of the data-flow graph before export."""

    id: int
    op: str
    inputs: tuple[int, ...]
    args: dict[str, Argument]
    layer: Instance | None
    source: Instance | None
    index: int | None
    name: str
    site: Site | None
    detached: bool
    written: bool = False


class EventDraft(msgspec.Struct, eq=False):
    """An event before export."""

    kind: EventKind
    site: Site
    target: Instance | None = None
    optimizer: Instance | None = None
    over: tuple[Instance, ...] | None = None
    flow: int | None = None
    name: str = ""
    args: dict[str, Argument] = msgspec.field(default_factory=dict)
    flags: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    via: tuple[Site, ...] = ()
    escapes: tuple[Instance, ...] = ()


class ArmDraft(msgspec.Struct, eq=False):
    """One side of a branch before export."""

    body: list[NodeDraft]
    ends: str | None


class BranchDraft(msgspec.Struct, eq=False):
    """A branch before export."""

    site: Site
    arms: list[ArmDraft]
    condition: str = ""
    modulo: bool = False
    first_iteration: bool = False
    guards: tuple[Instance, ...] = ()
    outcomes: Indexed | None = None


class LoopDraft(msgspec.Struct, eq=False):
    """A loop before export."""

    id: int
    site: Site
    kind: str
    over: Abstract
    trips: Abstract
    index: str
    body: list[NodeDraft]
    ends: str | None = None
    iterator: Iterated | None = None
    carried: list[CarriedDraft] = msgspec.field(default_factory=list)


class CarriedDraft(msgspec.Struct, eq=False):
    """A name whose tensors pass from one iteration to the next, before export."""

    name: str
    before: tuple[int, ...]
    after: tuple[int, ...]


NodeDraft = EventDraft | BranchDraft | LoopDraft


class EntryDraft(msgspec.Struct, eq=False):
    """An entry point before export."""

    name: str
    site: Site
    body: list[NodeDraft]
    standalone: bool


class InitialisationDraft(msgspec.Struct, eq=False):
    """An initialisation call before export."""

    name: str
    site: Site
    layers: tuple[Instance, ...]
    classes: tuple[str, ...]
    parameter: str
    args: dict[str, Argument]
    within: tuple[str, ...] = ()


class LossDraft(msgspec.Struct, eq=False):
    """A loss call before export."""

    name: str
    site: Site
    input: int | None
    target: int | None
    args: dict[str, Argument]
    object: Instance | None
    flow: int
    context: tuple[str, ...]
    loops: tuple[int, ...]
    function: str = ""
    overwritten: Site | None = None


class CallDraft(msgspec.Struct, eq=False):
    """A library call before export."""

    name: str
    site: Site
    args: dict[str, Argument]
    result: Abstract
    receiver: Instance | None
    context: tuple[str, ...]
    loops: tuple[int, ...]
    function: str
    conditional: bool = False
    within: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()


class GradientSwitchDraft(msgspec.Struct, eq=False):
    """``requires_grad`` given a value, before export."""

    site: Site
    name: str
    modules: tuple[Instance, ...]
    on: str
    value: Abstract
    whole: bool
    conditional: bool
    called: bool
    loops: int


class PlainListDraft(msgspec.Struct, eq=False):
    """Modules kept in a plain container, before export."""

    owner: Instance
    attribute: str
    container: str
    holds: str
    site: Site
    layers: tuple[Instance, ...]


class UnusedDraft(msgspec.Struct, eq=False):
    """An expression statement without effect, before export."""

    site: Site
    name: str
    called: bool
    receiver: Instance | None
    flow: int | None


class SelectionDraft(msgspec.Struct, eq=False):
    """A test for the best score so far, before export."""

    site: Site
    measure: str
    best: str
    below: bool
    initial: Abstract
    loops: tuple[int, ...]
    counter: str
    counter_reset: bool
    stops: bool
    keeps: bool
    others: tuple[str, ...]


class ToleranceDraft(msgspec.Struct, eq=False):
    """A test whether a number still changes, before export."""

    site: Site
    compared: tuple[str, str]
    limit: Abstract
    limit_site: Site
    loops: tuple[int, ...]
    stops: bool
