"""Which file of the project an import means, by a few questions to the file system.

Paths are text here and every answer is kept: telling that a thousand files still mean what they
meant must not cost more than a moment.
"""

from __future__ import annotations

import os
import stat

ROOT_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
"""A directory that holds one of these is the outermost that imports are looked up from."""


class ProjectFiles:
    """What exists on the disk; each path is asked for once."""

    def __init__(self) -> None:
        self._listed: dict[str, frozenset[str]] = {}
        self._kinds: dict[str, int] = {}

    def know(self, directory: str, names: frozenset[str]) -> None:
        """Take ``names`` for all that is in ``directory``."""
        self._listed[directory] = names

    def names_in(self, directory: str) -> frozenset[str] | None:
        """All that is in ``directory``; None when that is not known."""
        return self._listed.get(directory)

    def may_hold(self, directory: str, name: str) -> bool:
        """Whether a module or a directory of this name can lie in ``directory``."""
        names = self._listed.get(directory)
        return names is None or name in names or f"{name}.py" in names

    def exists(self, path: str) -> bool:
        """Whether there is anything at the absolute ``path``."""
        return self._kind(path) != 0

    def is_file(self, path: str) -> bool:
        """Whether there is a file, or a link to one, at the absolute ``path``."""
        return stat.S_ISREG(self._kind(path))

    def _kind(self, path: str) -> int:
        kind = self._kinds.get(path)
        if kind is None:
            directory, _, name = path.rpartition(os.sep)
            names = self._listed.get(directory)
            kind = 0
            if names is None or name in names:
                try:
                    kind = os.stat(path).st_mode  # noqa: PTH116
                except (OSError, ValueError):
                    kind = 0
            self._kinds[path] = kind
        return kind


class ImportResolver:
    """Finds the files of imported modules; the importing file's own directory comes first."""

    def __init__(self, files: ProjectFiles | None = None) -> None:
        self.files = files or ProjectFiles()
        self._modules: dict[tuple[str, str], str | None] = {}
        self._found: dict[tuple[str, str, str | None], str | None] = {}
        self._roots: dict[str, bool] = {}
        self._above: dict[str, str] = {}
        self._names: dict[tuple[str, str | None], frozenset[str] | None] = {}

    def resolve(self, name: str, level: int, importer: str, root: str | None) -> str | None:
        """The absolute path of module ``name`` as imported by the file ``importer``.

        ``level`` counts leading dots. Nothing above ``root`` is looked at.
        """
        folder = self._parent(importer)
        if level:
            for _ in range(level - 1):
                folder = self._parent(folder)
            return self._module(folder, name)
        key = (folder, name, root)
        if key not in self._found:
            names = self._names_from(folder, root)
            top = name.partition(".")[0]
            absent = names is not None and top not in names and f"{top}.py" not in names
            self._found[key] = None if absent else self._search(folder, name, "", root)
        found = self._found[key]
        return self._search(folder, name, importer, root) if found == importer else found

    def names_around(self, importer: str, root: str | None) -> frozenset[str] | None:
        """Everything in the directories that the file's imports are looked up in; None when one
        of them is not known."""
        return self._names_from(self._parent(importer), root)

    def _search(self, folder: str, name: str, importer: str, root: str | None) -> str | None:
        top = name.partition(".")[0]
        while True:
            found = None
            if self.files.may_hold(folder, top):
                found = self._module(folder, name)
            if found is None and self.files.may_hold(folder, "src"):
                found = self._module(_join(folder, "src"), name)
            if found is not None and found != importer:
                return found
            above = self._parent(folder)
            if folder == root or self._is_root(folder) or above == folder:
                return None
            folder = above

    def _names_from(self, folder: str, root: str | None) -> frozenset[str] | None:
        """Everything in the directories that ``folder``'s imports are looked up in; None when one
        of them is not known."""
        key = (folder, root)
        if key not in self._names:
            places = [self.files.names_in(folder)]
            if places[0] is not None and "src" in places[0]:
                places.append(self.files.names_in(_join(folder, "src")))
            above = self._parent(folder)
            if folder != root and not self._is_root(folder) and above != folder:
                places.append(self._names_from(above, root))
            known = [names for names in places if names is not None]
            self._names[key] = frozenset[str]().union(*known) if len(known) == len(places) else None
        return self._names[key]

    def _parent(self, path: str) -> str:
        above = self._above.get(path)
        if above is None:
            above = self._above[path] = os.path.dirname(path)  # noqa: PTH120
        return above

    def _is_root(self, folder: str) -> bool:
        known = self._roots.get(folder)
        if known is None:
            known = any(self.files.exists(_join(folder, marker)) for marker in ROOT_MARKERS)
            self._roots[folder] = known
        return known

    def _module(self, base: str, name: str) -> str | None:
        key = (base, name)
        if key not in self._modules:
            self._modules[key] = self._look(base, name)
        return self._modules[key]

    def _look(self, base: str, name: str) -> str | None:
        target = base
        for part in filter(None, name.split(".")):
            target = _join(target, part)
        if not name or self.files.exists(target):
            package = _join(target, "__init__.py")
            if self.files.is_file(package):
                return package
        module = f"{target}.py"
        return module if name and self.files.is_file(module) else None


def _join(folder: str, name: str) -> str:
    return f"{folder}{name}" if folder.endswith(os.sep) else f"{folder}{os.sep}{name}"
