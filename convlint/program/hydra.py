"""Composes the configuration that ``hydra.main`` gives to a function, from the YAML files on disk.

See https://hydra.cc/docs/advanced/defaults_list/. Followed are lists of defaults with groups,
``override``, ``_self_`` and packages, and interpolations of other values; what is chosen on the
command line is not known, so the defaults stand.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from convlint.lazy_regex import lazy_regex
from convlint.program.configuration_files import Configuration, Entry, Leaf

Read = Callable[[str], Configuration | None]
"""Gives the file of a path relative to the folder of the configuration, without its suffix."""

_DEEPEST = 8
"""Files nested in lists of defaults; recursion in them would not end."""

_PACKAGE = lazy_regex(r"#\s*@package\s+(\S+)")
_INTERPOLATION = lazy_regex(r"^\$\{([\w.]+)\}$")
_DEFAULT = lazy_regex(r"^(?:override\s+)?(?:optional\s+)?/?([\w/.\-]+?)(?:@([\w.]*))?$")


class Placed(Leaf, frozen=True):
    """A value with the file it is written in."""

    path: str = ""


def compose(name: str, read: Read) -> Entry | None:
    """The configuration called ``name``; None when its file cannot be read."""
    primary = read(name)
    if primary is None:
        return None
    overrides: dict[str, str] = {}
    result = _composed(primary, "", read, overrides, 0)
    return _interpolated(result, result, 0)


def _composed(
    part: Configuration, group: str, read: Read, overrides: dict[str, str], depth: int
) -> dict[str, Entry]:
    content = part.content if isinstance(part.content, dict) else {}
    own = {key: _placed(value, part.path) for key, value in content.items() if key != "defaults"}
    defaults = content.get("defaults")
    if not isinstance(defaults, list) or depth > _DEEPEST:
        return own
    steps = [step for step in map(_step, defaults) if step is not None]
    for override, key, chosen, _ in steps:
        if override and chosen is not None:
            overrides.setdefault(key, chosen)
    result: dict[str, Entry] = {}
    merged_own = False
    for override, key, chosen, package in steps:
        if override:
            continue
        if key == "_self_":
            _merge(result, own)
            merged_own = True
            continue
        below = f"{group}/{key}".strip("/")
        option = overrides.get(key, overrides.get(below, chosen))
        if key.startswith("hydra") or option == "":
            continue
        found = read(below if chosen is None else f"{below}/{option}")
        if found is None:
            continue
        inner = below if chosen is not None else group
        composed = _composed(found, inner, read, overrides, depth + 1)
        header = _PACKAGE.search(found.head)
        if package is None and header is not None:
            package = "" if header[1] == "_global_" else header[1].replace("_group_", inner)
        if package is None:
            package = key.replace("/", ".") if chosen is not None else ""
        _merge(result, _under(package.replace("_global_", ""), composed))
    if not merged_own:
        _merge(result, own)
    return result


def _step(entry: Entry) -> tuple[bool, str, str | None, str | None] | None:
    """One line of a list of defaults: whether it overrides, the group (or the file), the option in
    the group (None for a file), and the package it is put under when that is said."""
    if isinstance(entry, Leaf):
        if not isinstance(entry.value, str):
            return None
        name, _, package = entry.value.partition("@")
        return False, name.removesuffix(".yaml"), None, package or None
    if not isinstance(entry, dict) or len(entry) != 1:
        return None
    (key, option), *_ = entry.items()
    matched = _DEFAULT.match(key)
    if matched is None or not isinstance(option, Leaf):
        return None
    chosen = option.value.removesuffix(".yaml") if isinstance(option.value, str) else ""
    return key.startswith("override "), matched[1], chosen, matched[2]


def _under(package: str, content: dict[str, Entry]) -> dict[str, Entry]:
    for name in reversed([part for part in package.split(".") if part]):
        content = {name: content}
    return content


def _placed(entry: Entry, path: str) -> Entry:
    if isinstance(entry, dict):
        return {key: _placed(value, path) for key, value in entry.items()}
    if isinstance(entry, list):
        return [_placed(item, path) for item in entry]
    return Placed(entry.value, entry.line, entry.column, entry.end_column, entry.known, path)


def _merge(target: dict[str, Entry], source: dict[str, Entry]) -> None:
    for key, value in source.items():
        below = target.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            joined = dict(below)
            _merge(joined, value)
            target[key] = joined
        else:
            target[key] = value


def _interpolated(entry: Entry, root: Entry, depth: int) -> Entry:
    """``entry`` with ``${a.b}`` replaced by that value; other interpolations are not known."""
    if isinstance(entry, dict):
        return {key: _interpolated(value, root, depth) for key, value in entry.items()}
    if isinstance(entry, list):
        return [_interpolated(item, root, depth) for item in entry]
    if not isinstance(entry.value, str) or "${" not in entry.value:
        return entry
    matched = _INTERPOLATION.match(entry.value)
    value: Entry | None = root
    for name in matched[1].split(".") if matched is not None else ():
        value = value.get(name) if isinstance(value, dict) else None
    if matched is None or value is None or depth > _DEEPEST:
        return replace(entry, value=None, known=False)
    return _interpolated(value, root, depth + 1)
