"""Rules that come from elsewhere: installed packages, and folders the configuration names.

An installed package offers rules through the entry-point group ``convlint.rules``; a project names
files and folders of its own under ``rules`` in its configuration. Either way a rule is a subclass
of ``convlint.rules.Rule`` with a code and a slug nobody else has. Loading them runs their code.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import types
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlint.errors import UserError
from convlint.findings import Severity
from convlint.lazy_regex import lazy_regex
from convlint.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

GROUP = "convlint.rules"
"""The entry-point group an installed package offers its rules through."""

OURS = "convlint"
"""The origin of the rules convlint itself ships."""

_CODE = lazy_regex(r"[A-Z]{3}[0-9]{3}")
_SLUG = lazy_regex(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+")
_NO_RULE_FILE = lazy_regex(r"test_.*|.*_test|conftest|setup")

_by_file: dict[str, tuple[Rule, ...]] = {}
"""The rules of each file a configuration stands for, by its real path."""

_origins: dict[type[Rule], str] = {}
"""Where each rule that is not our own was found."""


def installed_rules() -> tuple[Rule, ...]:
    """The rules of every installed package that offers some.

    Raises:
        UserError: a package's rules cannot be loaded.
    """
    if not any(_offers_rules(info) for info in _installed_metadata()):
        return ()
    from importlib.metadata import entry_points

    rules: list[Rule] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        said = f"{point.dist.name if point.dist else point.name} (entry point {point.name})"
        loaded = _loading(point.load, said)
        if isinstance(loaded, type) and issubclass(loaded, Rule):
            classes: list[type[Rule]] = [loaded]
        elif isinstance(loaded, types.ModuleType):
            classes = [cls for module in _with_submodules(loaded, said) for cls in _classes(module)]
        else:
            raise UserError(f"{point.value} is neither a module nor a rule", path=said)
        rules += _instances(classes, said)
    return tuple(rules)


def rules_in_files(paths: Iterable[str], root: Path, said_in: str) -> tuple[Rule, ...]:
    """The rules in the files and folders ``paths`` of a configuration, relative to ``root``.

    ``said_in`` is the configuration file, for messages.

    Raises:
        UserError: a path does not exist, holds no rule, or its code fails.
    """
    rules: list[Rule] = []
    for name in paths:
        place = root / name
        if not place.exists():
            raise UserError(f"rules: no such file or directory: {name}", path=said_in)
        folder = place if place.is_dir() else place.parent
        found = [rule for file in rule_files(place) for rule in _rules_in(file, folder)]
        if not found:
            raise UserError(
                f"rules: {name} holds no rule (a subclass of convlint.rules.Rule with a code)",
                path=said_in,
            )
        rules += found
    return tuple(rules)


def rules_of_projects() -> tuple[Rule, ...]:
    """The rules loaded so far from files that configurations name."""
    return tuple(rule for rules in _by_file.values() for rule in rules)


def files_of_projects() -> tuple[str, ...]:
    """The files, by their real paths, that those rules were loaded from."""
    return tuple(_by_file)


def rule_files(place: Path) -> Iterator[Path]:
    """The modules a file or folder of rules stands for, in a stable order; tests are left out."""
    if not place.is_dir():
        yield place
        return
    for file in sorted(place.rglob("*.py")):
        hidden = any(part.startswith(".") for part in file.relative_to(place).parts)
        if not hidden and _NO_RULE_FILE.fullmatch(file.stem) is None:
            yield file


def joined(rules: tuple[Rule, ...], more: Iterable[Rule]) -> tuple[Rule, ...]:
    """``rules`` and ``more`` by code.

    Raises:
        UserError: a code or a slug of ``more`` is taken.
    """
    taken = {name: rule for rule in rules for name in (rule.code, rule.slug)}
    added = []
    for rule in more:
        for what, name in (("code", rule.code), ("slug", rule.slug)):
            other = taken.get(name)
            if other is not None:
                raise UserError(
                    f"{type(rule).__name__} has the {what} {name} of"
                    f" {type(other).__name__} ({origin(other)}); give it one of its own",
                    path=origin(rule),
                )
        taken |= {rule.code: rule, rule.slug: rule}
        added.append(rule)
    return tuple(sorted((*rules, *added), key=lambda rule: rule.code)) if added else rules


def origin(rule: Rule) -> str:
    """Where the rule comes from: a file, an installed package, or ``OURS``."""
    return _origins.get(type(rule), OURS)


def fingerprint(paths: Iterable[str] = (), root: Path = Path()) -> str:
    """Changes whenever the code of an installed rule, or of one in ``paths``, changes.

    Nothing is imported. Empty when there is no rule but our own.
    """
    files: list[Path] = []
    for info in _installed_metadata():
        if _offers_rules(info):
            files += _files_of_installed(info)
    for name in paths:
        place = root / name
        files += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    if not files:
        return ""
    from hashlib import blake2b

    digest = blake2b(digest_size=16)
    for file in files:
        with contextlib.suppress(OSError):
            digest.update(os.fsencode(file) + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _installed_metadata() -> Iterator[str]:
    """The metadata folders of installed packages.

    ``importlib.metadata`` says the same, at 50 ms for its import alone; this takes one.
    """
    for directory in dict.fromkeys(sys.path):
        try:
            with os.scandir(directory or ".") as entries:
                names = [
                    entry.path
                    for entry in entries
                    if entry.name.endswith((".dist-info", ".egg-info"))
                ]
        except OSError:
            continue
        yield from names


def _offers_rules(metadata: str) -> bool:
    try:
        with open(os.path.join(metadata, "entry_points.txt"), "rb") as file:  # noqa: PTH118, PTH123
            return f"[{GROUP}]".encode() in file.read()
    except OSError:
        return False


def _files_of_installed(metadata: str) -> Iterator[Path]:
    """The entry points' declaration and every file of the top-level modules they name."""
    import configparser
    from importlib.util import find_spec

    declared = Path(metadata, "entry_points.txt")
    yield declared
    reader = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
        reader.read(declared, encoding="utf-8")
    for value in reader[GROUP].values() if reader.has_section(GROUP) else ():
        spec = None
        with contextlib.suppress(ImportError, ValueError):
            spec = find_spec(value.partition(":")[0].partition(".")[0].strip())
        if spec is None:
            continue
        for folder in spec.submodule_search_locations or ():
            yield from sorted(Path(folder).rglob("*.py"))
        if spec.origin is not None and not spec.submodule_search_locations:
            yield Path(spec.origin)


def _rules_in(file: Path, folder: Path) -> tuple[Rule, ...]:
    real = os.path.realpath(file)
    if real not in _by_file:
        parts = file.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        name = ".".join((_package(folder), *parts))
        module = _loading(partial(importlib.import_module, name), str(file))
        _by_file[real] = tuple(_instances(_classes(module), str(file)))
    return _by_file[real]


def _package(folder: Path) -> str:
    """The name of a package whose modules are the files of ``folder``, made when there is none.

    Files of one folder may so import each other (``from .shared import ...``) without a name
    that could hide a module of the project.
    """
    from hashlib import blake2b

    real = os.path.realpath(folder)
    name = f"convlint_rules_{blake2b(os.fsencode(real), digest_size=6).hexdigest()}"
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [real]
        sys.modules[name] = package
        importlib.invalidate_caches()
    return name


def _with_submodules(module: types.ModuleType, said: str) -> Iterator[types.ModuleType]:
    yield module
    import pkgutil

    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
        if _NO_RULE_FILE.fullmatch(found.name.rpartition(".")[2]) is None:
            yield _loading(partial(importlib.import_module, found.name), said)


def _loading(load: Callable[[], Any], said: str) -> Any:
    """What ``load`` gives; what goes wrong becomes one line with the place in the user's code."""
    try:
        # Whatever the code prints must stay out of our own output.
        with contextlib.redirect_stdout(sys.stderr):
            return load()
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:
        raise UserError(
            f"cannot load rules: {error.msg}",
            path=error.filename or said,
            line=error.lineno,
            column=error.offset,
        ) from None
    except BaseException as error:
        path, line = said, None
        import traceback

        for frame in traceback.extract_tb(error.__traceback__):
            if os.path.realpath(frame.filename) == os.path.realpath(said):
                path, line = frame.filename, frame.lineno
        raise UserError(
            f"cannot load rules: {type(error).__name__}: {error}", path=path, line=line
        ) from None


def _classes(module: types.ModuleType) -> list[type[Rule]]:
    """The rules a module defines: those with a code of their own, imported ones left aside."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Rule)
        and value.__module__ == module.__name__
        and "code" in vars(value)
    ]


def _instances(classes: Iterable[type[Rule]], said: str) -> list[Rule]:
    rules = []
    for cls in classes:
        fault = _fault(cls)
        if fault:
            raise UserError(f"rule {cls.__name__}: {fault}", path=said)
        _origins[cls] = said
        try:
            rules.append(cls())
        except Exception as error:
            raise UserError(
                f"rule {cls.__name__}: cannot be made: {type(error).__name__}: {error}", path=said
            ) from None
    return rules


def _fault(cls: type[Rule]) -> str:
    """What is wrong with the declaration of a rule; empty when nothing is."""
    code, slug = getattr(cls, "code", None), getattr(cls, "slug", None)
    if not isinstance(code, str) or _CODE.fullmatch(code) is None:
        return f"code must be three capital letters and three digits, not {code!r}"
    if not isinstance(slug, str) or _SLUG.fullmatch(slug) is None:
        return f"slug must be lower-case words joined by hyphens, not {slug!r}"
    if not isinstance(getattr(cls, "severity", None), Severity):
        return "severity must be one of convlint.findings.Severity"
    if not (cls.has_static() or cls.has_measured() or cls.has_logged()):
        return "it overrides none of static, measured and logged"
    if not (cls.__doc__ or "").strip():
        return "it has no docstring, which is what `convlint rule` shows"
    return ""
