"""A script compared at two Git revisions, with the user's own tree left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from observed import observations

from convlint.cli.group import main
from convlint.report.json import Output

TRAIN = """\
from pathlib import Path

import torch

scale = float(Path("data/scale.txt").read_text())
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
x = scale * torch.randn(64, 4)
y = x.sum(1, keepdim=True)
for step in range(400):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""


def git(*arguments: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two commits, the second of which never clears its gradients; ignored data; open changes."""
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    monkeypatch.chdir(root)
    (root / "data" / "scale.txt").write_text("1.0")
    (root / ".gitignore").write_text("/data/\n.convlint_cache/\n")
    (root / "train.py").write_text(TRAIN)
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "Begin")
    (root / "train.py").write_text(TRAIN.replace("    optimizer.zero_grad()\n", ""))
    git("commit", "-qam", "Break it")
    (root / "train.py").write_text("not committed (\n")
    (root / "notes.txt").write_text("staged\n")
    git("add", "notes.txt")
    return root


def compare(*arguments: str):
    return CliRunner().invoke(main, ["compare", *arguments], prog_name="convlint")


@pytest.fixture
def audits(monkeypatch):
    """Record what would be audited, where, instead of doing it."""
    seen = []

    def run(command, **options):
        if command[0] == "git":
            return original(command, **options)
        directory = Path(options["cwd"])
        seen.append((directory, command, (directory / "train.py").read_text()))
        measured = observations(
            held=0,
            steps=10,
            backwards=10,
            loaded_files=loaded or (str((directory / "train.py").resolve()),),
        )
        import msgspec

        output = Output(
            version="0", findings=(), problems=(), observations=measured, verdict=None,
            cost=None, curves=None,
        )  # fmt: skip
        return subprocess.CompletedProcess(command, 0, msgspec.json.encode(output), b"")

    loaded: tuple[str, ...] = ()

    def load(*files: str) -> None:
        nonlocal loaded
        loaded = files

    original = subprocess.run
    monkeypatch.setattr("convlint.revisions.subprocess.run", run)
    return seen, load


@pytest.mark.parametrize(
    "words",
    [
        ("HEAD~1..HEAD", "train.py", "--tier", "quick", "--", "--lr", "1"),
        ("HEAD~1..", "train.py", "--tier", "quick", "--", "--lr", "1"),
        ("--tier", "quick", "HEAD~1", "main", "--", "train.py", "--lr", "1"),
    ],
)
def test_each_revision_is_audited_in_a_tree_of_its_own(repository, audits, words):
    before = git("status", "--porcelain"), git("diff", "--cached"), git("worktree", "list")
    result = compare(*words)
    assert result.exit_code == 0, result.output
    (one, command, text), (other, _, broken) = audits[0]
    assert (text, "zero_grad" in broken) == (TRAIN, False)
    assert command[command.index("audit") + 1] == "train.py"
    assert command[command.index("--tier") + 1] == "quick"
    assert command[command.index("--") :] == ["--", "--lr", "1"]
    assert one != repository != other
    assert not one.exists()
    assert not other.exists()
    after = git("status", "--porcelain"), git("diff", "--cached"), git("worktree", "list")
    assert before == after
    assert (repository / "train.py").read_text() == "not committed (\n"


def test_subdirectory_is_the_one_of_the_same_name(repository, audits, monkeypatch):
    (repository / "sub").mkdir()
    (repository / "sub" / "train.py").write_text(TRAIN)
    git("add", "sub")
    git("commit", "-qm", "More")
    monkeypatch.chdir(repository / "sub")
    assert compare("HEAD", "HEAD", "train.py").exit_code == 0
    assert {directory.name for directory, _, _ in audits[0]} == {"sub"}
    result = compare("HEAD~1", "HEAD", "train.py")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "convlint: at HEAD~1: there is no directory sub/"


def test_hooks_of_the_repository_are_not_run(repository, audits):
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository / 'ran'}\n")
    hook.chmod(0o755)
    assert compare("HEAD~1..HEAD", "train.py").exit_code == 0
    assert not (repository / "ran").exists()


def test_run_that_imported_the_working_tree_is_refused(repository, audits):
    audits[1](str((repository / "model.py").resolve()))
    result = compare("HEAD~1..HEAD", "train.py")
    assert result.exit_code == 2
    assert "at HEAD~1 the script imported model.py of the working tree" in result.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nowhere..HEAD", "train.py"), "no such revision: nowhere ("),
        (("HEAD", "--", "--upload-pack=x", "train.py"), "no such revision: --upload-pack=x ("),
        (("HEAD~1..HEAD",), "give the script to audit at HEAD~1 and HEAD"),
        (("one.json",), "give two JSON outputs, or two revisions and a script"),
        (("HEAD~1..HEAD", "gone.py"), "at HEAD~1: gone.py: no such file"),
    ],
)
def test_mistake_is_one_line(repository, words, line):
    result = compare(*words)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"convlint: {line}")
    assert git("worktree", "list").count("\n") == 1


def test_outside_of_a_repository_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    result = compare("main..HEAD", "train.py")
    assert result.exit_code == 2
    assert result.stderr.startswith("convlint: not in a Git repository")


def test_real_revisions_differ_by_the_fault_between_them(repository):
    options = ("--tier", "quick", "--device", "cpu")
    result = compare("HEAD~1..HEAD", "train.py", *options)
    assert result.exit_code == 1, result.output
    assert "zero-grad-missing (train.py:" in result.stdout
    assert "new error" in result.stdout
    assert [path.name for path in (repository / "data").iterdir()] == ["scale.txt"]
