"""Configuration files: which keys they may hold, reading them, and what they extend."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import msgspec

from convlint.errors import UserError, did_you_mean
from convlint.findings import Confidence, Severity

FILE_NAMES = (".convlint.toml", "convlint.toml", "pyproject.toml")
"""Looked for in this order in each directory, from the checked file upwards."""

PROJECT_FILE = "pyproject.toml"
"""Speaks of convlint in its table ``[tool.convlint]`` only."""

COMMAND_LINE = "the command line"


class FailOn(enum.StrEnum):
    """How severe a finding must be to fail the command."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"

    @property
    def severity(self) -> Severity | None:
        """None for ``never``."""
        return None if self is FailOn.NEVER else Severity(self.value)


class Configuration(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What one configuration file (or the command line) says; None leaves a key to others."""

    extend: str | None = None
    """Another configuration file, relative to this one, whose keys hold where this says none."""
    select: tuple[str, ...] | None = None
    """The rules to run: slugs, codes, code prefixes, categories or ``ALL``."""
    extend_select: tuple[str, ...] = ()
    """Rules to run beside the selected ones."""
    ignore: tuple[str, ...] = ()
    """Rules to leave out."""
    extend_ignore: tuple[str, ...] = ()
    """Rules to leave out, too."""
    severity: dict[str, Severity] = {}
    """A rule (or prefix, category) to the severity its findings get."""
    per_file_severity: dict[str, dict[str, Severity]] = {}
    """Pattern of files to the severities that rules have in them."""
    per_file_ignores: dict[str, tuple[str, ...]] | None = None
    """Pattern of files to the rules that stay silent in them."""
    extend_per_file_ignores: dict[str, tuple[str, ...]] = {}
    """More of the same, beside those of an extended file."""
    rules: tuple[str, ...] = ()
    """Files and folders with rules of the project's own, relative to this file. Their code is
    run."""
    rule_options: dict[str, dict[str, Any]] = {}
    """Slug to the options of that rule; ``convlint rule SLUG`` lists them."""
    exclude: tuple[str, ...] | None = None
    """Patterns, as in ``.gitignore``, of files and directories a walk leaves out, instead of the
    default ones."""
    extend_exclude: tuple[str, ...] = ()
    """Patterns beside those of ``exclude``."""
    respect_gitignore: bool | None = None
    """Whether what Git ignores is left out."""
    force_exclude: bool | None = None
    """Whether ``exclude`` holds for files named on the command line as well."""
    fail_on: FailOn | None = None
    """Exit with 1 when a finding is at least this severe; ``never`` does not."""
    min_confidence: Confidence | None = None
    """Hide findings we are less sure of."""
    show_info: bool | None = None
    """Whether findings of severity info are shown."""


class Layer(msgspec.Struct, frozen=True):
    """One configuration, the directory its patterns are relative to, and where it was said.

    ``source`` is a file, or empty for the command line.
    """

    configuration: Configuration
    root: Path
    source: str


KEYS = tuple(field.encode_name for field in msgspec.structs.fields(Configuration))


def find_layers(directory: Path) -> tuple[Layer, ...] | None:
    """The layers of the configuration file in ``directory``, what it extends first; None when
    none there speaks of convlint.

    Raises:
        UserError: it has a mistake.
    """
    for name in FILE_NAMES:
        layers = read_layers(directory / name)
        if layers is not None:
            return layers
    return None


def read_layers(file: Path, *, root: Path | None = None) -> tuple[Layer, ...] | None:
    """The layers of one file, what it extends first; None when it is missing or does not speak of
    convlint. Patterns are relative to ``root``, the file's directory unless given.

    Raises:
        UserError: it has a mistake.
    """
    layers: list[Layer] = []
    chain: list[Path] = []
    reading: Path | None = file
    while reading is not None:
        if reading in chain:
            names = " extends ".join(str(link) for link in (*chain, reading))
            raise UserError(f"extend goes in a circle: {names}", path=str(chain[0]))
        table = _read_table(reading)
        if table is None:
            if not chain:
                return None
            what = "does not speak of convlint" if reading.is_file() else "no such file"
            raise UserError(f"extend: {reading}: {what}", path=str(chain[-1]))
        configuration = convert(table, str(reading))
        layers.append(Layer(configuration, root or reading.parent, str(reading)))
        chain.append(reading)
        extended = configuration.extend
        reading = None
        if extended is not None:
            reading = Path(chain[-1].parent, Path(extended).expanduser()).resolve()
        root = None
    return tuple(reversed(layers))


def read_inline(text: str) -> Configuration:
    """What ``--config 'key = value'`` says.

    Raises:
        UserError: it is no TOML, or has a mistake.
    """
    import tomllib

    said_in = f"--config {text!r}"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"neither a file nor valid TOML: {error}", path=said_in) from None
    if "extend" in table:
        raise UserError("extend goes into a file; give it as --config FILE", path=said_in)
    return convert(table, said_in)


def convert(table: dict[str, Any], said_in: str) -> Configuration:
    """A configuration from the keys of its table.

    Raises:
        UserError: a key is unknown or its value of the wrong kind.
    """
    for key in table:
        if key not in KEYS:
            raise UserError(f"unknown key {key!r}{did_you_mean(key, [*KEYS])}", path=said_in)
    try:
        return msgspec.convert(table, Configuration)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        key = where.rstrip("`").removeprefix("$").removeprefix(".")
        what = what[:1].lower() + what[1:]
        raise UserError(f"{key}: {what}" if key else what, path=said_in) from None


def _read_table(file: Path) -> dict[str, Any] | None:
    """The table of ``file`` that speaks of convlint; None when there is none."""
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return None
    in_project_file = file.name == PROJECT_FILE
    if in_project_file and b"convlint" not in data:
        return None
    import tomllib

    shown = str(file)
    try:
        table: Any = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise UserError("not valid TOML: not UTF-8", path=shown) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", path=shown) from None
    if in_project_file:
        tools = table.get("tool", {})
        table = tools.get("convlint") if isinstance(tools, dict) else None
        if table is None:
            return None
        if not isinstance(table, dict):
            raise UserError("tool.convlint must be a table", path=shown)
    assert isinstance(table, dict)
    return table
