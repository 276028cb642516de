"""The facts static extraction yields: ``TrainingProgram`` and its parts.

Facts are plain data. Nothing here judges, nothing here holds a syntax node. Everything that can
be unknown has a way to say so, and *unknown is not absent*: a rule whose facts are unknown stays
silent.

Objects (models, layers, optimizers, schedulers, loaders, transforms ...) are numbered; values,
events and flows refer to them by number. Tensors are *flows*: nodes of a data-flow graph that
also refer to each other by number.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Union

import msgspec

from convlint.findings import Location

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping

    from convlint.program.layout import Layout

SCHEMA_VERSION = 1

Scalar = Union[bool, int, float, str, None]  # noqa: UP007 - msgspec resolves it at run time


class Origin(msgspec.Struct, frozen=True):
    """Where a constant came from, in words a message can cite.

    ``kind`` is one of ``literal``, ``module constant``, ``computed``, ``library default``,
    ``function default``, ``dataclass default`` (any class with fields), ``argparse default``,
    ``click default``, ``typer default``, ``absl default``, ``environment default`` and ``file``
    (YAML, JSON or TOML). ``text`` reads like ``default of --lr, line 12`` or
    ``optim.lr in conf/config.yaml, line 4``.
    """

    kind: str
    text: str = ""
    location: Location | None = None


class Value(msgspec.Struct, frozen=True):
    """What is known of an expression's value.

    Exactly one of these holds:

    * unknown: every field has its default;
    * constant(s): ``candidates`` holds one value, or the few values it can take;
    * an object: ``object`` is its number in ``TrainingProgram.objects``; with ``optional``, some runs
      surely have None instead;
    * a tensor: ``flow`` is its number in ``TrainingProgram.flows``;
    * a list, tuple or dict display: ``items`` (and ``keys`` for a dict);
    * a function of the step given to ``LambdaLR`` or ``MultiplicativeLR``: ``keys`` are steps and
      ``items`` its values there, from 0 on, with gaps where they grow large;
    * a constant for each iteration of a loop: ``items`` in order, ``loop`` its number;
    * a number not known that counts the batches of a loader: ``name`` is ``<batches>``;
    * something of a library: ``name`` is the qualified name, as in ``torch.float16``;
    * a function or class of the project: ``name`` is its qualified name, ``project`` is true.
    """

    candidates: tuple[Scalar, ...] = ()
    object: int | None = None
    flow: int | None = None
    items: tuple[Value, ...] | None = None
    keys: tuple[Scalar, ...] | None = None
    name: str | None = None
    optional: bool = False
    project: bool = False
    loop: int | None = None
    origin: Origin | None = None
    location: Location | None = None

    @property
    def known(self) -> bool:
        """True when this is exactly one constant."""
        return len(self.candidates) == 1

    @property
    def constant(self) -> Scalar:
        """The constant, or None when it is not exactly one (test ``known`` first)."""
        return self.candidates[0] if len(self.candidates) == 1 else None

    @property
    def number(self) -> float | None:
        """The constant as a float when it is exactly one number (bools are not numbers)."""
        value = self.constant
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value)

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """The items as floats when this is a display of numbers, else None."""
        if self.items is None:
            return None
        numbers = [item.number for item in self.items]
        return tuple(n for n in numbers if n is not None) if None not in numbers else None


UNKNOWN = Value()


class ObjectKind(enum.StrEnum):
    """What an object is. Library objects get their kind by their qualified class name."""

    MODEL = "model"
    """An instance of a project class derived from torch.nn.Module."""
    LAYER = "layer"
    """A library module: torch.nn.Linear, torch.nn.Sequential, torchvision.models.resnet18() ..."""
    OPTIMIZER = "optimizer"
    SCHEDULER = "scheduler"
    LOSS = "loss"
    """An instance of a library loss class such as torch.nn.CrossEntropyLoss."""
    LOADER = "loader"
    DATASET = "dataset"
    TRANSFORM = "transform"
    SAMPLER = "sampler"
    SCALER = "scaler"
    """A gradient scaler (torch.amp.GradScaler); feature scalers are estimators."""
    ESTIMATOR = "estimator"
    ACCELERATOR = "accelerator"
    """accelerate.Accelerator, lightning.Fabric."""
    TRAINER = "trainer"
    """Owns the loop: Lightning Trainer, transformers.Trainer, Keras fit ..."""
    WRITER = "writer"
    """Trackers and loggers."""
    INSTANCE = "instance"
    """An instance of any other project class."""
    LIBRARY = "library"
    """An instance of any other library class."""
    SYMBOL = "symbol"
    """Something passed in from outside, known only by its identity (a parameter)."""


class Object(msgspec.Struct, frozen=True):
    """One object the program creates or receives.

    ``cls`` is the qualified class (``torch.optim.AdamW``) or, for project classes, the class
    name as ``module.Class``. ``args`` are the constructor arguments by parameter name; arguments
    whose parameter name is unknown are under ``"0"``, ``"1"`` ...; library defaults that rules
    need are filled in with origin ``library default``; ``late_bound`` names the loop variable that
    all lambdas given to a scheduler share. ``children`` are registered submodules in
    order of registration (attribute path to object number). ``parameters_of`` lists, for an
    optimizer, the modules whose parameters it was given (None when not resolved).
    ``escaped`` is true when the object was handed to code that could not be resolved.
    """

    id: int
    kind: ObjectKind
    cls: str
    location: Location
    args: dict[str, Value] = {}
    names: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    children: dict[str, int] = {}
    attributes: dict[str, Value] = {}
    parameters_of: tuple[int, ...] | None = None
    escaped: bool = False
    context: tuple[str, ...] = ()
    """``loop`` entries for every loop the constructor call stands in (innermost last)."""
    same_as: int | None = None
    """Another object that stands for this one where a branch decides which of them is used; events
    then name that other one."""
    symbolic: bool = False
    """Known only by its identity; ``kind`` then says what its use shows it to be."""
    complete: bool = True
    """For modules: false when a submodule or base class could not be resolved."""
    within: tuple[str, ...] = ()
    """The project functions in progress where it was made, outermost first; methods as
    ``Class.method``."""
    conditions: tuple[str, ...] = ()
    """The tests in force where it was made, as in ``Call.conditions``."""
    mentions: dict[str, tuple[str, ...]] = {}
    """For instances of project dataset classes: the attributes of ``self`` each method names."""
    methods: tuple[str, ...] = ()
    """Names of the methods called on it, in alphabetical order."""
    item: Value = UNKNOWN
    """For instances of project dataset classes: what ``__getitem__`` returns."""


class Flow(msgspec.Struct, frozen=True):
    """One tensor (or array): the operation that made it and its inputs.

    ``op`` is a canonical short name shared by the module, the function and the method form:
    ``relu`` for torch.nn.ReLU()(x), torch.relu(x), F.relu(x) and x.relu(). Sources have names in
    angle brackets:

    * ``<batch>``: an item of a loader (``source`` is the loader), ``index`` its position in the
      batch tuple when known (0 the input, 1 the target);
    * ``<array>``: data loaded by a library call (``name`` tells which: sklearn.datasets...);
    * ``<parameter>``: a trainable tensor; ``<input>``: the argument of a ``forward`` analysed on
      its own; ``<symbol>``: an unknown argument; ``<constant>``: torch.zeros and friends;
    * ``<join>``: one of several values (branches); ``<unknown>``: an unresolved call whose known
      tensor arguments are the ``inputs``.

    ``layer`` is the number of the module object for a module call, ``name`` the qualified name
    of the callable. ``args`` are its constant arguments by parameter name.
    """

    id: int
    op: str
    inputs: tuple[int, ...] = ()
    args: dict[str, Value] = {}
    layer: int | None = None
    source: int | None = None
    index: int | None = None
    name: str = ""
    location: Location | None = None
    detached: bool = False
    """Computed without gradient: under no_grad, or by detach / item / numpy."""
    written: bool = False
    """Its values are set after it was made: by an initialiser, a method that works in place, an
    assignment to its data or items, or by code that could not be resolved."""


class EventKind(enum.StrEnum):
    """What happens in a loop."""

    ZERO_GRAD = "zero_grad"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    UNSCALE = "unscale"
    CLIP = "clip"
    STEP = "step"
    SCALER_STEP = "scaler_step"
    SCALER_UPDATE = "scaler_update"
    SCHEDULER_STEP = "scheduler_step"
    LR_WRITE = "lr_write"
    """param_group["lr"] = ..."""
    GRAD_WRITE = "grad_write"
    """p.grad = ..., p.grad.add_(...) and other hand-made gradients."""
    PARAMETER_WRITE = "parameter_write"
    """Hand-made update: p.data.add_(...), p -= lr * p.grad."""
    TRAIN_MODE = "train_mode"
    EVAL_MODE = "eval_mode"
    ACCUMULATE = "accumulate"
    """A running total takes in a loss tensor (``total += loss``)."""
    LOG = "log"
    CHECKPOINT = "checkpoint"
    UNKNOWN_CALL = "unknown_call"
    """A call that could not be resolved and received objects of the training (``escapes``)."""


class Event(msgspec.Struct, frozen=True, tag="event"):
    """One event, at ``location``, reached through the calls at ``via`` (outermost first).

    ``target`` is the object acted on: the optimizer of a step / zero_grad, the scheduler of a
    scheduler_step, the scaler of unscale, the model of train_mode / eval_mode / forward / a
    ``model.zero_grad()``, the loss object of a loss; None when it could not be resolved.
    ``optimizer`` is the optimizer an unscale or scaler_step acts on. ``over`` are the modules
    whose parameters are cleared or clipped (None when not resolved). ``flow`` is the tensor
    concerned: the loss of a backward, the output of a forward or loss, the value taken in by
    accumulate. ``name`` is the qualified name of the call. ``args`` of a scheduler_step hold the
    source of its argument as ``text``; those of an lr_write ``value``, or a ``factor`` or
    ``divisor`` of the rate there was (``read`` is then true when that rate was read back first). ``flags`` holds any of:
    ``scaled`` (backward of a scaled loss), ``closure`` (step with a closure), ``create_graph``,
    ``retain_graph``, ``accelerate``, ``hand-written``, ``value`` (clip by value),
    ``managed`` (the callee decides when it takes effect), ``conditional-expression``.
    ``context`` is the stack of enclosing contexts: ``no_grad``, ``enable_grad``, ``autocast``,
    ``accumulate``, ``no_sync``, ``dist_autograd``, ``try``.
    """

    kind: EventKind
    location: Location
    target: int | None = None
    optimizer: int | None = None
    over: tuple[int, ...] | None = None
    flow: int | None = None
    name: str = ""
    args: dict[str, Value] = {}
    flags: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    via: tuple[Location, ...] = ()
    escapes: tuple[int, ...] = ()


class Arm(msgspec.Struct, frozen=True):
    """One side of a branch. ``ends`` is how control leaves it: return, continue, break, raise or
    None when it falls through to what follows."""

    body: tuple[Node, ...] = ()
    ends: str | None = None


class Branch(msgspec.Struct, frozen=True, tag="branch"):
    """An ``if`` (or ``try``, ``match``): exactly one arm runs; an absent ``else`` is an empty arm.

    ``condition`` is the source text of the test; ``modulo`` is true when the test involves ``%``;
    ``guards`` are objects the test compares with None (``if scaler is not None``);
    ``first_iteration`` is true for tests such as ``i == 0``. ``taken`` holds the outcome of the
    test for every iteration of the loop numbered ``loop`` when it depends on its index alone.
    """

    location: Location
    arms: tuple[Arm, ...]
    condition: str = ""
    modulo: bool = False
    first_iteration: bool = False
    guards: tuple[int, ...] = ()
    taken: tuple[bool, ...] | None = None
    loop: int | None = None


class Loop(msgspec.Struct, frozen=True, tag="loop"):
    """A ``for`` or ``while`` loop and everything that happens in it, callees included.

    ``over`` is what a ``for`` iterates: a loader object, a constant range (``trips`` then holds
    the number of iterations), an optimizer's ``param_groups`` (by that name), or unknown. ``index``
    is the loop's variable, the first where it unpacks several (``fold`` in ``for fold, (a, b) in
    enumerate(splits)``). ``incomplete`` is true when something in it could not be resolved and
    received an object of the training.
    """

    id: int
    location: Location
    kind: str
    over: Value = UNKNOWN
    trips: Value = UNKNOWN
    index: str = ""
    body: tuple[Node, ...] = ()
    incomplete: bool = False
    ends: str | None = None
    """How control leaves the body where it does so in every iteration: ``break``, ``return``."""
    iterator: Location | None = None
    """Where the one-shot iterator was made that this ``for`` uses up (``iter(loader)``,
    ``enumerate(loader)``, ``zip(...)``), when that was not in the loop's own head."""
    iterator_loops: tuple[int, ...] = ()
    """The loops around the place where that iterator was made, outermost first."""
    carried: tuple[Carried, ...] = ()


class Carried(msgspec.Struct, frozen=True):
    """A name whose tensors pass from one iteration of a loop to the next.

    ``before`` are the flows it holds when an iteration begins, ``after`` those it holds when the
    iteration ends (a tuple of states has several).
    """

    name: str
    before: tuple[int, ...]
    after: tuple[int, ...]


Node = Union[Event, Branch, Loop]  # noqa: UP007 - msgspec resolves it at run time


class Entry(msgspec.Struct, frozen=True):
    """A place execution can start: the module's top level, or a function nobody here calls."""

    name: str
    location: Location
    body: tuple[Node, ...]
    standalone: bool = False
    """True for a function analysed on its own, with unknown arguments."""


class Model(msgspec.Struct, frozen=True):
    """A torch.nn.Module of the project, or a bare Sequential, with what its forward does.

    ``object`` is the instance; ``layers`` are the library modules in it, in registration order,
    submodules included. ``inputs`` are the flows of forward's arguments and ``outputs`` the flows
    it returns, when the forward was analysed (``forward_known``). ``recurrent`` and other
    judgements are the rules' business: they read ``cls`` of the layers.
    ``plain_lists`` are module-holding lists / dicts / tuples assigned to an attribute without
    ModuleList: their attribute name and place. ``complete`` is false when a base class, a layer
    or a call in the class could not be resolved.
    """

    object: int
    cls: str
    location: Location
    layers: tuple[int, ...]
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    forward_known: bool = False
    complete: bool = True
    bases: tuple[str, ...] = ()
    plain_lists: tuple[PlainList, ...] = ()
    standalone: bool = False


class PlainList(msgspec.Struct, frozen=True):
    """Modules (or Parameters) kept in a plain list, dict or tuple attribute of a module."""

    attribute: str
    container: str
    """``list``, ``tuple`` or ``dict``."""
    holds: str
    """``modules`` or ``parameters``."""
    location: Location
    layers: tuple[int, ...]
    registered_later: bool = False


class Initialisation(msgspec.Struct, frozen=True):
    """A call that sets initial weights: ``torch.nn.init.xavier_uniform_(m.weight)``.

    ``layers`` are the modules whose tensor is initialised, when resolved; ``classes`` the
    isinstance guards in force (``torch.nn.Linear``) when the function was analysed on its own.
    ``parameter`` is ``weight``, ``bias``, another attribute name or "" when unknown.
    ``order`` grows with program order.
    """

    name: str
    location: Location
    layers: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    parameter: str = ""
    args: dict[str, Value] = {}
    order: int = 0
    within: tuple[str, ...] = ()
    """The project functions in progress, outermost first; methods as ``Class.method``."""


class LossCall(msgspec.Struct, frozen=True):
    """A loss function applied: ``criterion(output, target)`` or ``F.cross_entropy(...)``.

    ``name`` is canonical: the functional's short name (``cross_entropy``,
    ``binary_cross_entropy_with_logits``, ``nll_loss``, ``mse_loss`` ...) for both forms.
    """

    name: str
    location: Location
    input: int | None
    target: int | None
    args: dict[str, Value] = {}
    object: int | None = None
    flow: int | None = None
    context: tuple[str, ...] = ()
    loops: tuple[int, ...] = ()
    function: str = ""
    """The function it stands in, empty at module level."""
    overwritten: Location | None = None
    """Where the name that holds it is assigned anew in the same block, with no use in between."""


class Call(msgspec.Struct, frozen=True):
    """A call of a library function or class whose name was resolved."""

    name: str
    location: Location
    args: dict[str, Value] = {}
    result: Value = UNKNOWN
    receiver: int | None = None
    context: tuple[str, ...] = ()
    loops: tuple[int, ...] = ()
    function: str = ""
    conditional: bool = False
    """Whether a branch decides if it happens."""
    within: tuple[str, ...] = ()
    """The project functions in progress, outermost first; methods as ``Class.method``."""
    conditions: tuple[str, ...] = ()
    """Source text of the tests in force, outermost first; ``not (...)`` on the other side of a
    test, and after one whose true side leaves the block."""


class Unused(msgspec.Struct, frozen=True):
    """An expression statement whose value nothing uses: ``optimizer.step`` without a call
    (``called`` is false), ``x.to(device)`` on a tensor (``called`` is true).

    ``receiver`` is the object the method belongs to, ``flow`` the tensor.
    """

    location: Location
    name: str
    called: bool = False
    receiver: int | None = None
    flow: int | None = None


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


class GradientSwitch(msgspec.Struct, frozen=True):
    """``p.requires_grad = False`` and its relatives, in program order.

    ``name`` is what was written: ``requires_grad``, ``requires_grad_``, or what resembles them.
    ``on`` is ``parameters``, ``module`` or ``tensor``; ``modules`` are all modules concerned,
    submodules registered by then included. ``trainable`` is the value, None when not known.
    ``whole`` is false when only some of their parameters are concerned, or not always.
    ``called`` is true for a method call.
    """

    location: Location
    name: str
    modules: tuple[int, ...] = ()
    on: str = "parameters"
    trainable: bool | None = None
    whole: bool = True
    called: bool = False
    in_loop: bool = False


class Exhausted(msgspec.Struct, frozen=True):
    """A generator of parameters walked a second time, by ``name``, when it is empty."""

    first: Location
    second: Location
    name: str


class ModeOverride(msgspec.Struct, frozen=True):
    """A method ``train(self, mode)`` of a module that does not do what ``Module.train`` does.

    ``fault`` is ``self passed`` or ``mode dropped`` for a ``super().train(...)`` at ``location`` that
    does not get the mode, ``mode ignored`` where nothing reads the mode and the part named at
    ``location`` is put in training mode, and ``self not returned``, with the last statement's
    ``location``. ``used`` says that the file uses what ``train`` or ``eval`` of an instance returns.
    """

    owner: str
    location: Location
    mode: str
    fault: str
    used: bool = False


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


class BatchShare(msgspec.Struct, frozen=True):
    """``correct / len(loader)``, where the loop at ``loop`` walks the same ``over`` and adds to
    ``count`` how many examples of each of its items are right."""

    count: str
    over: str
    location: Location
    loop: Location


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
