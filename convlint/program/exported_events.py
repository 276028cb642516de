"""Event trees of a finished walk as facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.domain import Instance
from convlint.program.drafts import BranchDraft, EventDraft, NodeDraft
from convlint.program.exported_values import ValueExport
from convlint.program.facts import (
    Arm,
    Branch,
    Carried,
    Event,
    EventKind,
    Loop,
    Node,
    ObjectKind,
)

if TYPE_CHECKING:
    pass


class EventExport(ValueExport):
    """Loops, branches and events; what turns out to be nothing is dropped."""

    def _nodes(self, drafts: list[NodeDraft]) -> tuple[Node, ...]:
        nodes: list[Node] = []
        for draft in drafts:
            node = self._node(draft)
            if node is not None:
                nodes.append(node)
        return tuple(nodes)

    def _node(self, draft: NodeDraft) -> Node | None:
        if isinstance(draft, EventDraft):
            return self._event(draft)
        if isinstance(draft, BranchDraft):
            arms = tuple(Arm(self._nodes(a.body), a.ends) for a in draft.arms)
            if not any(a.body or a.ends for a in arms):
                return None
            return Branch(
                self._place_of(draft.site),
                arms,
                draft.condition,
                draft.modulo,
                draft.first_iteration,
                tuple(g.id for g in draft.guards),
                tuple(map(bool, draft.outcomes.values)) if draft.outcomes is not None else None,
                draft.outcomes.loop if draft.outcomes is not None else None,
            )
        body = self._nodes(draft.body)
        if not body:
            return None
        return Loop(
            draft.id,
            self._place_of(draft.site),
            draft.kind,
            self._value(draft.over),
            self._value(draft.trips),
            draft.index,
            body,
            incomplete=_has_unknown_call(body),
            ends=draft.ends,
            iterator=self._place(draft.iterator.site) if draft.iterator is not None else None,
            iterator_loops=draft.iterator.loops if draft.iterator is not None else (),
            carried=tuple(Carried(c.name, c.before, c.after) for c in draft.carried),
        )

    def _event(self, draft: EventDraft) -> Event | None:
        kind = draft.kind
        target = draft.target
        escapes = tuple(
            e.id
            for e in draft.escapes
            if e.kind is not ObjectKind.SYMBOL or e.id in self._training_symbols
        )
        if target is not None and target.kind is ObjectKind.SYMBOL:
            resolved = self._symbol_event(kind, target)
            if resolved is None:
                return None
            if resolved is EventKind.UNKNOWN_CALL and kind is not EventKind.UNKNOWN_CALL:
                escapes = (*escapes, target.id)
            kind = resolved
        if kind is EventKind.UNKNOWN_CALL and not escapes and target is None:
            return None
        return Event(
            kind=kind,
            location=self._place_of(draft.site),
            target=target.id if target is not None else None,
            optimizer=draft.optimizer.id if draft.optimizer is not None else None,
            over=tuple(o.leader.id for o in draft.over) if draft.over is not None else None,
            flow=draft.flow,
            name=draft.name,
            args=self._arguments(draft.args),
            flags=draft.flags,
            context=draft.context,
            via=tuple(self._place_of(v) for v in draft.via),
            escapes=escapes,
        )

    def _symbol_event(self, kind: EventKind, symbol: Instance) -> EventKind | None:
        """What an event on a symbol is once all its methods are known."""
        what = self._kind_of(symbol)
        if kind is EventKind.STEP:
            if what is ObjectKind.OPTIMIZER:
                return kind
            if what is ObjectKind.SCHEDULER:
                return EventKind.SCHEDULER_STEP
            return EventKind.UNKNOWN_CALL
        if kind is EventKind.SCALER_UPDATE and what is not ObjectKind.SCALER:
            return None
        if kind in (EventKind.UNKNOWN_CALL, EventKind.FORWARD) and what is ObjectKind.SYMBOL:
            return None
        return kind


def _has_unknown_call(nodes: tuple[Node, ...]) -> bool:
    for node in nodes:
        if isinstance(node, Event):
            if node.kind is EventKind.UNKNOWN_CALL:
                return True
        elif isinstance(node, Branch):
            if any(_has_unknown_call(arm.body) for arm in node.arms):
                return True
        elif _has_unknown_call(node.body):
            return True
    return False
