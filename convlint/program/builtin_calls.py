"""Python's builtins, as far as they decide what a program trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from convlint.program.domain import (
    BATCHES,
    UNKNOWN,
    Abstract,
    Arguments,
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
    Seq,
    Site,
    Tensor,
)
from convlint.program.facts import ObjectKind, Origin, Scalar
from convlint.program.indexed import combined, varies
from convlint.program.lengths import length_of
from convlint.program.walk import Walk

_LARGEST_BOUND = 2**62
"""A range beyond it has more values than Python can count."""


def _range(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    bounds = [a.value for a in arguments.positional]
    constants = [b.value for b in bounds if isinstance(b, Const) and type(b.value) is int]
    if len(constants) == len(bounds) and all(abs(c) < _LARGEST_BOUND for c in constants):
        try:
            values = range(*constants)
        except (TypeError, ValueError):
            # Too few or too many bounds, or a step of zero: the program's own mistake.
            return LoopRange(UNKNOWN)
        stop = bounds[0] if len(bounds) == 1 else bounds[1]
        origin = stop.origin if isinstance(stop, Const) else None
        certain = all(isinstance(b, Const) and b.certain for b in bounds)
        return LoopRange(Const(len(values), origin, certain), values)
    return LoopRange(UNKNOWN)


def _isinstance(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    if len(arguments.positional) != 2:
        return UNKNOWN
    value, classes = arguments.positional[0].value, arguments.positional[1].value
    options = classes.items if isinstance(classes, Seq) else [classes]
    verdicts = [_is_instance(self, value, option) for option in options]
    if any(v is True for v in verdicts):
        return Const(True)
    return Const(False) if verdicts and all(v is False for v in verdicts) else UNKNOWN


def _is_instance(self: Walk, value: Abstract, cls: Abstract) -> bool | None:
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


def _len(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, (Seq, Map)) and value.complete:
        return Const(len(value.items), Origin("computed"))
    if isinstance(value, Instance) and value.children and value.complete:
        return Const(len(value.children), Origin("computed"))
    length = length_of(self, value)
    if length is not None:
        return Const(length, Origin("computed"), certain=False)
    if isinstance(value, Instance) and value.kind is ObjectKind.LOADER:
        return BATCHES
    return UNKNOWN


def _sequence(kind: str) -> Callable[[Walk, Arguments, Site], Abstract]:
    def convert(self: Walk, arguments: Arguments, site: Site) -> Abstract:
        if not arguments.positional:
            return Seq(kind, [], True, site)
        value = arguments.positional[0].value
        if isinstance(value, Parameters):
            return replace(value, lazy=False)
        known = self.known_items(value)
        if known is not None:
            return Seq(kind, known, True, site)
        if isinstance(value, Iterated) and value.kind in ("modules", "children"):
            return value
        return Seq(kind, [self.element_of(value, site)], False, site)

    return convert


def _iterated(kind: str) -> Callable[[Walk, Arguments, Site], Abstract]:
    def make(self: Walk, arguments: Arguments, site: Site) -> Abstract:
        if not arguments.positional:
            return UNKNOWN
        sources = tuple(a.value for a in arguments.positional)
        return Iterated(kind, sources, site, tuple(self.loops), self.innermost_arm())

    return make


def _next(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, Parameters):
        return Parameters(value.owners, value.resolved, single=True)
    if isinstance(value, Iterated) and value.kind == "iter":
        return self.next_of(value, site)
    return self.element_of(value, site)


def _filter(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[1].value if len(arguments.positional) > 1 else UNKNOWN
    if isinstance(value, Seq):
        return Seq("list", value.items, False, site)
    if isinstance(value, Parameters):
        return replace(value, partial=True, lazy=True)
    return value


def _map(self: Walk, arguments: Arguments, site: Site) -> Abstract:
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


def _getattr(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    if len(arguments.positional) < 2:
        return UNKNOWN
    owner, name = arguments.positional[0].value, arguments.positional[1].value
    if isinstance(name, Const) and isinstance(name.value, str):
        return self.attribute(owner, name.value, site)
    return UNKNOWN


def _setattr(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    if len(arguments.positional) == 3:
        owner, name, value = (a.value for a in arguments.positional)
        if not isinstance(owner, Instance):
            return Const(None)
        if isinstance(name, Const) and isinstance(name.value, str):
            self.set_attribute(owner, name.value, value, site)
        elif isinstance(value, Instance) and value.is_module:
            self.set_attribute(owner, f"<{len(owner.children)}>", value, site)
    return Const(None)


def _type(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, Layers):
        value = value.instances[0]
    if isinstance(value, Instance) and value.kind is ObjectKind.LAYER:
        return Library(value.cls)
    if isinstance(value, Instance) and value.klass is not None:
        return value.klass
    return UNKNOWN


def _open(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """An opened file stands for its path."""
    path = arguments.get(0, "file")
    return path if isinstance(path, Const) and isinstance(path.value, str) else UNKNOWN


def _number(convert: Callable[[Any], Any]) -> Callable[[Walk, Arguments, Site], Abstract]:
    def fold(self: Walk, arguments: Arguments, site: Site) -> Abstract:
        value = arguments.positional[0].value if arguments.positional else UNKNOWN
        if isinstance(value, Const) and value.value is not None:
            try:
                return Const(convert(value.value), value.origin, value.certain)
            except (ArithmeticError, TypeError, ValueError):
                return UNKNOWN
        if len(arguments.values()) == 1 and varies(value):
            return combined(convert, (value,))
        return UNKNOWN

    return fold


def _extreme(function: Callable[..., Any]) -> Callable[[Walk, Arguments, Site], Abstract]:
    def fold(self: Walk, arguments: Arguments, site: Site) -> Abstract:
        values = arguments.values()
        if len(values) > 1 and all(isinstance(v, Const) for v in values):
            constants = [v for v in values if isinstance(v, Const)]
            try:
                value = function(c.value for c in constants)
            except TypeError:
                return UNKNOWN
            return Const(value, Origin("computed"), all(c.certain for c in constants))
        return combined(function, values) if len(values) > 1 and varies(*values) else UNKNOWN

    return fold


def _sum(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    flows = [f for v in arguments.values() for f in self.flows_within(v, site)]
    return self.new_flow("sum", tuple(dict.fromkeys(flows)), site=site) if flows else UNKNOWN


def _vars(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, Instance) and value.kind is ObjectKind.INSTANCE:
        attributes: dict[Scalar, Abstract] = dict(value.attributes.items())
        return Map(attributes, False, site)
    return UNKNOWN


def ordered_dict(self: Walk, arguments: Arguments, site: Site) -> Abstract:
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


BUILTIN_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    "range": _range,
    "isinstance": _isinstance,
    "len": _len,
    "list": _sequence("list"),
    "tuple": _sequence("tuple"),
    "set": _sequence("set"),
    "sorted": _sequence("list"),
    "dict": ordered_dict,
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
    "open": _open,
}
