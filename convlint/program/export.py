"""From the interpreter's drafts to facts: places computed, objects numbered, noise dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.domain import Const
from convlint.program.exported_events import EventExport
from convlint.program.exported_objects import ObjectExport
from convlint.program.facts import (
    Call,
    Entry,
    Exhausted,
    Flow,
    GradientSwitch,
    Initialisation,
    LossCall,
    Requirement,
    Selection,
    Tolerance,
    TrainingProgram,
    Unused,
)
from convlint.program.mode_overrides import mode_overrides
from convlint.program.remarks import batch_shares, silent_skips, unread_settings
from convlint.program.words import attributes_read, unreferenced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.index import SourceModule


class Exporter(ObjectExport, EventExport):
    """Turns one finished walk into a ``TrainingProgram``."""

    def program(self, role: str) -> TrainingProgram:
        """The facts."""
        walk = self._walk
        read = attributes_read(self._sources())
        return TrainingProgram(
            path=self._module.path,
            role=role,
            imports=tuple(walk.imported),
            managed=tuple(walk.managed),
            objects=tuple(self._object(i) for i in walk.instances),
            flows=tuple(
                Flow(
                    f.id,
                    f.op,
                    f.inputs,
                    self._arguments(f.args),
                    f.layer.id if f.layer is not None else None,
                    f.source.id if f.source is not None else None,
                    f.index,
                    f.name,
                    self._place(f.site),
                    f.detached,
                    f.written,
                )
                for f in walk.flows
            ),
            models=tuple(self._models()),
            entries=tuple(
                Entry(e.name, self._place_of(e.site), self._nodes(e.body), e.standalone)
                for e in walk.entries
            ),
            initialisations=tuple(
                Initialisation(
                    i.name,
                    self._place_of(i.site),
                    tuple(layer.id for layer in i.layers),
                    i.classes,
                    i.parameter,
                    self._arguments(i.args),
                    order,
                    within=i.within,
                )
                for order, i in enumerate(walk.initialisations)
            ),
            losses=tuple(
                LossCall(
                    c.name,
                    self._place_of(c.site),
                    c.input,
                    c.target,
                    self._arguments(c.args),
                    c.object.id if c.object is not None else None,
                    c.flow,
                    c.context,
                    c.loops,
                    c.function,
                    self._place(c.overwritten),
                )
                for c in walk.losses
            ),
            calls=tuple(
                Call(
                    c.name,
                    self._place_of(c.site),
                    self._arguments(c.args),
                    self._value(c.result),
                    c.receiver.id if c.receiver is not None else None,
                    c.context,
                    c.loops,
                    c.function,
                    c.conditional,
                    within=c.within,
                    conditions=self._conditions(c.conditions),
                )
                for c in walk.calls
            ),
            unused=tuple(
                Unused(
                    self._place_of(u.site),
                    u.name,
                    u.called,
                    u.receiver.id if u.receiver is not None else None,
                    u.flow,
                )
                for u in walk.unused
            ),
            selections=tuple(
                Selection(
                    self._place_of(s.site),
                    s.measure,
                    s.best,
                    s.below,
                    self._value(s.initial),
                    s.loops,
                    s.counter,
                    s.counter_reset,
                    s.stops,
                    s.keeps,
                    s.others,
                )
                for s in walk.selections
            ),
            switches=tuple(self._switches()),
            exhausted=tuple(self._exhausted()),
            tolerances=tuple(
                Tolerance(
                    self._place_of(t.site),
                    t.compared,
                    self._value(t.limit, t.limit_site),
                    t.loops,
                    t.stops,
                )
                for t in walk.tolerances
            ),
            problems=tuple(walk.problems),
            attributes_read=read,
            unreferenced=unreferenced(self._module, self._sources()),
            mode_overrides=tuple(mode_overrides(self._module)),
            unread=tuple(unread_settings(self._module, self._sources(), read)),
            batch_shares=tuple(batch_shares(self._module)),
            silent_skips=frozenset(silent_skips(self._module)),
            requirements=self._requirements(),
        )

    def _requirements(self) -> tuple[Requirement, ...]:
        drawn = any(
            call.name.startswith("numpy.random.")
            and any(f.endswith(".__getitem__") for f in call.within)
            for call in self._walk.calls
        )
        if not drawn:
            return ()
        from convlint.program.requirements import requirements

        return tuple(requirements(self._walk, self._module))

    def _sources(self) -> list[SourceModule]:
        return [self._module, *(m for m in self._walk.modules if m is not self._module)]

    def _switches(self) -> Iterator[GradientSwitch]:
        for switch in self._walk.switches:
            known = isinstance(switch.value, Const) and isinstance(switch.value.value, bool)
            yield GradientSwitch(
                self._place_of(switch.site),
                switch.name,
                tuple(module.leader.id for module in switch.modules),
                switch.on,
                bool(switch.value.value) if known and isinstance(switch.value, Const) else None,
                switch.whole and not switch.conditional,
                switch.called,
                switch.loops > 0,
            )

    def _exhausted(self) -> Iterator[Exhausted]:
        for _, uses in self._walk.consumed.values():
            for name, site in uses[1:]:
                if site != uses[0][1]:
                    yield Exhausted(self._place_of(uses[0][1]), self._place_of(site), name)
