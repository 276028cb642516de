"""Which files to check.

A file named on the command line is always taken, unless exclusion is forced. A directory is
walked: what the configuration excludes is left out, and so is what Git ignores (``.gitignore`` of
every level and ``.git/info/exclude``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from convlint.errors import UserError
from convlint.patterns import Patterns
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

ENDINGS = (".py",)
"""Of the files a walk takes."""


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
) -> Iterator[Path]:
    """The Python files ``paths`` stand for, each once, in a stable order.

    ``exclusion_of`` gives what holds in a directory. Paths that cannot be read go to
    ``on_problem`` and the rest goes on; directories in which nothing is found to ``on_nothing``.
    """
    seen: set[str] = set()
    for name in paths:
        if not str(name):
            on_problem(UserError("a path is empty"))
            continue
        path = Path(name)
        found: Iterable[Path]
        if path.is_dir():
            exclusion = exclusion_of(path)
            if exclusion.force_exclude and exclusion_of(path.parent).excludes(path):
                continue
            found = _walk(path, exclusion_of, on_problem)
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
            found = (path,)
        anything = False
        for file in found:
            anything = True
            key = os.path.realpath(file)
            if key not in seen:
                seen.add(key)
                yield file
        if not anything:
            on_nothing(str(name))


def _walk(
    top: Path,
    exclusion_of: Callable[[Path], Exclusion],
    on_problem: Callable[[UserError], None],
) -> Iterator[Path]:
    around = _ignore_files_above(top) if exclusion_of(top).respect_gitignore else ()
    yield from _walk_below(top, exclusion_of, on_problem, around)


def _walk_below(
    directory: Path,
    exclusion_of: Callable[[Path], Exclusion],
    on_problem: Callable[[UserError], None],
    ignores: tuple[_IgnoreFile, ...],
) -> Iterator[Path]:
    try:
        with os.scandir(directory) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        on_problem(
            UserError(f"cannot read: {error.strerror or error}", path=display_path(directory))
        )
        return
    exclusion = exclusion_of(directory)
    if exclusion.respect_gitignore:
        names = {entry.name for entry in entries}
        if ".git" in names:
            ignores = (*ignores, *_repository_excludes(directory))
        if ".gitignore" in names:
            ignores = (*ignores, *_read_ignore_file(directory / ".gitignore", directory))
    else:
        ignores = ()
    for entry in entries:
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            path = directory / name
            if (
                exclusion.excludes_entry(str(path), name, directory=True)
                or (path / "pyvenv.cfg").exists()
                or _ignored(path, ignores, directory=True)
            ):
                continue
            yield from _walk_below(path, exclusion_of, on_problem, ignores)
        elif name.endswith(ENDINGS):
            path = directory / name
            if (
                os.path.isfile(path)  # noqa: PTH113 - unlike Path.is_file, False for a link loop
                and not exclusion.excludes_entry(str(path), name, directory=False)
                and not _ignored(path, ignores)
            ):
                yield path


class _IgnoreFile:
    """One file of Git's patterns, and the directory they are relative to."""

    def __init__(self, root: str, spec: GitIgnoreSpec) -> None:
        self.root = root
        self.prefix = root if root.endswith(os.sep) else root + os.sep
        self.spec = spec

    def verdict(self, absolute: str, *, directory: bool) -> bool | None:
        """Whether it ignores or takes back; None when it does not speak of ``absolute``."""
        if not absolute.startswith(self.prefix):
            return None
        relative = absolute[len(self.prefix) :].replace(os.sep, "/")
        return self.spec.check_file(relative + "/" if directory else relative).include


def _ignored(path: Path, ignores: tuple[_IgnoreFile, ...], *, directory: bool = False) -> bool:
    """Whether Git would ignore ``path``: the nearest file that speaks of it decides."""
    if not ignores:
        return False
    absolute = os.path.abspath(path)  # noqa: PTH100
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
        if directory != repository and _ignored(directory, around, directory=True):
            return True
        if directory == repository:
            around += _repository_excludes(directory)
        around += _read_ignore_file(directory / ".gitignore", directory)
    return _ignored(absolute, around)


def _read_ignore_file(file: Path, root: Path) -> tuple[_IgnoreFile, ...]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return ()
    from pathspec import GitIgnoreSpec

    return (_IgnoreFile(os.path.abspath(root), GitIgnoreSpec.from_lines(lines)),)  # noqa: PTH100


def _repository_excludes(root: Path) -> tuple[_IgnoreFile, ...]:
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
    return _read_ignore_file(git / "info" / "exclude", root)


def _ignore_files_above(top: Path) -> tuple[_IgnoreFile, ...]:
    """The ignore files of the directories around ``top``, outermost first, up to the repository.

    One that rules out ``top`` itself is left aside: who names a directory wants it checked.
    """
    absolute = Path(os.path.abspath(top))  # noqa: PTH100
    if (absolute / ".git").exists():
        return ()
    around: list[_IgnoreFile] = []
    for parent in absolute.parents:
        repository = (parent / ".git").exists()
        own = _read_ignore_file(parent / ".gitignore", parent)
        if repository:
            own = (*_repository_excludes(parent), *own)
        around += [
            ignore for ignore in reversed(own) if not ignore.verdict(str(absolute), directory=True)
        ]
        if repository:
            return tuple(reversed(around))
    return ()
