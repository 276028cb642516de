"""Defaults of command-line options: argparse, click and typer."""

from __future__ import annotations

from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Arguments,
    Const,
    Instance,
    Library,
    Seq,
)
from convlint.program.facts import Origin


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


def _with_origin(value: Abstract, flag: str, line: int) -> Abstract:
    if isinstance(value, Const):
        origin = Origin("argparse default", f"default of {flag}, line {line}")
        return Const(value.value, origin, certain=False)
    if isinstance(value, Seq):
        items = [_with_origin(item, flag, line) for item in value.items]
        return Seq(value.kind, items, value.complete, value.node)
    return value


def add_argument(parser: Instance, arguments: Arguments, line: int) -> None:
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
    parser.attributes[name] = _with_origin(value, flag, line)


def parsed_arguments(parser: Instance) -> dict[str, Abstract]:
    """The attributes of the namespace that ``parse_args()`` returns."""
    return dict(parser.attributes)


def decorator_option(name: str, arguments: Arguments, line: int) -> tuple[str, Abstract] | None:
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
    value = _with_origin(default.value, flag, line)
    if isinstance(value, Const):
        value.origin = Origin("click default", f"default of {flag}, line {line}")
    return parameter, value
