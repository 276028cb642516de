"""The settings that hold for a path, for readers and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.report.text import FAINT, STRONG, Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.settings import Settings

_NEVER_SHOWN = frozenset({"extend"})
"""Said of one file alone; the files it led to are listed."""


def settings_lines(settings: Settings, path: str) -> Iterator[Line]:
    """TOML that would say the same in a ``convlint.toml``, with the origin of every value."""
    yield ((f"# What holds for {path}", STRONG),)
    for file in settings.files:
        yield ((f"# read: {file}", FAINT),)
    if not settings.files:
        yield (("# no configuration file was found or read", FAINT),)
    chosen = len(settings.selection.cards)
    yield ((f"# rules that run: {chosen} of {len(settings.catalogue)}", FAINT),)
    for key, setting in settings.held().items():
        if key in _NEVER_SHOWN:
            continue
        origin = f"  # {setting.origin}"
        if setting.value is None:
            yield ((f"# {key} is not set", FAINT),)
        else:
            yield ((f"{key} = {_toml(setting.value)}", ""), (origin, FAINT))


def settings_json(settings: Settings, path: str) -> bytes:
    """An object: ``path``, ``files`` (read, the nearest last), ``rules`` (slugs of those that
    run) and ``settings`` (key to ``value`` and ``origin``)."""
    output = {
        "path": path,
        "files": settings.files,
        "rules": [rule.slug for rule in settings.selection.cards],
        "settings": {
            key: setting for key, setting in settings.held().items() if key not in _NEVER_SHOWN
        },
    }
    return msgspec.json.format(msgspec.json.encode(output), indent=2) + b"\n"


def _toml(value: Any) -> str:
    """``value`` as TOML on one line."""
    if isinstance(value, dict):
        pairs = (f"{_key(name)} = {_toml(entry)}" for name, entry in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool) or not isinstance(value, str):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _toml(name)
