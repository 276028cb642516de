from __future__ import annotations

from pathlib import Path

import pytest

from convlint.discovery import find_files
from convlint.errors import UserError
from convlint.patterns import Patterns


def names(*paths: Path, **options) -> list[str]:
    problems: list[UserError] = []
    found = [file.name for file in find_files(paths, on_problem=problems.append, **options)]
    assert problems == []
    return found


def write(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("import torch\n")


def test_walk_takes_python_files_in_order_and_leaves_other_peoples_code(tmp_path):
    write(tmp_path, "b.py", "a.py", "pkg/c.py", "notes.txt", ".venv/x.py", "build/y.py")
    write(tmp_path, "node_modules/z.py", "__pycache__/p.py", "env/lib/q.py", "x.egg-info/r.py")
    (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr\n")
    assert names(tmp_path) == ["a.py", "b.py", "c.py"]


def test_gitignore_of_every_level_holds_and_the_nearest_decides(tmp_path):
    (tmp_path / ".git").mkdir()
    write(tmp_path, "a.py", "old_a.py", "runs/b.py", "pkg/old_c.py", "pkg/d.py", "pkg/gen/e.py")
    (tmp_path / ".gitignore").write_text("old_*.py\n/runs/\n")
    (tmp_path / "pkg" / ".gitignore").write_text("!old_c.py\ngen/\n")
    assert names(tmp_path) == ["a.py", "d.py", "old_c.py"]


def test_gitignore_above_the_named_directory_holds(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("scratch_*.py\n")
    write(tmp_path, "src/a.py", "src/scratch_b.py")
    assert names(tmp_path / "src") == ["a.py"]


def test_named_paths_are_taken_even_when_ignored(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("generated/\n")
    write(tmp_path, "generated/a.py", "build/b.py")
    assert names(tmp_path / "generated") == ["a.py"]
    assert names(tmp_path / "build" / "b.py") == ["b.py"]


def test_each_file_is_taken_once(tmp_path):
    write(tmp_path, "a.py")
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    assert names(tmp_path, tmp_path / "a.py") == ["a.py"]


class Excluding:
    """Settings that leave out the patterns given."""

    def __init__(self, root: Path, *patterns: str, gitignore: bool = True, force: bool = False):
        self.respect_gitignore = gitignore
        self.force_exclude = force
        self._patterns = Patterns(patterns, root)

    def excludes(self, path: Path) -> bool:
        return self._patterns.match(path)

    def excludes_entry(self, path: str, name: str, *, directory: bool) -> bool:
        return self._patterns.match_entry(path, name, directory=directory)


@pytest.mark.parametrize(
    "pattern", ["vendored", "vendored/", "/vendored/", "vendor*", "**/vendored/", "vendored/**"]
)
def test_excluded_directories_are_not_entered_unless_named(tmp_path, pattern):
    write(tmp_path, "a.py", "vendored/b.py", "vendored/deep/c.py")
    excluding = Excluding(tmp_path, pattern)
    assert names(tmp_path, exclusion_of=lambda _: excluding) == ["a.py"]
    if not pattern.endswith("**"):
        named = names(tmp_path / "vendored", exclusion_of=lambda _: excluding)
        assert named == ["b.py", "c.py"]


def test_forced_exclusion_holds_for_named_files_and_what_git_ignores(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("generated/\n")
    write(tmp_path, "a.py", "b_pb2.py", "vendored/b.py", "generated/deep/c.py")
    files = [tmp_path / name for name in ("a.py", "b_pb2.py", "vendored/b.py")]
    files.append(tmp_path / "generated" / "deep" / "c.py")
    forced = Excluding(tmp_path, "vendored", "*_pb2.py", force=True)
    assert names(*files, exclusion_of=lambda _: forced) == ["a.py"]
    assert names(tmp_path / "vendored", exclusion_of=lambda _: forced) == []
    lenient = Excluding(tmp_path, "vendored", "*_pb2.py")
    assert names(*files, exclusion_of=lambda _: lenient) == ["a.py", "b_pb2.py", "b.py", "c.py"]


def test_what_git_ignores_is_taken_when_the_settings_say_so(tmp_path):
    (tmp_path / ".git" / "info").mkdir(parents=True)
    (tmp_path / ".git" / "info" / "exclude").write_text("private.py\n")
    (tmp_path / ".gitignore").write_text("scratch.py\n")
    write(tmp_path, "a.py", "private.py", "scratch.py", "src/private.py")
    assert names(tmp_path) == ["a.py"]
    assert names(tmp_path / "src") == []
    every = Excluding(tmp_path, gitignore=False)
    assert names(tmp_path, exclusion_of=lambda _: every) == [
        "a.py", "private.py", "scratch.py", "private.py",
    ]  # fmt: skip


def test_excludes_of_the_repository_hold_in_a_linked_work_tree(tmp_path):
    common = tmp_path / "main" / ".git"
    (common / "info").mkdir(parents=True)
    (common / "info" / "exclude").write_text("private.py\n")
    (common / "worktrees" / "tree").mkdir(parents=True)
    (common / "worktrees" / "tree" / "commondir").write_text("../..\n")
    write(tmp_path, "tree/a.py", "tree/private.py")
    (tmp_path / "tree" / ".git").write_text(f"gitdir: {common}/worktrees/tree\n")
    assert names(tmp_path / "tree") == ["a.py"]


def test_line_of_gitignore_that_is_no_pattern_is_passed_over(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("\\\nb[a-.py\nc?.py\n")
    write(tmp_path, "a.py", "c1.py")
    assert names(tmp_path) == ["a.py"]


def test_directory_without_python_files_is_named(tmp_path):
    write(tmp_path, "docs/notes.txt", "src/a.py")
    empty: list[str] = []
    paths = [tmp_path / "docs", tmp_path / "src"]
    found = list(find_files(paths, on_problem=[].append, on_nothing=empty.append))
    assert [file.name for file in found] == ["a.py"]
    assert empty == [str(tmp_path / "docs")]


@pytest.mark.parametrize(
    ("patterns", "path", "matches"),
    [
        (("a.py",), "deep/a.py", True),
        (("/a.py",), "deep/a.py", False),
        (("*.pyi",), "a.pyi", True),
        (("*.pyi",), "a.py", False),
        (("tests/*",), "tests/deep/a.py", True),
        (("tests/**/conf*.py",), "tests/x/conftest.py", True),
        (("data/",), "data", False),
        (("data/",), "data/a.py", True),
        (("*.py", "!keep.py"), "keep.py", False),
        (("*.py", "!keep.py"), "drop.py", True),
        (("[ab].py",), "b.py", True),
    ],
)
def test_patterns_read_as_gitignore_reads_them(tmp_path, patterns, path, matches):
    assert Patterns(patterns, tmp_path).match(tmp_path / path, directory=False) is matches


def test_missing_path_is_a_problem_and_the_rest_goes_on(tmp_path):
    write(tmp_path, "a.py")
    problems: list[UserError] = []
    missing = tmp_path / "missing.py"
    found = list(find_files([missing, tmp_path / "a.py"], on_problem=problems.append))
    assert [file.name for file in found] == ["a.py"]
    assert [str(problem) for problem in problems] == [f"{missing}: no such file or directory"]


def test_empty_path_is_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a.py")
    problems: list[UserError] = []
    assert list(find_files([""], on_problem=problems.append)) == []
    assert [str(problem) for problem in problems] == ["a path is empty"]


def test_links_that_lead_nowhere_are_passed_over_on_a_walk_and_named_otherwise(tmp_path):
    (tmp_path / "a.py").write_text("")
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "broken.py").symlink_to("gone.py")
    problems: list[UserError] = []
    assert [f.name for f in find_files([tmp_path], on_problem=problems.append)] == ["a.py"]
    assert problems == []
    assert list(find_files([tmp_path / "loop.py"], on_problem=problems.append)) == []
    assert problems[0].message == "a symbolic link that leads nowhere"
