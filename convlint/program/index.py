"""The project around a file: which of its imports are files of the same project."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from convlint.program.imports import ImportResolver
from convlint.program.libraries.kinds import ML_ROOTS
from convlint.program.parsing import SourceSyntaxError, parse
from convlint.program.positions import Positions
from convlint.program.syntax import NodesByClass

if TYPE_CHECKING:
    import ast
    from collections.abc import Mapping

    from convlint.program.configuration_files import Configuration

_LARGEST_IMPORTED_FILE = 400_000
"""Bytes; larger modules (generated tables) are not looked into."""

_MOST_CHARACTERS_KEPT = 1_000_000
"""Source text whose trees are kept in case another file imports it; a tree takes some
40 bytes for each character."""


_STANDARD_LIBRARY = str(Path(os.__file__).parent) + os.sep
"""Its modules do not train, and following them takes seconds for a file that stands among them."""

_INSTALLED = os.sep + "site-packages" + os.sep


class SourceModule:
    """One parsed file of the project. ``path`` is how the user named it."""

    def __init__(self, path: str, tree: ast.Module, file: Path | None, source: str) -> None:
        self.path = path
        self.tree = tree
        self.file = file
        self.source = source
        self.positions = Positions(source, path)
        self.is_package = file is not None and file.name == "__init__.py"

    @cached_property
    def nodes(self) -> NodesByClass:
        """The nodes of its tree."""
        return NodesByClass(self.tree)

    @property
    def name(self) -> str:
        """The module's short name, used to qualify its classes and functions."""
        if self.file is None:
            return Path(self.path).stem
        return self.file.parent.name if self.is_package else self.file.stem


class ProjectIndex:
    """Finds and parses the project's modules; a parse is shared by all files of a run."""

    def __init__(self, replaced: Mapping[Path, bytes] = MappingProxyType({})) -> None:
        """``replaced`` has bytes that stand for those of files on the disk."""
        self._replaced = replaced
        self._modules: OrderedDict[Path, SourceModule | None] = OrderedDict()
        self._imports = ImportResolver()
        self._configurations: dict[Path, Configuration | None] = {}
        self._trees: OrderedDict[str, ast.Module] = OrderedDict()
        self._characters = 0

    def parse(self, source: str, path: str) -> ast.Module:
        """Parse a file, or take the tree that the same text gave a while ago.

        A file is often imported by those checked before and after it. Raises SourceSyntaxError.
        """
        tree = self._trees.pop(source, None)
        if tree is None:
            tree = parse(source, path)
            self._characters += len(source)
        self._trees[source] = tree
        while self._characters > _MOST_CHARACTERS_KEPT and len(self._trees) > 1:
            dropped, _ = self._trees.popitem(last=False)
            self._characters -= len(dropped)
        return tree

    def load(self, file: Path) -> SourceModule | None:
        """The parsed module, or None when it cannot be read or parsed."""
        if file not in self._modules:
            self._modules[file] = self._read(file)
        self._modules.move_to_end(file)
        return self._modules[file]

    def forget_old(self) -> None:
        """Let go of the modules that were not imported for the longest time, when they are many.

        To be called between programs: while one is followed, a module stays the same object.
        """
        characters = 0
        for file, module in reversed(list(self._modules.items())):
            characters += len(module.source) if module is not None else 0
            if characters > _MOST_CHARACTERS_KEPT:
                del self._modules[file]

    def _read(self, file: Path) -> SourceModule | None:
        try:
            if file.stat().st_size > _LARGEST_IMPORTED_FILE:
                return None
            replaced = self._replaced.get(file.resolve()) if self._replaced else None
            data = file.read_bytes() if replaced is None else replaced
            source = data.decode("utf-8-sig")
            return SourceModule(_display(file), self.parse(source, str(file)), file, source)
        except (OSError, UnicodeDecodeError, SourceSyntaxError):
            return None

    def read_configuration(self, file: Path) -> Configuration | None:
        """The YAML, JSON or TOML file at an absolute path; None when it cannot be read."""
        if file not in self._configurations:
            self._configurations[file] = self._parse_configuration(file)
        return self._configurations[file]

    def _parse_configuration(self, file: Path) -> Configuration | None:
        from convlint.program.configuration_files import LARGEST_CONFIGURATION, read_configuration

        try:
            if file.stat().st_size > LARGEST_CONFIGURATION:
                return None
            return read_configuration(file.read_bytes(), file, _display(file))
        except OSError:
            return None

    def read_text(self, file: Path) -> str | None:
        """The text of a small file at an absolute path; None when it cannot be read."""
        from convlint.program.configuration_files import LARGEST_CONFIGURATION

        try:
            if file.stat().st_size > LARGEST_CONFIGURATION:
                return None
            return file.read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            return None

    def shown(self, file: Path) -> str:
        """The path of a file as messages show it."""
        return _display(file)

    def resolve(self, name: str, level: int, importer: Path, root: Path | None) -> Path | None:
        """The file of module ``name`` as imported (``level`` leading dots) by ``importer``."""
        if not level and name.partition(".")[0] in ML_ROOTS:
            return None
        found = self._imports.resolve(name, level, str(importer), str(root) if root else None)
        if found is None or (found.startswith(_STANDARD_LIBRARY) and _INSTALLED not in found):
            return None
        return Path(found)


def _display(file: Path) -> str:
    """The path relative to the working directory when it lies below it."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
