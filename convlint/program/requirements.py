"""Which versions of torch the project's files ask for.

Read are inline script metadata (PEP 723), ``requirements.txt``, ``environment.yml``,
``pyproject.toml`` and ``setup.cfg`` beside the script and in the folders above it that belong to the
project.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convlint.findings import Location
from convlint.lazy_regex import lazy_regex
from convlint.program.configuration_files import Leaf
from convlint.program.domain import Site
from convlint.program.facts import Requirement
from convlint.program.settings_files import folders_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convlint.program.index import SourceModule
    from convlint.program.walk import Walk

Clauses = tuple[tuple[str, str], ...]

_TEXTS = ("requirements.txt", "setup.cfg")
_ENVIRONMENTS = ("environment.yml", "environment.yaml")

_NAMED = lazy_regex(r"(?:[\w.-]+::)?(?:py)?torch(?:\[[^\]]*\])?(?![\w.-])\s*(.*)$")
_IN_LINE = lazy_regex(r"(?:^|[\"'\s=])(torch(?![\w./-])[^\"';]*)(;?)")
_CLAUSE = lazy_regex(r"(===|==|~=|<=|>=|!=|<|>)\s*v?(\d+(?:\.\d+)*(?:\.\*)?)(?:[+\w.-]*)$")
_CONDA = lazy_regex(r"=?\s*(\d+(?:\.\d+)*)(?:\.\*)?(?:=[\w.*]+)?$")
"""``pytorch=1.7``, ``pytorch=1.7.1=py3.8_cuda11`` and ``pytorch 1.7.1``: any version so begun."""
_POETRY = lazy_regex(r"([~^]?)(\d+(?:\.\d+)*)$")
_INLINE = lazy_regex(r"^# /// script$(.*?)^# ///$", re.MULTILINE | re.DOTALL)


def requirements(walk: Walk, module: SourceModule) -> Iterator[Requirement]:
    """Every line that asks for torch, of the script itself or of the project's files."""
    if block := _INLINE.search(module.source):
        first = module.source.count("\n", 0, block.start())
        lines = [line.removeprefix("#") for line in block[0].splitlines()]
        yield from _in_lines(lines, module.path, first, 1)
    for folder in folders_of(walk, Site(module, module.tree)):
        for name in _TEXTS:
            text = walk.index.read_text(folder / name)
            if text is not None:
                yield from _in_lines(text.splitlines(), walk.index.shown(folder / name))
        for name in _ENVIRONMENTS:
            environment = walk.index.read_configuration(folder / name)
            if environment is not None:
                yield from _listed(_below(environment.content, "dependencies"), environment.path)
        project = walk.index.read_configuration(folder / "pyproject.toml")
        if project is not None:
            yield from _listed(_below(project.content, "project", "dependencies"), project.path)
            asked = _below(project.content, "tool", "poetry", "dependencies", "torch")
            asked = _below(asked, "version") if isinstance(asked, dict) else asked
            if isinstance(asked, Leaf):
                yield _requirement(_of_poetry(str(asked.value)), project.path, asked)


def _in_lines(
    lines: list[str], path: str, before: int = 0, indent: int = 0
) -> Iterator[Requirement]:
    """Lines of text with ``torch==1.8.1`` or ``dependencies = ["numpy", "torch<1.9"]``."""
    for number, line in enumerate(lines, before + 1):
        for entry in _IN_LINE.finditer(line.partition("#")[0]):
            clauses = None if entry[2] else clauses_of(entry[1])
            start = entry.start(1) + indent + 1
            place = Location(path, number, start, number, start + len(entry[1].rstrip()))
            yield Requirement("torch", clauses, place)


def _listed(entries: object, path: str) -> Iterator[Requirement]:
    """The elements of a list that name torch; those under ``pip:`` of a conda environment too."""
    if not isinstance(entries, list):
        return
    for entry in entries:
        if isinstance(entry, dict):
            yield from _listed(entry.get("pip"), path)
        elif isinstance(entry, Leaf) and isinstance(entry.value, str) and _NAMED.match(entry.value):
            yield _requirement(clauses_of(entry.value), path, entry)


def _requirement(clauses: Clauses | None, path: str, leaf: Leaf) -> Requirement:
    place = Location(path, leaf.line or 1, leaf.column or 1, leaf.line or 1, leaf.end_column or 1)
    return Requirement("torch", clauses, place)


def clauses_of(written: str) -> Clauses | None:
    """``torch>=1.7,<1.9`` as ``((">=", "1.7"), ("<", "1.9"))``; None where it is not understood."""
    named = _NAMED.match(written.strip())
    if named is None:
        return None
    asked = named[1].strip()
    if conda := _CONDA.match(asked):
        return (("==", f"{conda[1]}.*"),)
    clauses = [_CLAUSE.match(part.strip()) for part in asked.split(",")] if asked else []
    if None in clauses:
        return None
    return tuple((clause[1], clause[2]) for clause in clauses if clause is not None)


def _of_poetry(written: str) -> Clauses | None:
    simple = _POETRY.match(written.strip())
    if simple is None:
        return clauses_of(f"torch{written}")
    sign, version = simple[1], simple[2]
    parts = version.split(".")
    if sign == "^":
        return ((">=", version), ("==", f"{parts[0]}.*"))
    if sign == "~":
        return ((">=", version), ("==", ".".join(parts[:2]) + ".*"))
    return (("==", version),)


def _below(entry: object, *keys: str) -> object:
    for key in keys:
        entry = entry.get(key) if isinstance(entry, dict) else None
    return entry
