"""The interpreter's state: the heap, the data-flow graph, the event tree being built, and the
trail that lets both arms of a branch start from the same state."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Children,
    Choice,
    Class,
    Condition,
    Const,
    Function,
    Instance,
    Library,
    Map,
    Parameters,
    ProjectModule,
    Scope,
    Seq,
    Site,
    Tensor,
    Unknown,
)
from convlint.program.drafts import (
    CallDraft,
    EntryDraft,
    EventDraft,
    FlowDraft,
    GradientSwitchDraft,
    InitialisationDraft,
    LossDraft,
    NodeDraft,
    PlainListDraft,
    SelectionDraft,
    ToleranceDraft,
    UnusedDraft,
)
from convlint.program.facts import EventKind, ObjectKind

if TYPE_CHECKING:
    import ast
    from pathlib import Path

    from convlint.program.index import ProjectIndex, SourceModule

LARGEST_UNROLLED = 40
"""Comprehensions and loops over more known items than this are walked once."""

MOST_OPTIONS = 4
"""A value that could be more things than this is unknown."""


_MISSING: Any = object()


class BudgetExceeded(Exception):
    """The program is too large to walk to its end; what was seen so far stands."""


ArmWrite = tuple[Any, Any, Any]
"""A mapping, a key and its value; or a sequence, its length and what was appended to it."""


class State:
    """Everything the interpreter accumulates while it walks one program."""

    def __init__(self, index: ProjectIndex, root: Path | None, budget: int) -> None:
        self.index = index
        self.root = root
        self.budget = budget
        self.instances: list[Instance] = []
        self.flows: list[FlowDraft] = []
        self.block: list[NodeDraft] = []
        self.entries: list[EntryDraft] = []
        self.initialisations: list[InitialisationDraft] = []
        self.losses: list[LossDraft] = []
        self.calls: list[CallDraft] = []
        self.plain_lists: list[PlainListDraft] = []
        self.registered_attributes: set[tuple[int, str]] = set()
        self.managed: dict[str, None] = {}
        self.settings: dict[str, Abstract] = {}
        """By qualified name: what the program put into a library (``absl.flags.FLAGS.lr``)."""
        self.imported: dict[str, None] = {}
        self.main: SourceModule | None = None
        self.problems: list[str] = []
        self.context: list[str] = []
        self.via: list[Site] = []
        self.loops: list[int] = []
        self.loop_count = 0
        self.loop_statements: list[ast.AST] = []
        self.unused: list[UnusedDraft] = []
        self.selections: list[SelectionDraft] = []
        self.tolerances: list[ToleranceDraft] = []
        self.switches: list[GradientSwitchDraft] = []
        self.fitted: dict[int, Abstract] = {}
        """By the number of a Lightning module: the loader (or data module) its trainer fits it to."""
        self.consumed: dict[int, tuple[Parameters, list[tuple[str, Site]]]] = {}
        """By identity: generators of parameters, and the calls that walked them."""
        self.forward_depth = 0
        self.class_guards: list[tuple[str, ...]] = []
        self.call_stack: list[object] = []
        self.within: tuple[str, ...] = ()
        """The project functions in progress, outermost first; methods as ``Class.method``."""
        self.conditions: list[Condition] = []
        self.modules: dict[SourceModule, Scope] = {}
        self.standalone = False
        """Whether the walk began at a function nothing here calls."""
        self.construction_cost: dict[Class, int] = {}
        """Statements walked so far to build models of a class where nothing here asks for them."""
        self.walked_functions: set[int] = set()
        self.inert_functions: set[int] = set()
        """Functions that were walked and had nothing to do with any training."""
        self._trail: list[list[tuple[Any, Any, Any]]] = []
        self._grown: list[dict[int, tuple[Seq, int]]] = []
        """For each arm being walked, the sequences appended to and their lengths before."""

    def spend(self) -> None:
        """Count one statement against the budget. Raises BudgetExceeded when it is used up."""
        self.budget -= 1
        if self.budget < 0:
            raise BudgetExceeded

    def new_instance(
        self,
        kind: ObjectKind,
        cls: str,
        site: Site,
        args: dict[str, Argument] | None = None,
        klass: Class | None = None,
    ) -> Instance:
        """Put a new object on the heap."""
        instance = Instance(len(self.instances), kind, cls, site, args or {}, klass=klass)
        instance.loops = len(self.loops)
        instance.within = self.within
        instance.conditions = tuple(self.conditions)
        self.instances.append(instance)
        return instance

    def new_symbol(self, name: str, site: Site) -> Instance:
        """An object known only by its identity."""
        symbol = self.new_instance(ObjectKind.SYMBOL, "", site)
        if name:
            symbol.names.append(name)
        return symbol

    def new_flow(
        self,
        op: str,
        inputs: tuple[int, ...] = (),
        *,
        site: Site | None = None,
        args: dict[str, Argument] | None = None,
        layer: Instance | None = None,
        source: Instance | None = None,
        index: int | None = None,
        name: str = "",
        detached: bool = False,
    ) -> Tensor:
        """Add a node to the data-flow graph."""
        detached = detached or self.without_gradient()
        flow = FlowDraft(
            len(self.flows), op, inputs, args or {}, layer, source, index, name, site, detached
        )
        self.flows.append(flow)
        return Tensor(flow.id)

    def without_gradient(self) -> bool:
        """Whether the innermost gradient context is off."""
        for context in reversed(self.context):
            if context == "no_grad":
                return True
            if context == "enable_grad":
                return False
        return False

    def as_flow(self, value: Abstract, site: Site | None) -> int | None:
        """The flow of a tensor-like value; symbols become sources, constants give None."""
        if isinstance(value, Tensor):
            return value.flow
        if isinstance(value, Choice):
            flows = [f for f in (self.as_flow(o, site) for o in value.options) if f is not None]
            if len(set(flows)) == 1:
                return flows[0]
            return (
                self.new_flow("<join>", tuple(dict.fromkeys(flows)), site=site).flow
                if flows
                else None
            )
        if isinstance(value, Instance) and value.kind is ObjectKind.SYMBOL:
            existing = value.attributes.get("<flow>")
            if not isinstance(existing, Tensor):
                existing = self.new_flow("<symbol>", source=value, site=value.site)
                value.attributes["<flow>"] = existing
            return existing.flow
        return None

    def register_child(self, parent: Instance, name: str, child: Instance) -> None:
        """Record a submodule, unless that would close a cycle."""
        ancestor: Instance | None = parent
        while ancestor is not None:
            if ancestor is child:
                return
            ancestor = ancestor.parent
        self.write(parent.children, name, child)
        if child.parent is None:
            child.parent = parent

    def emit(self, kind: EventKind, site: Site, **details: Any) -> None:
        """Append an event to the block being built."""
        self.block.append(
            EventDraft(kind, site, context=tuple(self.context), via=tuple(self.via), **details)
        )

    def escape(self, values: tuple[Abstract, ...], site: Site, name: str = "") -> None:
        """Objects of the training were handed to code that could not be resolved."""
        escaped = tuple(dict.fromkeys(i for value in values for i in self.training_objects(value)))
        for instance in escaped:
            instance.escaped = True
        for value in values:
            self.mark_written(value)
            if isinstance(value, Instance) and value.kind is ObjectKind.SAMPLER:
                value.escaped = True  # whoever has it may set its epoch; it takes no part in a step
        if escaped:
            self.emit(EventKind.UNKNOWN_CALL, site, name=name, escapes=escaped)

    def mark_written(self, value: Abstract) -> None:
        """The values of a tensor, or of what it is a view of, are set by someone."""
        while isinstance(value, Tensor):
            flow = self.flows[value.flow]
            if flow.written:
                return
            flow.written = True
            if flow.op not in _VIEWS or not flow.inputs:
                return
            value = Tensor(flow.inputs[0])

    def training_objects(self, value: Abstract, depth: int = 0) -> list[Instance]:
        """The objects within ``value`` that unresolved code could step, clear or switch."""
        if depth > 3 or isinstance(value, (Const, Tensor, Unknown, Library)):
            return []
        if isinstance(value, Instance):
            if value.kind in _ESCAPING or value.cls == _AVERAGE:
                return [value]
            if value.kind is ObjectKind.INSTANCE:
                found = [value]
                for attribute in list(value.attributes.values()):
                    found += self.training_objects(attribute, depth + 1)
                return found
            return []
        if isinstance(value, Parameters):
            return list(value.owners)
        if isinstance(value, Choice):
            return [i for o in value.options for i in self.training_objects(o, depth + 1)]
        if isinstance(value, Seq):
            return [i for o in value.items for i in self.training_objects(o, depth + 1)]
        if isinstance(value, Map):
            return [i for o in value.items.values() for i in self.training_objects(o, depth + 1)]
        if isinstance(value, Function) and value.bound is not None:
            return self.training_objects(value.bound, depth + 1)
        return []

    def write(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        """Write ``mapping[key]``, so that a branch can undo it."""
        if self._trail:
            self._trail[-1].append((mapping, key, mapping.get(key, _MISSING)))
        mapping[key] = value

    @property
    def inside_branch(self) -> bool:
        """Whether the walk is in an arm of a branch."""
        return bool(self._trail)

    def begin_arm(self) -> None:
        """Start recording writes."""
        self._trail.append([])
        self._grown.append({})

    def grows(self, sequence: Seq) -> None:
        """Something is about to be appended to ``sequence``."""
        for arm in self._grown:
            arm.setdefault(id(sequence), (sequence, len(sequence.items)))

    def innermost_arm(self) -> object:
        """The identity of the branch arm being walked, None outside of all."""
        return self._trail[-1] if self._trail else None

    def in_arm(self, arm: object) -> bool:
        """Whether ``arm`` is being walked still (None: always)."""
        return arm is None or any(open_arm is arm for open_arm in self._trail)

    def end_arm(self) -> list[ArmWrite]:
        """Undo the writes since ``begin_arm`` and return them in order as (mapping, key, value).

        Of a sequence that has grown it is the sequence, its length before, and what was appended.
        """
        grown = [(s, start, s.items[start:]) for s, start in self._grown.pop().values()]
        for sequence, start, _ in grown:
            del sequence.items[start:]
        changed: dict[tuple[int, Any], tuple[dict[Any, Any], Any, Any]] = {}
        for mapping, key, old in reversed(self._trail.pop()):
            changed.setdefault((id(mapping), key), (mapping, key, mapping.get(key, _MISSING)))
            if old is _MISSING:
                mapping.pop(key, None)
            else:
                mapping[key] = old
        return [*reversed(changed.values()), *grown]

    def merge_arms(self, arms: list[list[ArmWrite]]) -> None:
        """Write the join of what the arms that fall through left behind."""
        self._merge_growth(
            [[(seq, tail) for seq, _, tail in arm if isinstance(seq, Seq)] for arm in arms]
        )
        places: dict[tuple[int, Any], tuple[dict[Any, Any], Any]] = {}
        written: list[dict[tuple[int, Any], Any]] = []
        for arm in arms:
            values: dict[tuple[int, Any], Any] = {}
            for mapping, key, value in arm:
                if isinstance(mapping, Seq):
                    continue
                place = (id(mapping), key)
                places.setdefault(place, (mapping, key))
                values.setdefault(place, value)
            written.append(values)
        for place, (mapping, key) in places.items():
            before = mapping.get(key, _MISSING)
            present = [v for values in written if (v := values.get(place, before)) is not _MISSING]
            if not present:
                continue
            if isinstance(mapping, Children):
                self.alias(present)
                self.write(mapping, key, present[0])
            elif all(isinstance(v, Abstract) for v in present):
                # A name bound in one arm only is used only where that arm ran.
                self.write(mapping, key, self.join(present))
            else:
                self.write(mapping, key, present[-1])

    def _merge_growth(self, arms: list[list[tuple[Seq, list[Abstract]]]]) -> None:
        """Append what one of several arms appended: theirs are alternatives, not neighbours."""
        tails: dict[int, tuple[Seq, list[list[Abstract]]]] = {}
        for arm in arms:
            for sequence, tail in arm:
                tails.setdefault(id(sequence), (sequence, []))[1].append(tail)
        for sequence, alternatives in tails.values():
            for column in zip_longest(*alternatives):
                self.grows(sequence)
                sequence.items.append(self.join([item for item in column if item is not None]))

    def join(self, values: list[Abstract]) -> Abstract:
        """The least value that covers all of ``values``."""
        if len(values) == 1:
            return values[0]
        options: list[Abstract] = []
        for value in values:
            for option in value.options if isinstance(value, Choice) else (value,):
                # When they are too many already, it does not matter which of them are the same.
                if len(options) > MOST_OPTIONS or not any(_same(option, o) for o in options):
                    options.append(option)
        if len(options) == 1:
            return options[0]
        if len(options) > MOST_OPTIONS:
            return self._lose_track(options)
        tensors = [o for o in options if isinstance(o, Tensor)]
        if len(tensors) == len(options):
            return self.new_flow("<join>", tuple(t.flow for t in tensors))
        self.alias(options)
        return Choice(tuple(options))

    def _lose_track(self, options: list[Abstract]) -> Abstract:
        """Too many possibilities: what happens to any of the objects can no longer be told."""
        for option in options:
            for instance in self.training_objects(option):
                instance.escaped = instance.leader.escaped = True
        return UNKNOWN

    def alias(self, options: list[Abstract]) -> None:
        """Objects of one kind made in different arms are the same thing to what follows."""
        first: dict[ObjectKind, Instance] = {}
        for option in options:
            if isinstance(option, Instance) and option.kind in _ALIASED:
                leader = first.setdefault(option.kind, option)
                if option.leader is not leader.leader:
                    option.leader.same_as = leader.leader


_VIEWS = frozenset({"data", "getitem", "detach", "view", "t", "T", "transpose", "narrow", "select"})
"""Operations whose result shares memory with their input."""

_ESCAPING = frozenset(
    {
        ObjectKind.MODEL,
        ObjectKind.LAYER,
        ObjectKind.OPTIMIZER,
        ObjectKind.SCHEDULER,
        ObjectKind.SCALER,
        ObjectKind.SYMBOL,
        ObjectKind.LOADER,
        ObjectKind.ACCELERATOR,
    }
)


_AVERAGE = "torch.optim.AveragedModel"
"""A library object that others may update."""


_ALIASED = frozenset(
    {
        ObjectKind.OPTIMIZER,
        ObjectKind.SCHEDULER,
        ObjectKind.MODEL,
        ObjectKind.LAYER,
        ObjectKind.LOADER,
        ObjectKind.SCALER,
    }
)


def _same(a: Abstract, b: Abstract) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Const) and isinstance(b, Const):
        return type(a.value) is type(b.value) and a.value == b.value
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.flow == b.flow
    if isinstance(a, Library) and isinstance(b, Library):
        return a.name == b.name
    if isinstance(a, Unknown) and isinstance(b, Unknown):
        return True
    if isinstance(a, ProjectModule) and isinstance(b, ProjectModule):
        return a.scope is b.scope
    if isinstance(a, Parameters) and isinstance(b, Parameters):
        return a.owners == b.owners and a.single == b.single and a.view == b.view
    return (
        isinstance(a, Function)
        and isinstance(b, Function)
        and a.node is b.node
        and a.bound is b.bound
    )
