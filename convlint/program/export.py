"""From the interpreter's drafts to facts: places computed, objects numbered, noise dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.program.domain import UNKNOWN as NOTHING_KNOWN
from convlint.program.domain import (
    Abstract,
    Argument,
    Batches,
    Choice,
    Class,
    Condition,
    Const,
    Function,
    Indexed,
    Instance,
    Library,
    Map,
    ParameterGroups,
    Parameters,
    Seq,
    Site,
    Tensor,
)
from convlint.program.drafts import BranchDraft, EventDraft, NodeDraft
from convlint.program.facts import (
    UNKNOWN,
    Arm,
    Branch,
    Call,
    Carried,
    Entry,
    Event,
    EventKind,
    Exhausted,
    Flow,
    GradientSwitch,
    Initialisation,
    Loop,
    LossCall,
    Model,
    Node,
    Object,
    ObjectKind,
    PlainList,
    Requirement,
    Selection,
    Tolerance,
    TrainingProgram,
    Unused,
    Value,
)
from convlint.program.mode_overrides import mode_overrides
from convlint.program.remarks import batch_shares, silent_skips, unread_settings
from convlint.program.symbols import lone_steppers, symbol_kind
from convlint.program.words import attributes_of_self, attributes_read, unreferenced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.findings import Location
    from convlint.program.index import SourceModule
    from convlint.program.statements import Statements

_DEEPEST_VALUE = 4


class Exporter:
    """Turns one finished walk into a ``TrainingProgram``."""

    def __init__(self, walk: Statements, module: SourceModule) -> None:
        self._walk = walk
        self._module = module
        self._condition_texts: dict[int, str] = {}
        self._lone_steppers = lone_steppers(walk.entries)
        self._training_symbols = frozenset(
            i.id
            for i in walk.instances
            if i.kind is ObjectKind.SYMBOL and self._kind_of(i) is not ObjectKind.SYMBOL
        )

    def _kind_of(self, symbol: Instance) -> ObjectKind:
        kind = symbol_kind(symbol)
        if kind is ObjectKind.SYMBOL and symbol.id in self._lone_steppers:
            return ObjectKind.OPTIMIZER
        return kind

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

    def _conditions(self, conditions: tuple[Condition, ...]) -> tuple[str, ...]:
        return tuple(self._condition(condition) for condition in conditions)

    def _condition(self, condition: Condition) -> str:
        key = id(condition.site.node)
        text = self._condition_texts.get(key)
        if text is None:
            code = condition.site.module.positions.text(condition.site.node)
            text = self._condition_texts[key] = " ".join(code.split())
        return f"not ({text})" if condition.negated else text

    def _place(self, site: Site | None) -> Location | None:
        return self._place_of(site) if site is not None else None

    def _place_of(self, site: Site) -> Location:
        return site.module.positions.of(site.node)

    def _arguments(self, arguments: dict[str, Argument]) -> dict[str, Value]:
        return {name: self._value(a.value, a.site) for name, a in arguments.items()}

    def _value(self, value: Abstract, site: Site | None = None, depth: int = 0) -> Value:
        location = site.module.positions.of(site.node) if site is not None else None
        if isinstance(value, Const):
            return Value(candidates=(value.value,), origin=value.origin, location=location)
        if value is NOTHING_KNOWN:
            return UNKNOWN if location is None else Value(location=location)
        if isinstance(value, Choice):
            return self._choice(value, location)
        if isinstance(value, Instance):
            return Value(object=value.id, location=location)
        if isinstance(value, Indexed):
            items = tuple(Value(candidates=(constant,)) for constant in value.values)
            return Value(items=items, loop=value.loop, location=location)
        if isinstance(value, Batches):
            return Value(name="<batches>", location=location)
        if isinstance(value, ParameterGroups):
            return Value(object=value.optimizer.leader.id, name="param_groups", location=location)
        if isinstance(value, Tensor):
            return Value(flow=value.flow, location=location)
        if isinstance(value, Library):
            return Value(name=value.name, location=location)
        if isinstance(value, (Function, Class)):
            name = f"{value.scope.module.name}.{value.name}"
            return Value(name=name, project=True, location=location)
        if isinstance(value, Parameters) and len(value.owners) == 1:
            name = "parameter" if value.single else "parameters"
            return Value(object=value.owners[0].id, name=name, location=location)
        if depth < _DEEPEST_VALUE and isinstance(value, Seq) and value.complete:
            items = tuple(self._value(item, None, depth + 1) for item in value.items)
            return Value(items=items, location=location)
        if depth < _DEEPEST_VALUE and isinstance(value, Map) and value.complete:
            items = tuple(self._value(item, None, depth + 1) for item in value.items.values())
            return Value(items=items, keys=tuple(value.items), location=location)
        return Value(location=location) if location is not None else UNKNOWN

    def _choice(self, value: Choice, location: Location | None) -> Value:
        constants = [o for o in value.options if isinstance(o, Const)]
        if len(constants) == len(value.options):
            return Value(
                candidates=tuple(c.value for c in constants),
                origin=constants[0].origin,
                location=location,
            )
        instances = {o.leader.id for o in value.options if isinstance(o, Instance)}
        if any(type(c.value) in (int, float) for c in constants):
            return Value(location=location)  # a number or an object is neither for certain
        if len(instances) == 1 and not any(isinstance(o, Tensor) for o in value.options):
            others = [o for o in value.options if not isinstance(o, Instance)]
            optional = len(others) == len(constants) == 1 and constants[0].value is None
            return Value(object=instances.pop(), optional=optional, location=location)
        return Value(location=location)

    def _object(self, instance: Instance) -> Object:
        kind = self._kind_of(instance) if instance.kind is ObjectKind.SYMBOL else instance.kind
        parameters: tuple[int, ...] | None = None
        if instance.kind is ObjectKind.OPTIMIZER:
            given = instance.args.get("params") or instance.args.get("0")
            if given is not None and "param_groups" not in instance.args:
                owners, resolved = self._walk.parameter_owners(given.value)
                parameters = tuple(o.leader.id for o in owners) if resolved else None
        return Object(
            id=instance.id,
            kind=kind,
            cls=instance.cls,
            location=self._place_of(instance.site),
            args=self._arguments(instance.args),
            names=tuple(instance.names),
            bases=instance.bases,
            children={name: child.id for name, child in instance.children.items()},
            attributes={
                name: self._value(value)
                for name, value in instance.attributes.items()
                if not name.startswith("<") and instance.kind is not ObjectKind.SYMBOL
            },
            parameters_of=parameters,
            escaped=instance.escaped,
            context=("loop",) * instance.loops,
            same_as=instance.leader.id if instance.same_as is not None else None,
            symbolic=instance.kind is ObjectKind.SYMBOL,
            complete=instance.complete,
            within=instance.within if instance.kind is not ObjectKind.SYMBOL else (),
            conditions=self._conditions(instance.conditions)
            if instance.kind is not ObjectKind.SYMBOL
            else (),
            item=UNKNOWN if instance.item is None else self._value(instance.item),
            mentions=self._mentions(instance) if instance.kind is ObjectKind.DATASET else {},
            methods=tuple(sorted(m for m in instance.methods if not m.startswith("<"))),
        )

    def _mentions(self, instance: Instance) -> dict[str, tuple[str, ...]]:
        if instance.klass is None:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for klass in self._walk.lineage(instance.klass):
            for name, member in klass.members.items():
                if isinstance(member, Function) and name not in found:
                    code = member.scope.module.positions.text(member.node)
                    found[name] = attributes_of_self(code)
        return found

    def _models(self) -> list[Model]:
        models: list[Model] = []
        for instance in self._walk.instances:
            bare = instance.cls == "torch.nn.Sequential"
            if instance.parent is not None or not (instance.kind is ObjectKind.MODEL or bare):
                continue
            members = self._walk.modules_of(instance)
            layers = [
                m.id
                for m in members
                if m.kind is ObjectKind.LAYER
                and not m.cls.startswith("torch.nn.Module")
                and m.cls != "torch.nn.Sequential"
            ]
            forward = instance.forward
            models.append(
                Model(
                    object=instance.id,
                    cls=instance.cls,
                    location=self._class_place(instance),
                    layers=tuple(layers),
                    inputs=forward.inputs if forward is not None else (),
                    outputs=forward.outputs if forward is not None else (),
                    forward_known=bare or (forward is not None and forward.known),
                    complete=all(m.complete for m in members),
                    bases=instance.bases,
                    plain_lists=self._plain_lists(members),
                )
            )
        return models

    def _class_place(self, instance: Instance) -> Location:
        if instance.klass is not None:
            return instance.klass.scope.module.positions.of_name(instance.klass.node)
        return self._place_of(instance.site)

    def _plain_lists(self, members: list[Instance]) -> tuple[PlainList, ...]:
        found: list[PlainList] = []
        for draft in self._walk.plain_lists:
            if draft.owner not in members or not draft.holds:
                continue
            registered = {m for member in members for m in member.children.values()}
            listed = [layer in registered for layer in draft.layers]
            # one entry of a table chosen by name is registered; the others were never meant to be
            chosen = any(listed) if draft.container == "dict" else bool(listed) and all(listed)
            later = chosen or draft.attribute in draft.owner.children
            found.append(
                PlainList(
                    draft.attribute,
                    draft.container,
                    draft.holds,
                    self._place_of(draft.site),
                    tuple(layer.id for layer in draft.layers),
                    registered_later=later,
                )
            )
        return tuple(found)

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
