"""Abstract values: what the interpreter knows of a value while it walks the program.

These live only during extraction; ``convlint.program.export`` turns them into facts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from convlint.program.facts import ObjectKind, Origin, Scalar

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from convlint.findings import Location
    from convlint.program.index import SourceModule
    from convlint.program.syntax import FunctionNode


class Abstract(msgspec.Struct, eq=False):
    """Base of all abstract values."""


class Unknown(Abstract):
    """Nothing is known."""


UNKNOWN = Unknown()


class Batches(Abstract):
    """A number not known that counts the batches of a loader: ``epochs * len(loader)``."""


BATCHES = Batches()


class Indexed(Abstract):
    """A constant for each iteration of the loop numbered ``loop``."""

    loop: int
    values: tuple[Scalar, ...]


class Const(Abstract):
    """A constant. ``certain`` is false for defaults a user can override from outside."""

    value: Scalar
    origin: Origin | None = None
    certain: bool = True


class Choice(Abstract):
    """One of a few values, by the branch taken."""

    options: tuple[Abstract, ...]


class Seq(Abstract):
    """A list, tuple or set. ``complete`` is false when it may hold more than ``items``."""

    kind: str
    items: list[Abstract]
    complete: bool = True
    node: Site | None = None


class Map(Abstract):
    """A dict with constant keys."""

    items: dict[Scalar, Abstract]
    complete: bool = True
    node: Site | None = None


class Site(msgspec.Struct, frozen=True):
    """A syntax node of a module; its position is computed only when a fact needs it."""

    module: SourceModule
    node: ast.AST

    @property
    def location(self) -> Location:
        """Where the node stands."""
        return self.module.positions.of(self.node)


class Argument(msgspec.Struct, eq=False):
    """A call argument: its value and where it is written (None for library defaults)."""

    value: Abstract
    site: Site | None = None


class Condition(msgspec.Struct, frozen=True):
    """A test in force: its syntax node, and whether this is the side where it fails."""

    site: Site
    negated: bool


class Children(dict[str, "Instance"]):
    """Submodules by name. Where two arms of a branch register different ones, the first stands."""


class Instance(Abstract):
    """An object on the abstract heap; ``id`` is its number in the facts."""

    id: int
    kind: ObjectKind
    cls: str
    site: Site
    args: dict[str, Argument] = msgspec.field(default_factory=dict)
    attributes: dict[str, Abstract] = msgspec.field(default_factory=dict)
    children: Children = msgspec.field(default_factory=Children)
    klass: Class | None = None
    bases: tuple[str, ...] = ()
    names: list[str] = msgspec.field(default_factory=list)
    methods: set[str] = msgspec.field(default_factory=set)
    """Names of the methods called on it: what kind of thing a symbol is."""
    escaped: bool = False
    same_as: Instance | None = None
    """The object that takes this one's place when a branch decides between the two."""
    loops: int = 0
    parent: Instance | None = None
    complete: bool = True
    forward: ForwardResult | None = None
    item: Abstract | None = None
    """What ``__getitem__`` of a dataset of the project returns, when it was walked."""
    within: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def leader(self) -> Instance:
        """The object that events on this one name: itself, unless a branch made it an alias."""
        current = self
        while current.same_as is not None:
            current = current.same_as
        return current

    @property
    def is_module(self) -> bool:
        """Whether this holds parameters like a torch.nn.Module."""
        return self.kind in (ObjectKind.MODEL, ObjectKind.LAYER)


class ForwardResult(msgspec.Struct, eq=False):
    """What one analysed call of a module's forward received and returned."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    known: bool


class Tensor(Abstract):
    """A tensor or array: a node of the data-flow graph."""

    flow: int


class Parameters(Abstract):
    """The parameters of some modules (``model.parameters()``), or one of them.

    ``owners`` is None when part of it could not be resolved. ``single`` is true for one
    parameter drawn from it; ``attribute`` names it (``weight``) when known.
    """

    owners: tuple[Instance, ...]
    resolved: bool = True
    single: bool = False
    attribute: str = ""
    named: bool = False
    view: str = ""
    """``data`` or ``grad`` when it stands for that view of the parameter."""
    partial: bool = False
    """Drawn from a selection, so that walking it does not meet every parameter."""
    lazy: bool = False
    """A generator or a filter: empty once something has walked it."""


def merged_parameters(parts: Sequence[Abstract]) -> Parameters | None:
    """The parameters of several lists of them as one list; None when one holds something else."""
    lists = [part for part in parts if isinstance(part, Parameters)]
    if not lists or len(lists) < len(parts) or len({part.view for part in lists}) > 1:
        return None
    return Parameters(
        tuple(dict.fromkeys(owner for part in lists for owner in part.owners)),
        all(part.resolved for part in lists),
        view=lists[0].view,
        partial=any(part.partial for part in lists),
    )


class ParameterGroups(Abstract):
    """``optimizer.param_groups`` or, when ``single``, one group of it."""

    optimizer: Instance
    single: bool = False


class CurrentRate(Abstract):
    """The learning rate an optimizer has at that moment, times ``factor``."""

    optimizer: Instance
    factor: Abstract | None = None


class Layers(Abstract):
    """Modules of one class met while iterating ``model.modules()``, treated together."""

    instances: tuple[Instance, ...]


class Library(Abstract):
    """Something of a library, by canonical qualified name."""

    name: str


class LibraryMethod(Abstract):
    """A method of a library object, tensor or other abstract value."""

    receiver: Abstract
    name: str


class Scope(msgspec.Struct, eq=False):
    """A namespace: a module's, a function call's, a class body's."""

    names: dict[str, Abstract]
    module: SourceModule
    parent: Scope | None = None
    function: str = ""
    returns: list[Abstract] = msgspec.field(default_factory=list)
    globals: set[str] = msgspec.field(default_factory=set)
    before_loops: dict[str, Abstract] = msgspec.field(default_factory=dict)
    """Constants that names held before a loop that reassigns them."""
    self_class: Class | None = None


class Function(Abstract):
    """A function, method or lambda of the project."""

    node: FunctionNode | ast.Lambda
    scope: Scope
    name: str
    owner: Class | None = None
    bound: Abstract | None = None
    decorators: tuple[str, ...] = ()
    options: dict[str, Abstract] = msgspec.field(default_factory=dict)
    """Defaults given by decorators (click, typer)."""


class Class(Abstract):
    """A class of the project. ``lineage`` holds the qualified names of all library ancestors."""

    node: ast.ClassDef
    scope: Scope
    name: str
    bases: tuple[Abstract, ...]
    members: dict[str, Abstract]
    lineage: frozenset[str]
    resolved: bool
    decorators: tuple[str, ...] = ()
    fields: dict[str, ast.AnnAssign] = msgspec.field(default_factory=dict)
    """Annotated names of the body in order: the parameters of a dataclass."""


class ProjectModule(Abstract):
    """An imported module of the project."""

    scope: Scope


class LoopRange(Abstract):
    """``range(...)``: ``trips`` is the number of iterations when known."""

    trips: Abstract
    values: range | None = None


class Iterated(Abstract):
    """``enumerate(x)``, ``zip(x, y)``, ``iter(x)``, ``tqdm(x)``, ``x.items()`` over ``sources``."""

    kind: str
    sources: tuple[Abstract, ...]
    site: Site | None = None
    loops: tuple[int, ...] = ()
    """The loops around the call that made it, outermost first."""
    arm: object = None
    """The innermost branch arm that call stands in, None outside of all."""

    @property
    def one_shot(self) -> bool:
        """Whether iterating it once uses it up."""
        return self.kind in ("enumerate", "zip", "iter", "reversed")


class Arguments(msgspec.Struct, eq=False):
    """The arguments of one call. ``complete`` is false after an unresolved ``*`` or ``**``."""

    positional: list[Argument] = msgspec.field(default_factory=list)
    keywords: dict[str, Argument] = msgspec.field(default_factory=dict)
    complete: bool = True

    def values(self) -> tuple[Abstract, ...]:
        """Every argument's value."""
        return tuple(a.value for a in (*self.positional, *self.keywords.values()))

    def get(self, position: int, keyword: str) -> Abstract | None:
        """The argument given at ``position`` or as ``keyword``; None when not given."""
        if keyword in self.keywords:
            return self.keywords[keyword].value
        if position < len(self.positional):
            return self.positional[position].value
        return None


class Partial(Abstract):
    """``functools.partial(callee, ...)``."""

    callee: Abstract
    arguments: Arguments


class Super(Abstract):
    """``super()`` inside a method of ``owner`` on ``bound``."""

    owner: Class
    bound: Abstract
