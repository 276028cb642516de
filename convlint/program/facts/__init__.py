"""The facts static extraction yields: ``TrainingProgram`` and its parts.

Facts are plain data. Nothing here judges, nothing here holds a syntax node. Everything that can
be unknown has a way to say so, and *unknown is not absent*: a rule whose facts are unknown stays
silent.

Objects (models, layers, optimizers, schedulers, loaders, transforms ...) are numbered; values,
events and flows refer to them by number. Tensors are *flows*: nodes of a data-flow graph that
also refer to each other by number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.findings import Location
from convlint.program.facts.calls import Call, Initialisation, LossCall, Unused
from convlint.program.facts.events import Arm, Branch, Carried, Entry, Event, EventKind, Loop, Node
from convlint.program.facts.models import Exhausted, GradientSwitch, Model, ModeOverride, PlainList
from convlint.program.facts.monitoring import BatchShare, Requirement, Selection, Tolerance, Unread
from convlint.program.facts.objects import Flow, Object, ObjectKind
from convlint.program.facts.values import UNKNOWN, Origin, Scalar, Value

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping

    from convlint.program.layout import Layout

__all__ = [
    "UNKNOWN",
    "Arm",
    "BatchShare",
    "Branch",
    "Call",
    "Carried",
    "Entry",
    "Event",
    "EventKind",
    "Exhausted",
    "Flow",
    "GradientSwitch",
    "Initialisation",
    "Loop",
    "LossCall",
    "ModeOverride",
    "Model",
    "Node",
    "Object",
    "ObjectKind",
    "Origin",
    "PlainList",
    "Requirement",
    "Scalar",
    "Selection",
    "Tolerance",
    "TrainingProgram",
    "Unread",
    "Unused",
    "Value",
]

SCHEMA_VERSION = 1


class TrainingProgram(msgspec.Struct, frozen=True, dict=True):
    """Everything static extraction knows of one file (and what it imports from the project).

    ``role`` is ``script``, ``test`` or ``library``. ``managed`` names the frameworks that own the
    training loop here (``lightning``, ``transformers.Trainer`` ...). ``problems`` are lines for
    the user about parts that could not be read.
    """

    path: str
    role: str = "script"
    schema_version: int = SCHEMA_VERSION
    imports: tuple[str, ...] = ()
    managed: tuple[str, ...] = ()
    objects: tuple[Object, ...] = ()
    flows: tuple[Flow, ...] = ()
    models: tuple[Model, ...] = ()
    entries: tuple[Entry, ...] = ()
    initialisations: tuple[Initialisation, ...] = ()
    losses: tuple[LossCall, ...] = ()
    calls: tuple[Call, ...] = ()
    unused: tuple[Unused, ...] = ()
    selections: tuple[Selection, ...] = ()
    tolerances: tuple[Tolerance, ...] = ()
    switches: tuple[GradientSwitch, ...] = ()
    exhausted: tuple[Exhausted, ...] = ()
    problems: tuple[str, ...] = ()
    attributes_read: frozenset[str] = frozenset()
    """Every name that follows a dot in the file and the project files it imports, assignments to
    it aside."""
    unreferenced: tuple[str, ...] = ()
    """Functions (``f``) and methods (``Class.f``) of the file whose name occurs nowhere else in
    it or in the project files it imports."""

    def written_from(self, texts: Mapping[str, tuple[str, ast.Module]]) -> TrainingProgram:
        """The same program, knowing the ``texts`` it was read from and their trees, by path.

        They are no facts: they are neither compared nor encoded.
        """
        self.__dict__.update(texts=texts, layouts={})
        return self

    def layout(self, place: Location | None) -> Layout | None:
        """How the file around ``place`` is written; None when its text is not known."""
        texts: Mapping[str, tuple[str, ast.Module]] = self.__dict__.get("texts", {})
        if place is None or place.path not in texts:
            return None
        layouts: dict[str, Layout] = self.__dict__["layouts"]
        if place.path not in layouts:
            from convlint.program.layout import Layout

            layouts[place.path] = Layout(place.path, *texts[place.path])
        return layouts[place.path]

    mode_overrides: tuple[ModeOverride, ...] = ()
    unread: tuple[Unread, ...] = ()
    batch_shares: tuple[BatchShare, ...] = ()
    silent_skips: frozenset[Location] = frozenset()
    """Where an ``if`` stands whose true side holds nothing but ``continue``."""
    requirements: tuple[Requirement, ...] = ()
    """What the project asks of torch. Only looked up for files whose data sets draw from the global
    generator of NumPy, which torch before 1.9 copied into every worker."""
