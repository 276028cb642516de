"""Settings as classes with fields: dataclasses, attrs, pydantic, named tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Argument,
    Arguments,
    Class,
    Const,
    Function,
    Instance,
    Library,
    Map,
    Partial,
    Scope,
    Seq,
    Site,
)
from convlint.program.facts import ObjectKind, Scalar
from convlint.program.namespaces import namespace
from convlint.program.walk import Walk

_FIELDS = (
    "dataclasses.field", "pydantic.Field", "pydantic.fields.Field", "attr.ib", "attr.attrib",
    "attr.field", "attrs.field", "flax.struct.field", "simple_parsing.field",
    "simple_parsing.helpers.field", "chz.field", "msgspec.field",
)  # fmt: skip

_PARSED = (
    "tyro.cli", "simple_parsing.parse", "pyrallis.parse", "draccus.parse", "datargs.parse",
    "chz.entrypoint", "jsonargparse.CLI", "jsonargparse.auto_cli",
)  # fmt: skip
"""A class goes in, an instance with the defaults and what the command line says comes out."""

FILLING_DECORATORS = ("draccus.wrap", "pyrallis.wrap", "hydra.main")
"""Under these the first parameter of a function is what the command line and files say."""

_NAMED_TUPLE = "collections.namedtuple()"


def _field(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """The default that a field specifier gives."""
    default = arguments.get(0, "default")
    if default is not None:
        return default
    for keyword in ("default_factory", "factory"):
        if keyword in arguments.keywords:
            return _made_by(self, arguments.keywords[keyword].value, site)
    return UNKNOWN


def _factory(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    return _made_by(self, arguments.get(0, "factory") or UNKNOWN, site)


def _made_by(self: Walk, factory: Abstract, site: Site) -> Abstract:
    if isinstance(factory, (Function, Class, Partial)) or (
        isinstance(factory, Library) and factory.name.startswith("builtins.")
    ):
        return self.apply(factory, Arguments(), site, Scope({}, site.module))
    return UNKNOWN


def _parsed(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    given = arguments.get(0, "config_class")
    if isinstance(given, Class):
        return self.instantiate(given, Arguments(), site)
    return self.unresolved_call(arguments, site)


def _replaced(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    original = arguments.get(0, "obj")
    if not isinstance(original, Instance):
        return UNKNOWN
    return replaced(self, original, arguments, site)


def replaced(self: Walk, original: Instance, arguments: Arguments, site: Site) -> Instance:
    """A copy of ``original`` in which the keywords stand for its fields."""
    copy = self.duplicate(original, site)
    for name, argument in arguments.keywords.items():
        copy.attributes[name] = argument.value
    if not arguments.complete:
        copy.attributes = dict.fromkeys(copy.attributes, UNKNOWN)
    return copy


def _as_dict(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    return as_dict(value, site)


def as_dict(value: Abstract, site: Site) -> Abstract:
    """The fields of an instance as a dict, and so for the instances in it."""
    if not isinstance(value, Instance) or value.kind is not ObjectKind.INSTANCE:
        return value
    items: dict[Scalar, Abstract] = {
        name: as_dict(field, site) for name, field in value.attributes.items()
    }
    return Map(items, False, site)


def _named_tuple(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``collections.namedtuple(...)``: a class, here a function of its fields."""
    fields = arguments.get(1, "field_names")
    if isinstance(fields, Const) and isinstance(fields.value, str):
        names = fields.value.replace(",", " ").split()
    elif isinstance(fields, Seq):
        names = [i.value for i in fields.items if isinstance(i, Const) and isinstance(i.value, str)]
    else:
        return UNKNOWN
    given: dict[str, Argument] = {"<fields>": Argument(Seq("list", [Const(n) for n in names]))}
    defaults = arguments.keywords.get("defaults")
    if defaults is not None and isinstance(defaults.value, Seq) and defaults.value.items:
        values = defaults.value.items
        given.update(
            (name, Argument(value))
            for name, value in zip(names[-len(values) :], values, strict=False)
        )
    return Partial(Library(_NAMED_TUPLE), Arguments([], given))


def _named_tuple_instance(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    keywords = dict(arguments.keywords)
    fields = keywords.pop("<fields>").value
    names = (
        [i.value for i in fields.items if isinstance(i, Const)] if isinstance(fields, Seq) else []
    )
    items: dict[Scalar, Abstract] = {key: argument.value for key, argument in keywords.items()}
    items.update(zip(names, (a.value for a in arguments.positional), strict=False))
    made = namespace(self, {}, site, arguments.complete)
    made.attributes = {str(name): items.get(name, UNKNOWN) for name in names}
    return made


def filled_parameter(self: Walk, function: Function) -> tuple[str, Abstract] | None:
    """The first parameter of a function, with the defaults of the class it is annotated with."""
    if not function.node.args.args:
        return None
    parameter = function.node.args.args[0]
    if parameter.annotation is None:
        return None
    klass = self.evaluate(parameter.annotation, function.scope)
    if not isinstance(klass, Class):
        return None
    site = Site(function.scope.module, parameter)
    return parameter.arg, self.instantiate(klass, Arguments(), site)


FIELD_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    **dict.fromkeys(_FIELDS, _field),
    **dict.fromkeys(_PARSED, _parsed),
    "attr.Factory": _factory,
    "attrs.Factory": _factory,
    "dataclasses.replace": _replaced,
    "attr.evolve": _replaced,
    "attrs.evolve": _replaced,
    "dataclasses.asdict": _as_dict,
    "attr.asdict": _as_dict,
    "attrs.asdict": _as_dict,
    "collections.namedtuple": _named_tuple,
    _NAMED_TUPLE: _named_tuple_instance,
}
