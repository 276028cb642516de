"""Calls of library functions and classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Choice,
    Class,
    Const,
    Function,
    Instance,
    Iterated,
    Layers,
    Library,
    LoopRange,
    Map,
    Parameters,
    Partial,
    Scope,
    Seq,
    Site,
    Tensor,
)
from convlint.program.facts import EventKind, ObjectKind, Origin
from convlint.program.iteration import Iteration
from convlint.program.libraries.kinds import (
    HARMLESS_PREFIXES,
    MANAGED_CALLS,
    ML_ROOTS,
    RETURNS_ITS_MODULE,
    library_kind,
)
from convlint.program.libraries.operations import (
    CREATES_CONSTANT,
    LOSS_FUNCTIONS,
    NOT_DIFFERENTIABLE,
    operation,
)
from convlint.program.libraries.signatures import signature
from convlint.program.state import CallDraft, InitialisationDraft, LossDraft

_LIBRARY_DEFAULT = Origin("library default", "library default")
_RECURRENT = frozenset({"lstm", "gru", "rnn"})
_CELLS_WITH_STATE = frozenset({"lstm_cell"})
_PASS_THROUGH = frozenset({"torch.nn.Identity"})
_MODULE_CONTAINERS = frozenset(
    {"torch.nn.Sequential", "torch.nn.ModuleList", "torch.nn.ModuleDict"}
)
_CONTEXT_MAKERS = frozenset(
    {
        "torch.no_grad", "torch.inference_mode", "torch.enable_grad", "torch.set_grad_enabled",
        "torch.amp.autocast", "torch.distributed.autograd.context", "contextlib.nullcontext",
        "contextlib.suppress", "argparse.ArgumentParser",
    }
)  # fmt: skip
_PROGRESS_BARS = (
    "tqdm.",
    "rich.progress.track",
    "fastprogress.",
    "alive_progress.",
    "progressbar.",
)
_NAMESPACES = frozenset({"types.SimpleNamespace", "argparse.Namespace", "easydict.EasyDict"})
_ARRAY_READERS = (
    "pandas.read_", "numpy.load", "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap",
    "cv2.imread", "imageio.imread", "PIL.Image.open", "torchvision.io.read_image", "skimage.io.imread",
)  # fmt: skip
_TENSOR_MAKERS = frozenset(
    {"tensor", "as_tensor", "from_numpy", "asarray", "array", "FloatTensor", "LongTensor", "Tensor"}
)
_FLOW_PACKAGES = (
    "torch.",
    "numpy.",
    "scipy.",
    "einops.",
    "torchvision.",
    "pandas.",
    "cv2.",
    "jax.",
)


class LibraryCalls(Iteration):
    """Library functions and constructors."""

    def library_call(
        self, callee: Library, arguments: Arguments, site: Site, scope: Scope
    ) -> Abstract:
        """Call the library callable ``callee``."""
        name = callee.name
        if name.startswith("builtins."):
            handler = _BUILTIN_HANDLERS.get(name[9:])
            return handler(self, arguments, site) if handler is not None else UNKNOWN
        if name.startswith(_PROGRESS_BARS):
            return arguments.positional[0].value if arguments.positional else UNKNOWN
        result = self._library_result(name, arguments, site)
        if name.partition(".")[0] in ML_ROOTS:
            self.calls.append(
                CallDraft(
                    name,
                    site,
                    self.named_arguments(name, arguments),
                    result,
                    None,
                    tuple(self.context),
                    tuple(self.loops),
                    scope.function,
                )
            )
        return result

    def _library_result(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        if name in MANAGED_CALLS:
            self.managed[MANAGED_CALLS[name]] = None
        if name in _CONTEXT_MAKERS:
            return self._make(ObjectKind.LIBRARY, name, arguments, site)
        kind = library_kind(name)
        if kind is not None:
            return self.make_object(kind, name, arguments, site)
        handler = _LIBRARY_HANDLERS.get(name)
        if handler is not None:
            return handler(self, arguments, site)
        if name in RETURNS_ITS_MODULE:
            wrapped = arguments.get(0, "module")
            return wrapped if wrapped is not None else UNKNOWN
        if name.startswith("torch.nn.init."):
            return self._initialise(name, arguments, site)
        if name.startswith("torch.nn.functional.") and operation(name) in LOSS_FUNCTIONS:
            return self.call_loss(name, arguments, site, None)
        if name.startswith("torch.nn.utils.clip_grad"):
            return self.clip(name, arguments, site)
        if name.startswith("sklearn.datasets.") and not name.startswith("sklearn.datasets.make_"):
            return self._sklearn_data(name, arguments, site)
        if name.startswith("sklearn.datasets.make_"):
            arrays: list[Abstract] = [
                self.new_flow("<array>", name=name, index=i, site=site) for i in (0, 1)
            ]
            return Seq("tuple", arrays)
        if name.startswith(_ARRAY_READERS):
            return self.new_flow("<array>", name=name, site=site)
        return self._operation(name, arguments, site)

    def named_arguments(self, name: str, arguments: Arguments) -> dict[str, Argument]:
        """Arguments by parameter name, positions where the name is unknown, library defaults."""
        names, defaults = signature(name)
        named: dict[str, Argument] = {}
        for position, argument in enumerate(arguments.positional):
            key = (
                names[position]
                if position < len(names) and not names[position].startswith("*")
                else str(position)
            )
            named[key] = argument
        named.update(arguments.keywords)
        if arguments.complete:
            for key, default in defaults.items():
                if key not in named:
                    named[key] = Argument(Const(default, _LIBRARY_DEFAULT))
        elif not arguments.complete:
            named["**"] = Argument(UNKNOWN)
        return named

    def _make(self, kind: ObjectKind, name: str, arguments: Arguments, site: Site) -> Instance:
        return self.new_instance(kind, name, site, self.named_arguments(name, arguments))

    # Objects.

    def make_object(
        self, kind: ObjectKind, name: str, arguments: Arguments, site: Site
    ) -> Abstract:
        """Construct a library object of a kind worth tracking."""
        instance = self._make(kind, name, arguments, site)
        if name in _MODULE_CONTAINERS:
            self._fill_container(instance, arguments)
        elif kind is ObjectKind.LAYER:
            for key, argument in instance.args.items():
                if isinstance(argument.value, Instance) and argument.value.is_module:
                    self.register_child(instance, key, argument.value)
        elif kind is ObjectKind.TRAINER:
            self.managed[name] = None
            self.escape(arguments.values(), site, name)
        return instance

    def _fill_container(self, container: Instance, arguments: Arguments) -> None:
        container.complete = arguments.complete
        if container.cls == "torch.nn.Sequential" and not (
            len(arguments.positional) == 1 and isinstance(arguments.positional[0].value, (Map, Seq))
        ):
            self.extend_container(container, [a.value for a in arguments.positional])
            return
        if not arguments.positional:
            return
        content = arguments.positional[0].value
        if isinstance(content, Map):
            container.complete = container.complete and content.complete
            for key, value in content.items.items():
                self._add_to_container(container, str(key), value)
        elif isinstance(content, Seq):
            container.complete = container.complete and content.complete
            self.extend_container(container, content.items)
        elif isinstance(content, Instance) and content.children:
            self.extend_container(container, list(content.children.values()))
        else:
            container.complete = False

    def extend_container(self, container: Instance, values: list[Abstract]) -> None:
        """Append modules to a Sequential or ModuleList."""
        for value in values:
            self._add_to_container(container, str(len(container.children)), value)

    def _add_to_container(self, container: Instance, key: str, value: Abstract) -> None:
        if isinstance(value, Choice):
            modules = [o for o in value.options if isinstance(o, Instance) and o.is_module]
            container.complete = False
            value = modules[0] if modules else UNKNOWN
        if isinstance(value, Instance) and value.is_module:
            if value.parent is not None and value in container.children.values():
                return
            self.register_child(container, key, value)
        else:
            container.complete = False

    # Modules and losses.

    def call_layer(self, layer: Instance, arguments: Arguments, site: Site) -> Abstract:
        """Apply a library module."""
        if layer.cls == "torch.nn.Sequential" or "torch.nn.Sequential" in layer.bases:
            return self._call_sequential(layer, arguments, site)
        if layer.cls in _PASS_THROUGH and arguments.positional:
            return arguments.positional[0].value
        flows = tuple(
            dict.fromkeys(f for v in arguments.values() if (f := self.as_flow(v, site)) is not None)
        )
        op = operation(layer.cls) if layer.kind is ObjectKind.LAYER else "<unknown>"
        if layer.kind is ObjectKind.MODEL:
            self.escape(arguments.values(), site, layer.cls)
        output = self.new_flow(op, flows, layer=layer, name=layer.cls, site=site)
        if op in _RECURRENT or op in _CELLS_WITH_STATE:
            state: Abstract = self.new_flow(f"{op}_state", (output.flow,), site=site)
            if op.startswith("lstm"):
                cell = self.new_flow(f"{op}_state", (output.flow,), site=site)
                return Seq(
                    "tuple",
                    [state, cell] if op == "lstm_cell" else [output, Seq("tuple", [state, cell])],
                )
            return Seq("tuple", [output, state])
        if op == "multihead_attention":
            return Seq(
                "tuple", [output, self.new_flow("attention_weights", (output.flow,), site=site)]
            )
        return output

    def _call_sequential(self, layer: Instance, arguments: Arguments, site: Site) -> Abstract:
        value: Abstract = arguments.positional[0].value if arguments.positional else UNKNOWN
        if not layer.complete or not layer.children:
            flow = self.as_flow(value, site)
            return self.new_flow(
                "<unknown>", (flow,) if flow is not None else (), layer=layer, site=site
            )
        for child in list(layer.children.values()):
            value = self._forward(child, Arguments([Argument(value, site)]), site)
        return value

    def call_loss(
        self, name: str, arguments: Arguments, site: Site, criterion: Instance | None
    ) -> Abstract:
        """Apply a loss function or a loss object."""
        op = operation(name)
        if criterion is None:
            named = self.named_arguments(name, arguments)
        else:
            named = dict(criterion.args)
        prediction = self.as_flow(arguments.get(0, "input") or UNKNOWN, site)
        target = self.as_flow(arguments.get(1, "target") or UNKNOWN, site)
        inputs = tuple(f for f in (prediction, target) if f is not None)
        output = self.new_flow(op, inputs, source=criterion, name=name, args=named, site=site)
        self.losses.append(
            LossDraft(
                op,
                site,
                prediction,
                target,
                named,
                criterion,
                output.flow,
                tuple(self.context),
                tuple(self.loops),
            )
        )
        if self.forward_depth == 0:
            self.emit(EventKind.LOSS, site, target=criterion, flow=output.flow, name=name)
        return output

    def clip(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        """Gradient clipping by a library call."""
        owners, resolved = self.parameter_owners(arguments.get(0, "parameters") or UNKNOWN)
        flags = ("value",) if "value" in name else ()
        self.emit(
            EventKind.CLIP,
            site,
            over=owners if resolved else None,
            name=name,
            args=self.named_arguments(name, arguments),
            flags=flags,
        )
        return UNKNOWN

    def parameter_owners(self, value: Abstract) -> tuple[tuple[Instance, ...], bool]:
        """The modules whose parameters ``value`` holds, and whether that is all of it."""
        if isinstance(value, Parameters):
            return value.owners, value.resolved
        if isinstance(value, Seq):
            owners: list[Instance] = []
            resolved = value.complete
            for item in value.items:
                more, known = self.parameter_owners(item)
                owners += more
                resolved = resolved and known
            return tuple(dict.fromkeys(owners)), resolved
        if isinstance(value, Map):
            return self.parameter_owners(value.items.get("params", UNKNOWN))
        if isinstance(value, Choice):
            first, known = self.parameter_owners(value.options[0])
            for option in value.options[1:]:
                more, more_known = self.parameter_owners(option)
                first, known = tuple(dict.fromkeys((*first, *more))), known and more_known
            return first, known
        if isinstance(value, Tensor):
            return (), True
        return (), False

    # Initialisation.

    def _initialise(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        if name == "torch.nn.init.calculate_gain":
            return _gain(arguments)
        tensor = arguments.get(0, "tensor") or UNKNOWN
        self.record_initialisation(name, tensor, self.named_arguments(name, arguments), site)
        return tensor

    def record_initialisation(
        self, name: str, tensor: Abstract, args: dict[str, Argument], site: Site
    ) -> None:
        """An initialisation of ``tensor``, whoever's parameter it is."""
        args.pop("tensor", None)
        args.pop("0", None)
        layers: tuple[Instance, ...] = ()
        parameter = ""
        if isinstance(tensor, Parameters):
            layers = tuple(
                m
                for o in tensor.owners
                for m in (self.modules_of(o) if not tensor.attribute and o.is_module else [o])
            )
            parameter = tensor.attribute
        elif isinstance(tensor, Instance) and tensor.kind is ObjectKind.SYMBOL and tensor.names:
            parameter = tensor.names[0].removesuffix(".data").rpartition(".")[2]
        guards = self.class_guards[-1] if self.class_guards else ()
        self.initialisations.append(
            InitialisationDraft(name, site, tuple(dict.fromkeys(layers)), guards, parameter, args)
        )

    # Data.

    def _sklearn_data(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        as_pair = arguments.keywords.get("return_X_y")
        if as_pair is not None and isinstance(as_pair.value, Const) and as_pair.value.value is True:
            return Seq(
                "tuple",
                [self.new_flow("<array>", name=name, index=i, site=site) for i in (0, 1)],
            )
        return self._make(ObjectKind.LIBRARY, name, arguments, site)

    def _operation(self, name: str, arguments: Arguments, site: Site) -> Abstract:
        op = operation(name)
        flows = tuple(
            dict.fromkeys(f for v in arguments.values() for f in self._flows_within(v, site))
        )
        if name.startswith(_FLOW_PACKAGES):
            if op in CREATES_CONSTANT or (op in _TENSOR_MAKERS and not flows):
                made = op in CREATES_CONSTANT or all(map(_is_display, arguments.values()))
                source = "<constant>" if made else "<unknown>"
                args = self._constants(name, arguments)
                return self.new_flow(source, name=name, args=args, site=site)
            if (
                (flows and name.rpartition(".")[2][:1].islower())
                or op in _TENSOR_MAKERS
                or name in _TENSOR_MAKERS
            ):
                return self.new_flow(
                    op,
                    flows,
                    name=name,
                    args=self._constants(name, arguments),
                    site=site,
                    detached=op in NOT_DIFFERENTIABLE,
                )
        if name.startswith(HARMLESS_PREFIXES):
            if (
                name.partition(".")[0] in ("torch", "torchvision")
                and name.rpartition(".")[2][:1].isupper()
            ):
                return self._make(ObjectKind.LIBRARY, name, arguments, site)
            return UNKNOWN
        return self.unresolved_call(arguments, site, name)

    def _flows_within(self, value: Abstract, site: Site) -> list[int]:
        if isinstance(value, Seq):
            return [f for item in value.items for f in self._flows_within(item, site)]
        if isinstance(value, Instance):
            return []
        flow = self.as_flow(value, site)
        return [flow] if flow is not None else []

    def _constants(self, name: str, arguments: Arguments) -> dict[str, Argument]:
        named = self.named_arguments(name, arguments)
        return {k: a for k, a in named.items() if not isinstance(a.value, Tensor)}


def _is_display(value: Abstract) -> bool:
    """Whether a value is written out in the source: numbers, and lists of them."""
    if isinstance(value, Seq):
        return all(_is_display(item) for item in value.items)
    return isinstance(value, (Const, Library))


def _gain(arguments: Arguments) -> Abstract:
    kind = arguments.get(0, "nonlinearity")
    gains = {"relu": math.sqrt(2.0), "tanh": 5.0 / 3.0, "selu": 0.75}
    if not isinstance(kind, Const) or not isinstance(kind.value, str):
        return UNKNOWN
    origin = Origin("computed", f'calculate_gain("{kind.value}")')
    if kind.value == "leaky_relu":
        slope = arguments.get(1, "param")
        negative = (
            slope.value
            if isinstance(slope, Const) and isinstance(slope.value, (int, float))
            else 0.01
        )
        return Const(math.sqrt(2.0 / (1 + negative**2)), origin)
    return Const(gains.get(kind.value, 1.0), origin)


# Library functions with a meaning of their own.


def _parameter(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    data = arguments.get(0, "data") or UNKNOWN
    flow = self.as_flow(data, site)
    return self.new_flow(
        "<parameter>", (flow,) if flow is not None else (), name="torch.nn.Parameter", site=site
    )


def _chain(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    values = [a.value for a in arguments.positional]
    if values and all(isinstance(v, Parameters) for v in values):
        parameters = [v for v in values if isinstance(v, Parameters)]
        owners = tuple(dict.fromkeys(o for p in parameters for o in p.owners))
        return Parameters(owners, all(p.resolved for p in parameters))
    if any(isinstance(v, Parameters) for v in values):
        owners = tuple(dict.fromkeys(o for v in values for o in self.parameter_owners(v)[0]))
        return Parameters(owners, all(self.parameter_owners(v)[1] for v in values))
    return Iterated("chain", tuple(values)) if values else UNKNOWN


def _partial(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    if not arguments.positional:
        return UNKNOWN
    rest = Arguments(arguments.positional[1:], arguments.keywords, arguments.complete)
    return Partial(arguments.positional[0].value, rest)


def _deepcopy(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    return self.duplicate(value, site) if isinstance(value, Instance) else value


def _train_test_split(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    parts: list[Abstract] = []
    for argument in arguments.positional:
        flow = self.as_flow(argument.value, site)
        for index in (0, 1):
            if flow is None:
                parts.append(UNKNOWN)
            else:
                parts.append(
                    self.new_flow(
                        "train_test_split",
                        (flow,),
                        index=index,
                        name="sklearn.model_selection.train_test_split",
                        site=site,
                    )
                )
    return Seq("tuple", parts)


def _random_split(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    lengths = arguments.get(1, "lengths")
    count = len(lengths.items) if isinstance(lengths, Seq) and lengths.complete else 2
    return Seq(
        "list",
        [
            self._make(ObjectKind.DATASET, "torch.utils.data.random_split", arguments, site)
            for _ in range(count)
        ],
        complete=isinstance(lengths, Seq) and lengths.complete,
    )


def _backward(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    self.emit(
        EventKind.BACKWARD, site, flow=self.as_flow(arguments.get(0, "tensors") or UNKNOWN, site)
    )
    return Const(None)


def _autograd_grad(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    self.emit(EventKind.GRAD_WRITE, site, name="torch.autograd.grad", flags=("autograd.grad",))
    flow = self.as_flow(arguments.get(0, "outputs") or UNKNOWN, site)
    return self.new_flow("autograd_grad", (flow,) if flow is not None else (), site=site)


def _save(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    self.emit(EventKind.CHECKPOINT, site, name="torch.save")
    return Const(None)


def _ordered_dict(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    result = Map({}, arguments.complete, site)
    if arguments.positional:
        content = arguments.positional[0].value
        if isinstance(content, Map):
            result.items.update(content.items)
        elif isinstance(content, Seq):
            result.complete = result.complete and content.complete
            for pair in content.items:
                if (
                    isinstance(pair, Seq)
                    and len(pair.items) == 2
                    and isinstance(pair.items[0], Const)
                ):
                    result.items[pair.items[0].value] = pair.items[1]
                else:
                    result.complete = False
        else:
            result.complete = False
    for key, argument in arguments.keywords.items():
        result.items[key] = argument.value
    return result


def _namespace(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    instance = self.new_instance(ObjectKind.INSTANCE, "types.SimpleNamespace", site)
    for key, argument in arguments.keywords.items():
        instance.attributes[key] = argument.value
    return instance


def _math(function: Callable[..., float]) -> Callable[[LibraryCalls, Arguments, Site], Abstract]:
    def fold(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
        numbers = [v.value for v in arguments.values() if isinstance(v, Const)]
        if len(numbers) != len(arguments.values()):
            return UNKNOWN
        try:
            return Const(function(*numbers), Origin("computed"))
        except (ArithmeticError, TypeError, ValueError):
            return UNKNOWN

    return fold


_LIBRARY_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    "torch.nn.Parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "itertools.chain": _chain,
    "functools.partial": _partial,
    "copy.deepcopy": _deepcopy,
    "copy.copy": _deepcopy,
    "sklearn.model_selection.train_test_split": _train_test_split,
    "torch.utils.data.random_split": _random_split,
    "torch.autograd.backward": _backward,
    "torch.autograd.grad": _autograd_grad,
    "torch.save": _save,
    "collections.OrderedDict": _ordered_dict,
    **dict.fromkeys(_NAMESPACES, _namespace),
    **{
        f"math.{f.__name__}": _math(f)
        for f in (
            math.sqrt,
            math.log,
            math.log2,
            math.log10,
            math.exp,
            math.ceil,
            math.floor,
            math.cos,
            math.pow,
        )
    },
}


# Builtins.


def _range(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    bounds = [a.value for a in arguments.positional]
    constants = [b.value for b in bounds if isinstance(b, Const) and type(b.value) is int]
    if len(constants) == len(bounds) and bounds and not (len(constants) == 3 and constants[2] == 0):
        values = range(*constants)
        stop = bounds[0] if len(bounds) == 1 else bounds[1]
        origin = stop.origin if isinstance(stop, Const) else None
        certain = all(isinstance(b, Const) and b.certain for b in bounds)
        return LoopRange(Const(len(values), origin, certain), values)
    return LoopRange(UNKNOWN)


def _isinstance(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    if len(arguments.positional) != 2:
        return UNKNOWN
    value, classes = arguments.positional[0].value, arguments.positional[1].value
    options = classes.items if isinstance(classes, Seq) else [classes]
    verdicts = [_is_instance(self, value, option) for option in options]
    if any(v is True for v in verdicts):
        return Const(True)
    return Const(False) if verdicts and all(v is False for v in verdicts) else UNKNOWN


def _is_instance(self: LibraryCalls, value: Abstract, cls: Abstract) -> bool | None:
    if isinstance(value, Layers):
        value = value.instances[0]
    if not isinstance(value, Instance) or value.kind is ObjectKind.SYMBOL:
        if isinstance(cls, Library) and cls.name.startswith("builtins."):
            return _is_builtin(value, cls.name[9:])
        if (
            isinstance(cls, Library)
            and cls.name == "torch.Tensor"
            and isinstance(value, (Seq, Map, Const))
        ):
            return False
        return None
    if isinstance(cls, Class):
        if value.klass is None:
            return False
        if cls in self.lineage(value.klass):
            return True
        return False if value.klass.resolved else None
    if isinstance(cls, Library):
        if value.kind is ObjectKind.LAYER:
            return (
                value.cls == cls.name
                or cls.name == "torch.nn.Module"
                or _is_subclass(value.cls, cls.name)
            )
        if value.klass is not None:
            if cls.name in value.klass.lineage:
                return True
            return False if value.klass.resolved else None
    return None


def _is_builtin(value: Abstract, name: str) -> bool | None:
    if isinstance(value, Seq):
        return name == value.kind
    if isinstance(value, Map):
        return name == "dict"
    if isinstance(value, Const):
        return type(value.value).__name__ == name
    if isinstance(value, Tensor):
        return None if name in ("tuple", "list", "dict") else False
    return None


def _is_subclass(cls: str, base: str) -> bool:
    """Library base classes whose subclasses matter in init functions."""
    short, short_base = cls.rpartition(".")[2], base.rpartition(".")[2]
    families = {
        "_ConvNd": (
            "Conv1d",
            "Conv2d",
            "Conv3d",
            "ConvTranspose1d",
            "ConvTranspose2d",
            "ConvTranspose3d",
        ),
        "_BatchNorm": ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"),
        "RNNBase": ("LSTM", "GRU", "RNN"),
    }
    return short in families.get(short_base, ())


def _len(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, (Seq, Map)) and value.complete:
        return Const(len(value.items), Origin("computed"))
    if isinstance(value, Instance) and value.children and value.complete:
        return Const(len(value.children), Origin("computed"))
    return UNKNOWN


def _sequence(kind: str) -> Callable[[LibraryCalls, Arguments, Site], Abstract]:
    def convert(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
        if not arguments.positional:
            return Seq(kind, [], True, site)
        value = arguments.positional[0].value
        if isinstance(value, Parameters):
            return value
        known = self.known_items(value)
        if known is not None:
            return Seq(kind, known, True, site)
        if isinstance(value, Iterated) and value.kind in ("modules", "children"):
            return value
        return Seq(kind, [self.element_of(value, site)], False, site)

    return convert


def _iterated(kind: str) -> Callable[[LibraryCalls, Arguments, Site], Abstract]:
    def make(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
        return (
            Iterated(kind, tuple(a.value for a in arguments.positional))
            if arguments.positional
            else UNKNOWN
        )

    return make


def _next(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, Parameters):
        return Parameters(value.owners, value.resolved, single=True)
    return self.element_of(value, site)


def _filter(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[1].value if len(arguments.positional) > 1 else UNKNOWN
    if isinstance(value, Seq):
        return Seq("list", value.items, False, site)
    return value


def _map(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    if len(arguments.positional) != 2:
        return UNKNOWN
    function, iterable = (a.value for a in arguments.positional)
    known = self.known_items(iterable)
    if isinstance(function, Function):
        items = known if known is not None else [self.element_of(iterable, site)]
        return Seq(
            "list", [self.call_function(function, [i], {}, site) for i in items], known is not None
        )
    return UNKNOWN


def _getattr(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    if len(arguments.positional) < 2:
        return UNKNOWN
    owner, name = arguments.positional[0].value, arguments.positional[1].value
    if isinstance(name, Const) and isinstance(name.value, str):
        return self.attribute(owner, name.value, site)
    return UNKNOWN


def _setattr(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    if len(arguments.positional) == 3:
        owner, name, value = (a.value for a in arguments.positional)
        if isinstance(owner, Instance) and isinstance(value, Instance) and value.is_module:
            key = name.value if isinstance(name, Const) else f"<{len(owner.children)}>"
            self.set_attribute(owner, str(key), value, site)
        elif isinstance(name, Const) and isinstance(name.value, str):
            self.set_attribute(owner, name.value, value, site)
    return Const(None)


def _type(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, Layers):
        value = value.instances[0]
    if isinstance(value, Instance) and value.kind is ObjectKind.LAYER:
        return Library(value.cls)
    if isinstance(value, Instance) and value.klass is not None:
        return value.klass
    return UNKNOWN


def _number(convert: Callable[[Any], Any]) -> Callable[[LibraryCalls, Arguments, Site], Abstract]:
    def fold(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
        value = arguments.positional[0].value if arguments.positional else UNKNOWN
        if isinstance(value, Const) and value.value is not None:
            try:
                return Const(convert(value.value), value.origin, value.certain)
            except (ArithmeticError, TypeError, ValueError):
                return UNKNOWN
        return UNKNOWN

    return fold


def _extreme(function: Callable[..., Any]) -> Callable[[LibraryCalls, Arguments, Site], Abstract]:
    def fold(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
        values = arguments.values()
        if len(values) > 1 and all(isinstance(v, Const) for v in values):
            constants = [v for v in values if isinstance(v, Const)]
            try:
                value = function(c.value for c in constants)
            except TypeError:
                return UNKNOWN
            return Const(value, Origin("computed"), all(c.certain for c in constants))
        return UNKNOWN

    return fold


def _sum(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    flows = [f for v in arguments.values() for f in self._flows_within(v, site)]
    return self.new_flow("sum", tuple(dict.fromkeys(flows)), site=site) if flows else UNKNOWN


def _vars(self: LibraryCalls, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, Instance) and value.kind is ObjectKind.INSTANCE:
        return Map(dict(value.attributes), False, site)
    return UNKNOWN


_BUILTIN_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    "range": _range,
    "isinstance": _isinstance,
    "len": _len,
    "list": _sequence("list"),
    "tuple": _sequence("tuple"),
    "set": _sequence("set"),
    "sorted": _sequence("list"),
    "dict": _ordered_dict,
    "enumerate": _iterated("enumerate"),
    "zip": _iterated("zip"),
    "iter": _iterated("iter"),
    "reversed": _iterated("reversed"),
    "next": _next,
    "filter": _filter,
    "map": _map,
    "getattr": _getattr,
    "setattr": _setattr,
    "type": _type,
    "int": _number(int),
    "float": _number(float),
    "bool": _number(bool),
    "str": _number(str),
    "abs": _number(abs),
    "round": _number(round),
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": _sum,
    "vars": _vars,
}
