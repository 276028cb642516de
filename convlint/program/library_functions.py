"""Library functions with a meaning of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from convlint.program.builtin_calls import ordered_dict
from convlint.program.command_line import COMMAND_LINE_HANDLERS
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Const,
    Instance,
    Iterated,
    Parameters,
    Partial,
    Seq,
    Site,
)
from convlint.program.facts import EventKind, ObjectKind, Origin
from convlint.program.fields import FIELD_HANDLERS
from convlint.program.indexed import combined, varies
from convlint.program.namespaces import NAMESPACE_HANDLERS
from convlint.program.settings_files import SETTINGS_FILE_HANDLERS
from convlint.program.walk import Walk


def _parameter(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    data = arguments.get(0, "data") or UNKNOWN
    flow = self.as_flow(data, site)
    return self.new_flow(
        "<parameter>", (flow,) if flow is not None else (), name="torch.nn.Parameter", site=site
    )


def _variable(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """The old wrapper of tensors: the same values, cut from the graph that made them."""
    data = arguments.get(0, "data") or UNKNOWN
    flow = self.as_flow(data, site)
    if flow is None:
        return data
    named = self.named_arguments("torch.autograd.Variable", arguments)
    args = {key: value for key, value in named.items() if key == "requires_grad"}
    return self.new_flow(
        "variable", (flow,), args=args, name="torch.autograd.Variable", site=site, detached=True
    )


def _chain(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    values = [a.value for a in arguments.positional]
    if values and all(isinstance(v, Parameters) for v in values):
        parameters = [v for v in values if isinstance(v, Parameters)]
        owners = tuple(dict.fromkeys(o for p in parameters for o in p.owners))
        return Parameters(owners, all(p.resolved for p in parameters), lazy=True)
    if any(isinstance(v, Parameters) for v in values):
        owners = tuple(dict.fromkeys(o for v in values for o in self.parameter_owners(v)[0]))
        return Parameters(owners, all(self.parameter_owners(v)[1] for v in values), lazy=True)
    return Iterated("chain", tuple(values)) if values else UNKNOWN


def _partial(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    if not arguments.positional:
        return UNKNOWN
    rest = Arguments(arguments.positional[1:], arguments.keywords, arguments.complete)
    return Partial(arguments.positional[0].value, rest)


def _deepcopy(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    if isinstance(value, Instance) and value.is_module:
        return self.duplicate_module(value, site)
    return self.duplicate(value, site) if isinstance(value, Instance) else value


def _copy(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    return self.duplicate(value, site) if isinstance(value, Instance) else value


def _train_test_split(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    parts: list[Abstract] = []
    sizes: dict[str, Argument] = {
        name: arguments.keywords[name]
        for name in ("train_size", "test_size")
        if name in arguments.keywords
    }
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
                        args=sizes,
                        name="sklearn.model_selection.train_test_split",
                        site=site,
                    )
                )
    return Seq("tuple", parts)


def _random_split(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    lengths = arguments.get(1, "lengths")
    count = len(lengths.items) if isinstance(lengths, Seq) and lengths.complete else 2
    return Seq(
        "list",
        [
            self.make(ObjectKind.DATASET, "torch.utils.data.random_split", arguments, site)
            for _ in range(count)
        ],
        complete=isinstance(lengths, Seq) and lengths.complete,
    )


def _backward(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    self.emit(
        EventKind.BACKWARD, site, flow=self.as_flow(arguments.get(0, "tensors") or UNKNOWN, site)
    )
    return Const(None)


def _autograd_grad(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    self.emit(EventKind.GRAD_WRITE, site, name="torch.autograd.grad", flags=("autograd.grad",))
    flow = self.as_flow(arguments.get(0, "outputs") or UNKNOWN, site)
    return self.new_flow("autograd_grad", (flow,) if flow is not None else (), site=site)


def _save(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    self.emit(EventKind.CHECKPOINT, site, name="torch.save")
    return Const(None)


def _math(function: Callable[..., float]) -> Callable[[Walk, Arguments, Site], Abstract]:
    def fold(self: Walk, arguments: Arguments, site: Site) -> Abstract:
        numbers = [v.value for v in arguments.values() if isinstance(v, Const)]
        if varies(*arguments.values()):
            return combined(function, arguments.values())
        if len(numbers) != len(arguments.values()):
            return UNKNOWN
        try:
            return Const(function(*numbers), Origin("computed"))
        except (ArithmeticError, TypeError, ValueError):
            return UNKNOWN

    return fold


def gain(arguments: Arguments) -> Abstract:
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


LIBRARY_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    "torch.nn.Parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.autograd.Variable": _variable,
    "itertools.chain": _chain,
    "functools.partial": _partial,
    "copy.deepcopy": _deepcopy,
    "copy.copy": _copy,
    "sklearn.model_selection.train_test_split": _train_test_split,
    "torch.utils.data.random_split": _random_split,
    "torch.autograd.backward": _backward,
    "torch.autograd.grad": _autograd_grad,
    "torch.save": _save,
    "collections.OrderedDict": ordered_dict,
    **NAMESPACE_HANDLERS,
    **FIELD_HANDLERS,
    **COMMAND_LINE_HANDLERS,
    **SETTINGS_FILE_HANDLERS,
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
