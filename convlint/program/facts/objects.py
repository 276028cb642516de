"""The objects a program makes, and the tensors that flow between them."""

from __future__ import annotations

import enum

import msgspec

from convlint.findings import Location
from convlint.program.facts.values import UNKNOWN, Value


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
