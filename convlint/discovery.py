"""Which files to check.

A file named on the command line is always taken, unless exclusion is forced. A directory is
walked: what the configuration excludes is left out, and so is what Git ignores (``.gitignore`` of
every level and ``.git/info/exclude``).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from convlint.errors import UserError
from convlint.patterns import Patterns, compiled
from convlint.sources import display_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pathspec import GitIgnoreSpec

DEFAULT_EXCLUDE = (
    ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg", ".ipynb_checkpoints",
    ".mypy_cache", ".nox", ".pyenv", ".pytest_cache", ".pytype", ".ruff_cache", ".svn", ".tox",
    ".venv", ".vscode", "__pycache__", "__pypackages__", "_build", "build", "dist",
    "node_modules", "site-packages", "venv", "*.egg-info",
)  # fmt: skip
"""What a walk leaves out unless ``exclude`` says otherwise: directories that never hold the
user's own code. A directory with a ``pyvenv.cfg`` is a virtual environment and always left out."""

ENDINGS = (".py", ".ipynb")
"""Of the files a walk takes."""


Verdicts = dict[str, dict[str, bool | None]]
"""For the text of a file of Git's patterns, what it says of the paths it was asked about: that they
are ignored, that they are not, or nothing."""


class FoundFile(NamedTuple):
    """A file to check: its ``path`` as it was reached, and as it is ``shown`` to a reader."""

    path: str
    shown: str
    status: os.stat_result

    @property
    def name(self) -> str:
        """Without directories."""
        return os.path.basename(self.path)  # noqa: PTH119

    @property
    def identity(self) -> object:
        """The same for two ways to one file; resolving every path would cost more than the walk."""
        if self.status.st_ino and self.status.st_nlink == 1:
            return (self.status.st_dev, self.status.st_ino)
        return os.path.realpath(self.path)


class Exclusion(Protocol):
    """What holds for the files of one directory."""

    @property
    def respect_gitignore(self) -> bool:
        """Whether what Git ignores is left out."""

    @property
    def force_exclude(self) -> bool:
        """Whether files named outright are left out as well."""

    def excludes(self, path: Path) -> bool:
        """Whether this file or directory, or one it lies in, is left out."""

    def excludes_entry(self, path: str, name: str, *, directory: bool) -> bool:
        """Whether the file or directory ``name``, met at ``path`` on a walk, is left out."""


class DefaultExclusion:
    """What is left out where nothing is configured."""

    respect_gitignore = True
    force_exclude = False

    def __init__(self) -> None:
        self._patterns = Patterns(DEFAULT_EXCLUDE, ".")

    def excludes(self, path: Path) -> bool:
        """Whether a name of the path below the working directory is on the list."""
        return self._patterns.match(path)

    def excludes_entry(self, path: str, name: str, *, directory: bool) -> bool:
        """Whether ``name`` is on the list."""
        return self._patterns.match_entry(path, name, directory=directory)


_DEFAULT = DefaultExclusion()


def find_files(
    paths: Iterable[str | Path],
    *,
    exclusion_of: Callable[[Path], Exclusion] = lambda directory: _DEFAULT,
    on_problem: Callable[[UserError], None],
    on_nothing: Callable[[str], None] = lambda path: None,
    on_listing: Callable[[str, frozenset[str]], None] = lambda directory, names: None,
    verdicts: Verdicts | None = None,
) -> Iterator[FoundFile]:
    """The Python files ``paths`` stand for, each once, in a stable order.

    ``exclusion_of`` gives what holds in a directory. Paths that cannot be read go to
    ``on_problem`` and the rest goes on; directories in which nothing is found to ``on_nothing``.
    ``on_listing`` hears the absolute path of every directory that is walked and the names in it.
    ``verdicts`` has what is known of Git's verdicts, and takes what is found out.
    """
    seen: set[object] = set()
    walk = _Walk(exclusion_of, on_problem, on_listing, {} if verdicts is None else verdicts)
    for name in paths:
        if not str(name):
            on_problem(UserError("a path is empty"))
            continue
        path = Path(name)
        found: Iterable[FoundFile]
        if path.is_dir():
            exclusion = exclusion_of(path)
            if exclusion.force_exclude and exclusion_of(path.parent).excludes(path):
                continue
            found = walk.files(path)
        elif not path.exists():
            what = (
                "a symbolic link that leads nowhere"
                if path.is_symlink()
                else "no such file or directory"
            )
            on_problem(UserError(what, path=str(path)))
            continue
        else:
            exclusion = exclusion_of(path.parent)
            if exclusion.force_exclude and (
                exclusion.excludes(path) or (exclusion.respect_gitignore and _git_ignores(path))
            ):
                continue
            found = (FoundFile(str(path), display_path(path), path.stat()),)
        anything = False
        for file in found:
            anything = True
            key = file.identity
            if key not in seen:
                seen.add(key)
                yield file
        if not anything:
            on_nothing(str(name))


class _Walk:
    """Paths are text here: a walk meets thousands."""

    def __init__(
        self,
        exclusion_of: Callable[[Path], Exclusion],
        on_problem: Callable[[UserError], None],
        on_listing: Callable[[str, frozenset[str]], None],
        verdicts: Verdicts,
    ) -> None:
        self._exclusion_of = exclusion_of
        self._on_problem = on_problem
        self._on_listing = on_listing
        self._verdicts = verdicts

    def files(self, top: Path) -> Iterator[FoundFile]:
        """The files below the directory ``top``."""
        respected = self._exclusion_of(top).respect_gitignore
        around = _ignore_files_above(top, self._verdicts) if respected else ()
        absolute = os.path.abspath(top)  # noqa: PTH100
        shown = display_path(top)
        here = absolute == os.getcwd()  # noqa: PTH109
        yield from self._below(
            "" if str(top) == os.curdir else os.path.join(top, ""),  # noqa: PTH118
            os.path.join(absolute, ""),  # noqa: PTH118
            "" if here else os.path.join(shown, ""),  # noqa: PTH118
            around,
        )

    def _below(
        self, prefix: str, absolute: str, shown: str, ignores: tuple[_IgnoreFile, ...]
    ) -> Iterator[FoundFile]:
        """The three names of the directory end with a separator."""
        try:
            with os.scandir(prefix or os.curdir) as listing:
                entries = sorted(listing, key=_name)
        except OSError as error:
            where = display_path(Path(absolute))
            self._on_problem(UserError(f"cannot read: {error.strerror or error}", path=where))
            return
        directory = Path(absolute)
        names = frozenset(map(_name, entries))
        self._on_listing(str(directory), names)
        exclusion = self._exclusion_of(directory)
        if not exclusion.respect_gitignore:
            ignores = ()
        else:
            if ".git" in names:
                ignores = (*ignores, *_repository_excludes(directory, self._verdicts))
            if ".gitignore" in names:
                file = directory / ".gitignore"
                ignores = (*ignores, *_read_ignore_file(file, directory, self._verdicts))
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                path = absolute + name
                if (
                    exclusion.excludes_entry(path, name, directory=True)
                    or os.path.exists(f"{path}{os.sep}pyvenv.cfg")  # noqa: PTH110
                    or _ignored(path, ignores, directory=True)
                ):
                    continue
                yield from self._below(
                    f"{prefix}{name}{os.sep}", f"{path}{os.sep}", f"{shown}{name}{os.sep}", ignores
                )
            elif name.endswith(ENDINGS):
                status = _regular(entry)
                if (
                    status is not None
                    and not exclusion.excludes_entry(absolute + name, name, directory=False)
                    and not _ignored(absolute + name, ignores)
                ):
                    yield FoundFile(prefix + name, shown + name, status)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _regular(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What is known of a file or a link to one; None for anything else, such as a link loop."""
    try:
        status = entry.stat()
        if not status.st_ino:  # Windows leaves it out of a listing
            status = os.stat(entry.path)  # noqa: PTH116
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


class _IgnoreFile:
    """One file of Git's patterns, and the directory they are relative to.

    ``verdicts`` is what is known of it already. Loading pathspec and compiling the patterns takes
    longer than walking over a thousand files.
    """

    def __init__(self, root: str, lines: list[str], verdicts: dict[str, bool | None]) -> None:
        self.root = root
        self.prefix = root if root.endswith(os.sep) else root + os.sep
        self._lines = lines
        self._spec: GitIgnoreSpec | None = None
        self._verdicts = verdicts

    def verdict(self, absolute: str, *, directory: bool) -> bool | None:
        """Whether it ignores or takes back; None when it does not speak of ``absolute``."""
        if not absolute.startswith(self.prefix):
            return None
        relative = absolute[len(self.prefix) :]
        asked = relative + "/" if directory else relative
        if asked not in self._verdicts:
            if self._spec is None:
                # Git passes over lines that are no pattern.
                self._spec = compiled(self._lines, lambda line: None)
            self._verdicts[asked] = self._spec.check_file(asked.replace(os.sep, "/")).include
        return self._verdicts[asked]


def _ignored(absolute: str, ignores: tuple[_IgnoreFile, ...], *, directory: bool = False) -> bool:
    """Whether Git would ignore this path: the nearest file that speaks of it decides."""
    for ignore in reversed(ignores):
        verdict = ignore.verdict(absolute, directory=directory)
        if verdict is not None:
            return verdict
    return False


def _git_ignores(file: Path) -> bool:
    """Whether Git would ignore ``file`` or a directory it lies in."""
    absolute = Path(os.path.abspath(file))  # noqa: PTH100
    around: tuple[_IgnoreFile, ...] = ()
    chain = [*reversed(absolute.parents)]
    repository = next((d for d in reversed(chain) if (d / ".git").exists()), None)
    if repository is None:
        return False
    for directory in chain[chain.index(repository) :]:
        if directory != repository and _ignored(str(directory), around, directory=True):
            return True
        if directory == repository:
            around += _repository_excludes(directory, {})
        around += _read_ignore_file(directory / ".gitignore", directory, {})
    return _ignored(str(absolute), around)


def _read_ignore_file(file: Path, root: Path, verdicts: Verdicts) -> tuple[_IgnoreFile, ...]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return ()
    known = verdicts.setdefault("\n".join(lines), {})
    return (_IgnoreFile(os.path.abspath(root), lines, known),)  # noqa: PTH100


def _repository_excludes(root: Path, verdicts: Verdicts) -> tuple[_IgnoreFile, ...]:
    """``info/exclude`` of the repository whose work tree is ``root``."""
    git = root / ".git"
    if git.is_file():  # a linked work tree or a submodule: the file names the place
        try:
            line = git.read_text(encoding="utf-8", errors="replace")
            git = root / line.removeprefix("gitdir:").strip()
            common = git / "commondir"
            if common.exists():
                git = git / common.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ()
    return _read_ignore_file(git / "info" / "exclude", root, verdicts)


def _ignore_files_above(top: Path, verdicts: Verdicts) -> tuple[_IgnoreFile, ...]:
    """The ignore files of the directories around ``top``, outermost first, up to the repository.

    One that rules out ``top`` itself is left aside: who names a directory wants it checked.
    """
    absolute = Path(os.path.abspath(top))  # noqa: PTH100
    if (absolute / ".git").exists():
        return ()
    around: list[_IgnoreFile] = []
    for parent in absolute.parents:
        repository = (parent / ".git").exists()
        own = _read_ignore_file(parent / ".gitignore", parent, verdicts)
        if repository:
            own = (*_repository_excludes(parent, verdicts), *own)
        around += [
            ignore for ignore in reversed(own) if not ignore.verdict(str(absolute), directory=True)
        ]
        if repository:
            return tuple(reversed(around))
    return ()
