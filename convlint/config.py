"""Settings: ``[tool.convlint]`` of the nearest ``pyproject.toml``, or the nearest
``convlint.toml``, under what the command line says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from convlint.errors import UserError, did_you_mean
from convlint.findings import Confidence, Severity
from convlint.selection import RuleChoice, Selection, resolve_selection, rules_matching

CONFIGURATION_FILES = ("convlint.toml", "pyproject.toml")
"""Looked for in this order in each directory, from the checked file upwards."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The keys a configuration file may hold."""

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Patterns, as in ``.gitignore``, of files and directories a walk leaves out."""
    per_file_ignores: dict[str, tuple[str, ...]] = {}
    """Pattern of files to the rules that stay silent in them."""
    fail_on: Severity = Severity.WARNING
    min_confidence: Confidence = Confidence.MEDIUM


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line (or a caller of the API) says; None leaves it to the configuration."""

    rules: RuleChoice = RuleChoice()
    fail_on: Severity | None = None
    min_confidence: Confidence | None = None
    show_info: bool = False


class Settings:
    """What holds for the files under one configuration file."""

    def __init__(
        self, configuration: Configuration, overrides: Overrides, root: Path, source: str
    ) -> None:
        self.root = root
        """Directory of the configuration file; its patterns are relative to it."""
        configured = RuleChoice(
            select=configuration.select,
            extend_select=configuration.extend_select,
            ignore=configuration.ignore,
            said_in=source,
        )
        self.selection: Selection = resolve_selection((configured, overrides.rules))
        self.fail_on = overrides.fail_on or configuration.fail_on
        self.min_confidence = overrides.min_confidence or configuration.min_confidence
        self.show_info = overrides.show_info or self.fail_on is Severity.INFO
        self._exclude = _Patterns(configuration.exclude, root)
        self._per_file = tuple(
            (
                _Patterns((pattern,), root),
                frozenset(
                    rule.slug
                    for name in names
                    for rule in rules_matching(name, said_in=f"{source}, per-file-ignores")
                ),
            )
            for pattern, names in configuration.per_file_ignores.items()
        )

    def excludes(self, path: Path) -> bool:
        """Whether ``exclude`` rules out this file or directory."""
        return self._exclude.match(path)

    def ignored_in(self, path: Path) -> frozenset[str]:
        """Slugs that ``per-file-ignores`` silences in this file."""
        silenced: frozenset[str] = frozenset()
        for patterns, slugs in self._per_file:
            if patterns.match(path):
                silenced |= slugs
        return silenced

    def shows(self, slug: str, severity: Severity) -> bool:
        """Whether a reader sees such a finding: info is shown when asked for or when its rule
        was selected by name."""
        return severity is not Severity.INFO or self.show_info or slug in self.selection.asked_for

    def fails(self, severity: Severity) -> bool:
        """Whether a finding this severe makes the command exit with 1."""
        return severity.rank >= self.fail_on.rank


class SettingsFinder:
    """Finds and remembers the settings of each directory."""

    def __init__(self, overrides: Overrides | None = None) -> None:
        self._overrides = overrides or Overrides()
        self._by_directory: dict[str, Settings] = {}
        self._default: Settings | None = None

    def for_file(self, path: Path) -> Settings:
        """Settings of the configuration nearest to this file.

        Raises:
            UserError: that configuration has a mistake.
        """
        return self.for_directory(Path(os.path.abspath(path)).parent)  # noqa: PTH100

    def for_directory(self, directory: Path) -> Settings:
        """Settings of the configuration in or above this directory.

        Raises:
            UserError: that configuration has a mistake.
        """
        absolute = os.path.abspath(directory)  # noqa: PTH100
        known = self._by_directory.get(absolute)
        if known is None:
            known = self._look(Path(absolute))
            self._by_directory[absolute] = known
        return known

    def _look(self, directory: Path) -> Settings:
        for name in CONFIGURATION_FILES:
            file = directory / name
            configuration = _read_configuration(file)
            if configuration is not None:
                return Settings(configuration, self._overrides, directory, str(file))
        if directory.parent != directory:
            return self.for_directory(directory.parent)
        if self._default is None:
            self._default = Settings(Configuration(), self._overrides, Path.cwd(), "")
        return self._default


def _read_configuration(file: Path) -> Configuration | None:
    """What ``file`` says about convlint; None when it does not exist or does not speak of it."""
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return None
    own = file.name == "convlint.toml"
    if not own and b"convlint" not in data:
        return None
    import tomllib

    shown = str(file)
    try:
        table: Any = tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise UserError("not valid TOML: not UTF-8", path=shown) from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", path=shown) from None
    if not own:
        table = table.get("tool", {}).get("convlint")
        if table is None:
            return None
    if not isinstance(table, dict):
        raise UserError("tool.convlint must be a table", path=shown)
    known = [field.encode_name for field in msgspec.structs.fields(Configuration)]
    for key in table:
        if key not in known:
            raise UserError(f"unknown key {key!r}{did_you_mean(key, known)}", path=shown)
    try:
        return msgspec.convert(table, Configuration)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`")
        message = f"{key}: {_lower_first(what)}" if key else _lower_first(what)
        raise UserError(message, path=shown) from None


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


class _Patterns:
    """Patterns in the manner of ``.gitignore``, relative to ``root``."""

    def __init__(self, patterns: tuple[str, ...], root: Path) -> None:
        self._root = root
        self._patterns = patterns

    def match(self, path: Path) -> bool:
        if not self._patterns:
            return False
        from pathspec import GitIgnoreSpec

        spec = GitIgnoreSpec.from_lines(self._patterns)
        relative = os.path.relpath(os.path.abspath(path), self._root)  # noqa: PTH100
        if relative.startswith(os.pardir):
            return False
        return spec.match_file(relative.replace(os.sep, "/") + ("/" if path.is_dir() else ""))
