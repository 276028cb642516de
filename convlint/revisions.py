"""Audits of a script at two Git revisions, each in a worktree of its own that is removed again.

The user's files and index are left alone. What Git ignores there (data, downloaded weights) is
linked into the worktree, since scripts need it and no revision has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convlint.errors import UserError
from convlint.report.json import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOT_LINKED = {".convlint_cache", "__pycache__"}
"""Ignored names that no script reads; and where a link would let the worktree write to the user's."""


def commit_of(revision: str) -> str:
    """The full name of the commit.

    Raises:
        UserError: there is no repository here, or no such commit in it.
    """
    if not _git("rev-parse", "--git-dir"):
        raise UserError(f"not in a Git repository: there are no revisions such as {revision} here")
    found = (
        ""
        if revision.startswith("-")
        else _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    )
    if not found:
        raise UserError(
            f"no such revision: {revision} (`git branch --all` and `git tag` list names)"
        )
    return found


def audit_at(revision: str, words: Sequence[str], options: Sequence[str]) -> Output:
    """The output of ``convlint audit`` of the script and arguments ``words`` at a revision.

    ``options`` are those of ``convlint audit``. The working directory is that of the same name.

    Raises:
        UserError: the script could not be measured there, or what it imported lies outside.
    """
    root = Path(_git("rev-parse", "--show-toplevel"))
    with _worktree(revision, commit_of(revision), root) as tree:
        directory = tree / _git("rev-parse", "--show-prefix")
        if not directory.is_dir():
            raise UserError(
                f"at {revision}: there is no directory {_git('rev-parse', '--show-prefix')}"
            )
        # -P: the working directory may hold a package of our name.
        command = [sys.executable, "-P", "-m", "convlint", "audit", words[0], *options]
        command += ["--output-format", "json", "--no-cache", "--quiet", "--", *words[1:]]
        done = subprocess.run(command, cwd=directory, capture_output=True, check=False)
        output = _decoded(done.stdout, done.stderr, revision)
        _require_own_sources(output, revision, tree, root)
    return output


def _decoded(stdout: bytes, stderr: bytes, revision: str) -> Output:
    try:
        output = msgspec.json.decode(stdout, type=Output)
    except msgspec.DecodeError:
        said = stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise UserError(f"at {revision}: {said[-1].removeprefix('convlint: ')}") from None
    if output.observations is None or not output.observations.backwards:
        why = output.problems[0] if output.problems else None
        place = f"{why.path}: " if why is not None and why.path else ""
        raise UserError(f"at {revision}: {place}{why.message if why else 'nothing was measured'}")
    return output


def _require_own_sources(output: Output, revision: str, tree: Path, root: Path) -> None:
    """Refuse a run that imported the user's present files, as an editable install makes it do."""
    assert output.observations is not None
    for file in output.observations.loaded_files:
        path = Path(file)
        if path.is_relative_to(root.resolve()) and not path.is_relative_to(tree.resolve()):
            raise UserError(
                f"at {revision} the script imported {path.relative_to(root.resolve())} of the working"
                " tree, not of the revision (is the project installed in editable mode?); "
                "set PYTHONPATH to a path below the working directory, such as PYTHONPATH=src"
            )


@contextmanager
def _worktree(revision: str, commit: str, root: Path) -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="convlint-"))
    tree = parent / root.name
    # No hook of the repository runs for it.
    quiet = ("-c", f"core.hooksPath={os.devnull}")
    try:
        done = _run(*quiet, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["git worktree add failed"]
            raise UserError(f"at {revision}: {said[-1]}")
        _link_ignored(root, tree)
        yield tree
    finally:
        _run("worktree", "remove", "--force", str(tree))
        shutil.rmtree(parent, ignore_errors=True)
        _run("worktree", "prune")


def _link_ignored(root: Path, tree: Path) -> None:
    listed = _run(
        *("-C", str(root), "ls-files", "-z", "--others", "--ignored", "--exclude-standard"),
        "--directory",
    ).stdout.split("\0")
    for name in filter(None, listed):
        place = tree / name.rstrip("/")
        if not NOT_LINKED & set(Path(name).parts) and place.parent.is_dir() and not place.exists():
            place.symlink_to(root / name.rstrip("/"))


def _git(*arguments: str) -> str:
    """What Git says, empty when it fails."""
    done = _run(*arguments)
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError:
        raise UserError("git is not installed; compare two JSON outputs instead") from None
