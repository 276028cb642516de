"""Facts under construction: events, flows and calls that still hold abstract values and sites."""

from __future__ import annotations

from dataclasses import dataclass, field

from convlint.program.domain import (
    Abstract,
    Argument,
    Instance,
    Site,
)
from convlint.program.facts import EventKind


@dataclass(slots=True, eq=False)
class FlowDraft:
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


@dataclass(slots=True, eq=False)
class EventDraft:
    """An event before export."""

    kind: EventKind
    site: Site
    target: Instance | None = None
    optimizer: Instance | None = None
    over: tuple[Instance, ...] | None = None
    flow: int | None = None
    name: str = ""
    args: dict[str, Argument] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    via: tuple[Site, ...] = ()
    escapes: tuple[Instance, ...] = ()


@dataclass(slots=True, eq=False)
class ArmDraft:
    """One side of a branch before export."""

    body: list[NodeDraft]
    ends: str | None


@dataclass(slots=True, eq=False)
class BranchDraft:
    """A branch before export."""

    site: Site
    arms: list[ArmDraft]
    condition: str = ""
    modulo: bool = False
    first_iteration: bool = False
    guards: tuple[Instance, ...] = ()


@dataclass(slots=True, eq=False)
class LoopDraft:
    """A loop before export."""

    id: int
    site: Site
    kind: str
    over: Abstract
    trips: Abstract
    index: str
    body: list[NodeDraft]


NodeDraft = EventDraft | BranchDraft | LoopDraft


@dataclass(slots=True, eq=False)
class EntryDraft:
    """An entry point before export."""

    name: str
    site: Site
    body: list[NodeDraft]
    standalone: bool


@dataclass(slots=True, eq=False)
class InitialisationDraft:
    """An initialisation call before export."""

    name: str
    site: Site
    layers: tuple[Instance, ...]
    classes: tuple[str, ...]
    parameter: str
    args: dict[str, Argument]


@dataclass(slots=True, eq=False)
class LossDraft:
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


@dataclass(slots=True, eq=False)
class CallDraft:
    """A library call before export."""

    name: str
    site: Site
    args: dict[str, Argument]
    result: Abstract
    receiver: Instance | None
    context: tuple[str, ...]
    loops: tuple[int, ...]
    function: str


@dataclass(slots=True, eq=False)
class PlainListDraft:
    """Modules kept in a plain container, before export."""

    owner: Instance
    attribute: str
    container: str
    holds: str
    site: Site
    layers: tuple[Instance, ...]
