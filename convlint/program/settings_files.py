"""Calls that read settings from files of the project: json, yaml, tomllib, OmegaConf, hydra.

A path, an opened file and the text read from it are all the constant path here: nothing else is
done with them before they are parsed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convlint.findings import Location
from convlint.lazy_regex import lazy_regex
from convlint.program.domain import (
    UNKNOWN,
    Abstract,
    Arguments,
    Const,
    Function,
    Library,
    Map,
    Partial,
    Scope,
    Seq,
    Site,
)
from convlint.program.facts import Origin, Scalar
from convlint.program.fields import filled_parameter
from convlint.program.libraries.kinds import canonical
from convlint.program.namespaces import is_namespace, namespace
from convlint.program.walk import Walk

_ROOTS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")

_DECIMAL = lazy_regex(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
"""A float to OmegaConf (and to people), text to PyYAML: ``1e-3``."""


def folders_of(self: Walk, site: Site) -> list[Path]:
    """The folder of the file a call stands in and those above it that belong to the project."""
    file = site.module.file
    if file is None:
        return []
    found: list[Path] = []
    for folder in file.parents:
        found.append(folder)
        if folder == self.root or any((folder / marker).exists() for marker in _ROOTS):
            return found
    return found[:1]


def _read(self: Walk, path: Abstract, site: Site) -> tuple[Any, str] | None:
    """The content of the file at a constant path and the path as messages show it."""
    if not isinstance(path, Const) or not isinstance(path.value, str):
        return None
    folders = folders_of(self, site)
    if not folders or not path.value.endswith((".yaml", ".yml", ".json", ".toml")):
        return None
    for folder in folders:
        file = Path(posixpath.normpath(folder / path.value))
        if not file.is_relative_to(folders[-1]):
            continue
        configuration = self.index.read_configuration(file)
        if configuration is not None:
            return configuration.content, configuration.path
    return None


def settings_of(
    self: Walk, entry: Any, path: str, site: Site, named: bool, dotted: str = ""
) -> Abstract:
    """What was read, as values; tables as objects with attributes when ``named``."""
    if isinstance(entry, dict):
        items: dict[Scalar, Abstract] = {
            key: settings_of(self, value, path, site, named, f"{dotted}.{key}".lstrip("."))
            for key, value in entry.items()
        }
        return namespace(self, items, site) if named else Map(items, True, site)
    if isinstance(entry, list):
        parts = [settings_of(self, item, path, site, named, dotted) for item in entry]
        return Seq("list", parts, True, site)
    value = entry.value
    if not entry.known or value == "???":
        return UNKNOWN
    if named and isinstance(value, str) and _DECIMAL.match(value):
        value = float(value)
    shown = getattr(entry, "path", "") or path
    where = f", line {entry.line}" if entry.line else ""
    place = (
        Location(shown, entry.line, entry.column, entry.line, entry.end_column)
        if entry.line
        else None
    )
    return Const(value, Origin("file", f"{dotted} in {shown}{where}", place), certain=False)


def _loaded(name: str, named: bool) -> Callable[[Walk, Arguments, Site], Abstract]:
    def load(self: Walk, arguments: Arguments, site: Site) -> Abstract:
        path = arguments.positional[0].value if arguments.positional else UNKNOWN
        found = _read(self, path, site)
        if found is None:
            return self.unresolved_call(arguments, site, name) if named else UNKNOWN
        # an object_hook is there to make tables into objects
        hooked = "object_hook" in arguments.keywords
        return settings_of(self, found[0], found[1], site, named or hooked)

    return load


def _path(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``pathlib.Path(a, b)`` and ``os.path.join(a, b)``."""
    parts = [v.value for v in arguments.values() if isinstance(v, Const)]
    strings = [part for part in parts if isinstance(part, str)]
    if len(strings) != len(arguments.values()) or not arguments.complete:
        return UNKNOWN
    return _constant(posixpath.join("", *strings))


def _constant(path: str) -> Const:
    return Const(path, Origin("computed"), certain=False)


def _same_path(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = arguments.positional[0].value if arguments.positional else UNKNOWN
    return value if isinstance(value, Const) and isinstance(value.value, str) else UNKNOWN


def _parent(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    value = _same_path(self, arguments, site)
    return _constant(posixpath.dirname(str(value.value))) if isinstance(value, Const) else UNKNOWN


_FILE_METHODS = frozenset(
    {"open", "read", "read_text", "resolve", "absolute", "expanduser", "as_posix"}
)


def path_method(path: Const, name: str, arguments: Arguments) -> Abstract | None:
    """A method of a path or an opened file; None when it is not one of those followed."""
    if name in _FILE_METHODS:
        return path
    if name == "joinpath" and isinstance(path.value, str):
        parts = [v.value for v in arguments.values() if isinstance(v, Const)]
        strings = [part for part in parts if isinstance(part, str)]
        if len(strings) == len(arguments.values()):
            return _constant(posixpath.join(path.value, *strings))
    return None


def path_attribute(path: str, name: str) -> Abstract | None:
    """``path.parent`` and ``path.parents``; None for other attributes."""
    if name == "parent":
        return _constant(posixpath.dirname(path))
    if name == "parents":
        return Seq("tuple", [_constant(str(folder)) for folder in Path(path).parents])
    return None


def composed_parameter(
    self: Walk, arguments: Arguments, function: Function
) -> tuple[str, Abstract] | None:
    """The first parameter of a function under ``@hydra.main(...)`` and its configuration."""
    parameters = function.node.args.args
    folder, name = arguments.get(0, "config_path"), arguments.get(1, "config_name")
    if not parameters or not isinstance(name, Const) or not isinstance(name.value, str):
        return None
    file = function.scope.module.file
    if folder is None or (isinstance(folder, Const) and folder.value is None):
        # the configuration is a class that was stored under that name
        return filled_parameter(self, function)
    if file is None or not isinstance(folder, Const) or not isinstance(folder.value, str):
        return None
    from convlint.program.hydra import compose

    site = Site(function.scope.module, parameters[0])
    base = Path(posixpath.normpath(file.parent / folder.value))
    folders = folders_of(self, site)
    if not base.is_relative_to(folders[-1]):
        return None
    entry = compose(
        name.value.removesuffix(".yaml"),
        lambda path: self.index.read_configuration(base / f"{path}.yaml"),
    )
    if entry is None:
        return None
    return parameters[0].arg, settings_of(self, entry, "", site, named=True)


def _instantiated(self: Walk, arguments: Arguments, site: Site) -> Abstract:
    """``hydra.utils.instantiate(cfg.optimizer, params=...)`` where ``_target_`` is of a library."""
    config = arguments.positional[0].value if arguments.positional else UNKNOWN
    settings = getattr(config, "attributes", {}) if is_namespace(config) else {}
    target = settings.get("_target_")
    if not isinstance(target, Const) or not str(target.value).startswith("torch."):
        return self.unresolved_call(arguments, site, "hydra.utils.instantiate")
    from convlint.program.domain import Argument

    keywords = {
        name: Argument(value, site) for name, value in settings.items() if name[:1] != "_"
    } | arguments.keywords
    deferred = settings.get("_partial_")
    given = Arguments(arguments.positional[1:], keywords, arguments.complete)
    callee = Library(canonical(str(target.value)))
    if isinstance(deferred, Const) and deferred.value is True:
        return Partial(callee, given)
    return self.apply(callee, given, site, Scope({}, site.module))


SETTINGS_FILE_HANDLERS: dict[str, Callable[[Any, Arguments, Site], Abstract]] = {
    **{
        name: _loaded(name, named=False)
        for name in (
            "json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.full_load",
            "yaml.unsafe_load", "tomllib.load", "tomllib.loads", "tomli.load", "toml.load",
        )
    },
    "omegaconf.OmegaConf.load": _loaded("omegaconf.OmegaConf.load", named=True),
    "hydra.utils.instantiate": _instantiated,
    "pathlib.Path": _path,
    "pathlib.PurePath": _path,
    "os.path.join": _path,
    "os.path.abspath": _same_path,
    "os.path.realpath": _same_path,
    "os.path.expanduser": _same_path,
    "os.path.normpath": _same_path,
    "os.path.dirname": _parent,
}  # fmt: skip
