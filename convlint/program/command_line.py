"""Defaults of command-line options: argparse, click, typer and absl; of environment variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from convlint.findings import Location
from convlint.lazy_regex import lazy_regex
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Arguments,
    Class,
    Const,
    Instance,
    Library,
    Seq,
    Site,
)
from convlint.program.facts import ObjectKind, Origin
from convlint.program.namespaces import namespace
from convlint.program.walk import Walk

PARSERS = frozenset(
    {
        "argparse.ArgumentParser", "configargparse.ArgumentParser", "configargparse.ArgParser",
        "jsonargparse.ArgumentParser", "simple_parsing.ArgumentParser",
        "transformers.HfArgumentParser", "trl.TrlParser",
    }
)  # fmt: skip
"""Classes whose instances parse the command line."""

SUBPARSERS = "argparse._SubParsersAction"
"""What ``add_subparsers()`` returns."""

_COMMANDS = "<commands>"
"""Among the attributes of a parser: the parsers of its subcommands."""

_FLAG_MAKERS = (
    "float", "integer", "string", "bool", "boolean", "enum", "list", "multi_float",
    "multi_integer", "multi_string", "spaceseplist",
)  # fmt: skip

_OF_LAUNCHERS = lazy_regex("RANK|WORLD|SIZE|NODE|MASTER|SLURM|CUDA|DEVICE|NUM_")
"""In the names of variables that a launcher sets, so that their defaults are for one process."""


def _option_name(flags: list[str]) -> str | None:
    long = [flag for flag in flags if flag.startswith("--")]
    chosen = long[0] if long else (flags[0] if flags else None)
    return chosen.lstrip("-").replace("-", "_") if chosen else None


def _flags(arguments: Arguments) -> list[str]:
    return [
        a.value.value
        for a in arguments.positional
        if isinstance(a.value, Const) and isinstance(a.value.value, str)
    ]


def _converted(value: Abstract, kind: Abstract | None) -> Abstract:
    """argparse converts string defaults with ``type``."""
    if (
        isinstance(value, Const)
        and isinstance(value.value, str)
        and isinstance(kind, Library)
        and kind.name in ("builtins.int", "builtins.float")
    ):
        try:
            number = int(value.value) if kind.name.endswith("int") else float(value.value)
        except ValueError:
            return UNKNOWN
        return Const(number, value.origin, value.certain)
    return value


def _stated(value: Abstract, kind: str, subject: str, place: Location) -> Abstract:
    """A default with its origin; whoever starts the program may choose another value."""
    if isinstance(value, Const):
        origin = Origin(f"{kind} default", f"default of {subject}, line {place.line}", place)
        return Const(value.value, origin, certain=False)
    if isinstance(value, Seq):
        items = [_stated(item, kind, subject, place) for item in value.items]
        return Seq(value.kind, items, value.complete, value.node)
    return value


def parser_method(
    self: Walk, parser: Instance, name: str, arguments: Arguments, site: Site
) -> Abstract:
    """A method of a parser, of one of its groups or of its subcommands."""
    if name == "add_argument":
        _add_argument(parser, arguments, site.location)
    elif name in ("add_argument_group", "add_mutually_exclusive_group"):
        return parser
    elif name == "add_subparsers":
        commands = self.new_instance(ObjectKind.LIBRARY, SUBPARSERS, site)
        commands.attributes[_COMMANDS] = parser.attributes.setdefault(_COMMANDS, Seq("list", []))
        chosen = arguments.keywords.get("dest")
        if chosen is not None and isinstance(chosen.value, Const):
            parser.attributes[str(chosen.value.value)] = UNKNOWN
        return commands
    elif name == "add_parser":
        command = self.make(ObjectKind.LIBRARY, "argparse.ArgumentParser", arguments, site)
        siblings = parser.attributes.get(_COMMANDS)
        if isinstance(siblings, Seq):
            siblings.items.append(command)
        return command
    elif name in ("parse_args", "parse_intermixed_args"):
        return _parsed(self, parser, site)
    elif name in ("parse_known_args", "parse_known_intermixed_args"):
        return Seq("tuple", [_parsed(self, parser, site), UNKNOWN])
    elif name == "set_defaults":
        for key, argument in arguments.keywords.items():
            parser.attributes[key] = _stated(argument.value, "argparse", key, site.location)
    elif name == "get_default":
        asked = arguments.get(0, "dest")
        if isinstance(asked, Const) and isinstance(asked.value, str):
            return parser.attributes.get(asked.value, UNKNOWN)
    elif name == "add_arguments":
        _add_dataclass(self, parser, arguments, site)
    elif name.startswith("parse_args_"):
        return _dataclasses(self, parser, site)
    return UNKNOWN


def _add_argument(parser: Instance, arguments: Arguments, place: Location) -> None:
    """Record ``parser.add_argument(...)``: destination name and default."""
    flags = _flags(arguments)
    destination = arguments.keywords.get("dest")
    name = (
        str(destination.value.value)
        if destination is not None and isinstance(destination.value, Const)
        else _option_name(flags)
    )
    if name is None:
        return
    flag = next((f for f in flags if f.startswith("--")), flags[0] if flags else name)
    default = arguments.keywords.get("default")
    action = arguments.keywords.get("action")
    kind = arguments.keywords.get("type")
    if default is not None:
        value = _converted(default.value, kind.value if kind is not None else None)
    elif (
        action is not None
        and isinstance(action.value, Const)
        and action.value.value in ("store_true", "store_false")
    ):
        value = Const(action.value.value == "store_false")
    elif flag.startswith("-") and "required" not in arguments.keywords:
        value = Const(None)
    else:
        value = UNKNOWN
    parser.attributes[name] = _stated(value, "argparse", flag, place)


def _add_dataclass(self: Walk, parser: Instance, arguments: Arguments, site: Site) -> None:
    """``parser.add_arguments(Config, dest="config")`` of simple_parsing."""
    klass, destination = arguments.get(0, "dataclass"), arguments.get(1, "dest")
    if isinstance(klass, Class) and isinstance(destination, Const):
        parser.attributes[str(destination.value)] = self.instantiate(klass, Arguments(), site)


def _parsed(self: Walk, parser: Instance, site: Site) -> Instance:
    result = self.new_instance(ObjectKind.INSTANCE, "argparse.Namespace", site)
    result.attributes.update(_defaults(self, parser))
    return result


def _defaults(self: Walk, parser: Instance) -> dict[str, Abstract]:
    """The options of a parser, of its parents and of its subcommands.

    Where subcommands disagree, the value is any of theirs.
    """
    options: dict[str, Abstract] = {}
    parents = parser.args.get("parents")
    if parents is not None and isinstance(parents.value, Seq):
        for parent in parents.value.items:
            if isinstance(parent, Instance):
                options.update(_defaults(self, parent))
    options.update({k: v for k, v in parser.attributes.items() if k != _COMMANDS})
    commands = parser.attributes.get(_COMMANDS)
    said: dict[str, list[Abstract]] = {}
    for command in commands.items if isinstance(commands, Seq) else []:
        if isinstance(command, Instance):
            for name, value in _defaults(self, command).items():
                said.setdefault(name, []).append(value)
    options.update({name: self.join(values) for name, values in said.items()})
    return options


def _dataclasses(self: Walk, parser: Instance, site: Site) -> Abstract:
    """``HfArgumentParser((A, B)).parse_args_into_dataclasses()``: one instance of each."""
    given = parser.args.get("dataclass_types") or parser.args.get("0")
    if given is None:
        return UNKNOWN
    classes = given.value.items if isinstance(given.value, Seq) else [given.value]
    made = [
        self.instantiate(klass, Arguments(), site) if isinstance(klass, Class) else UNKNOWN
        for klass in classes
    ]
    return Seq("tuple", made)


def decorator_option(
    name: str, arguments: Arguments, place: Location
) -> tuple[str, Abstract] | None:
    """The parameter and default that ``@click.option(...)`` gives, or None."""
    if name not in ("click.option", "click.argument"):
        return None
    flags = _flags(arguments)
    explicit = [flag for flag in flags if not flag.startswith("-")]
    parameter = explicit[0] if explicit and name == "click.option" else _option_name(flags)
    if parameter is None:
        return None
    default = arguments.keywords.get("default")
    flag = next((f for f in flags if f.startswith("--")), parameter)
    if default is None:
        is_flag = arguments.keywords.get("is_flag")
        return parameter, Const(False, certain=False) if is_flag is not None else UNKNOWN
    return parameter, _stated(default.value, "click", flag, place)


def _typer_option(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``typer.Option(0.1, "--lr")`` as the default of a parameter."""
    default = arguments.get(0, "default") or UNKNOWN
    flags = [flag for flag in _flags(arguments) if flag.startswith("--")]
    return _stated(default, "typer", flags[0] if flags else "this option", site.location)


def _defined_flag(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``flags.DEFINE_float("lr", 0.1, ...)`` of absl; read from ``FLAGS`` or from the result."""
    name = arguments.get(0, "name")
    if not isinstance(name, Const) or not isinstance(name.value, str):
        return UNKNOWN
    default = arguments.get(1, "default") or UNKNOWN
    value = _stated(default, "absl", f"--{name.value}", site.location)
    self.settings[f"absl.flags.FLAGS.{name.value}"] = value
    return namespace(self, {"value": value, "default": value}, site)


def _environment(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``os.environ.get("LR", "0.1")``. Without a default the variable is expected to be set."""
    name, default = arguments.get(0, "key"), arguments.get(1, "default")
    if not isinstance(name, Const) or not isinstance(default, Const) or default.value is None:
        return UNKNOWN
    if _OF_LAUNCHERS.search(str(name.value)):
        return UNKNOWN
    return _stated(replace(default), "environment", f"${name.value}", site.location)


COMMAND_LINE_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    "typer.Option": _typer_option,
    "typer.Argument": _typer_option,
    "os.environ.get": _environment,
    "os.getenv": _environment,
    **{f"absl.flags.DEFINE_{kind}": _defined_flag for kind in _FLAG_MAKERS},
}
