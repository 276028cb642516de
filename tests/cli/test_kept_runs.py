"""A run of an unchanged script is not made again, and every report says so."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from observed import observations

from convlint.report.json import output_schema
from convlint.run_inputs import RunInputs, file_digest

SEEN = observations(script="a.py", steps=100, seconds=3.0, backwards=108)

TRAIN = """\
import json
from pathlib import Path

import torch

from network import make

rate = json.loads(Path("settings.json").read_text())["rate"]
torch.manual_seed(0)
model = make()
optimizer = torch.optim.SGD(model.parameters(), lr=rate)
x = torch.randn(64, 4)
y = x.sum(1, keepdim=True)
for step in range(400):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""
NETWORK = "import torch\n\n\ndef make():\n    return torch.nn.Linear(4, 1)\n"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Count the runs of ``a.py``, which reads ``data.txt``."""

    class Run:
        seen = SEEN
        times = 0

        def __call__(self, target, **options):
            self.times += 1
            data = (tmp_path / "data.txt").stat()
            options["on_inputs"](
                RunInputs(
                    sources={str(tmp_path / "a.py"): file_digest(str(tmp_path / "a.py"))},
                    files={str(tmp_path / "data.txt"): (data.st_size, data.st_mtime_ns)},
                    directories={},
                    libraries={},
                )
            )
            return self.seen

    (tmp_path / "a.py").write_text("import torch\n")
    (tmp_path / "data.txt").write_text("1")
    counted = Run()
    monkeypatch.setattr("convlint.launch.run_probe", counted)
    return counted


@pytest.mark.parametrize("command", ["probe", "audit"])
def test_second_run_is_recalled_and_says_so(convlint, run, command):
    first = convlint(command, "a.py")
    second = convlint(command, "a.py")
    assert run.times == 1
    assert "convlint: a.py is not run again: it was measured" in second.stderr
    note = re.compile(r"  kept +measured .* ago, unchanged since; --no-cache measures again\n")
    assert note.search(second.stdout)
    assert note.sub("", second.stdout) == first.stdout
    assert second.exit_code == first.exit_code == 0


def test_every_format_is_the_same_from_the_cache_but_for_the_note(convlint, run, tmp_path):
    reports = ("--report", "r.md", "--report", "r.html")
    outputs = []
    for _ in range(2):
        result = convlint("audit", "a.py", "--output-format", "json", *reports)
        output = json.loads(result.stdout)
        jsonschema.Draft202012Validator(output_schema()).validate(output)
        pages = [(tmp_path / name).read_text() for name in ("r.md", "r.html")]
        outputs.append((output, pages))
    (fresh, fresh_pages), (kept, kept_pages) = outputs
    assert run.times == 1
    assert (fresh.pop("measured_at"), kept.pop("measured_at")[-6:]) == (None, "+00:00")
    assert fresh == kept
    for before, after in zip(fresh_pages, kept_pages, strict=True):
        assert "--no-cache measures again" not in before
        assert "--no-cache measures again" in after or "\\-no\\-cache" in after
        # The page carries the JSON as well, which differs by the time.
        without = [re.sub(r"base64,[^\"]+", "", page) for page in (before, after)]
        left = [line for line in without[1].splitlines() if line not in without[0].splitlines()]
        assert len(left) <= 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-cache",),
        ("--tier", "quick"),
        ("--steps", "7"),
        ("--seed", "1"),
        ("--show-output",),
        ("--allow-writes",),
        ("--", "--lr", "1"),
    ],
    ids=" ".join,
)
def test_another_question_is_not_answered_by_it(convlint, run, arguments):
    convlint("audit", "a.py")
    convlint("audit", "a.py", *arguments)
    assert run.times == 2


def test_questions_of_judgement_are_answered_by_it(convlint, run):
    convlint("audit", "a.py")
    for arguments in (("--fail-on", "never"), ("--show-info",), ("--price-per-hour", "3")):
        convlint("audit", "a.py", *arguments)
    convlint("probe", "a.py")
    assert run.times == 1


def test_change_of_a_source_or_of_data_measures_again(convlint, run, tmp_path):
    convlint("audit", "a.py")
    (tmp_path / "a.py").write_text("import torch  # more\n")
    convlint("audit", "a.py")
    assert run.times == 2
    (tmp_path / "data.txt").write_text("22")
    convlint("audit", "a.py")
    assert run.times == 3
    convlint("audit", "a.py")
    assert run.times == 3


def test_going_back_to_an_earlier_source_recalls_its_run(convlint, run, tmp_path):
    text = (tmp_path / "a.py").read_text()
    convlint("audit", "a.py")
    (tmp_path / "a.py").write_text("import torch  # more\n")
    convlint("audit", "a.py")
    (tmp_path / "a.py").write_text(text)
    convlint("audit", "a.py")
    assert run.times == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"stopped": "crashed", "error": "ValueError: no"},
        {"stopped": "exited", "steps": 0, "backwards": 0},
        {"stopped": "budget", "steps": 3},
    ],
    ids=lambda changes: changes["stopped"],
)
def test_run_that_failed_or_was_cut_short_is_made_again(convlint, run, changes):
    run.seen = dataclasses.replace(SEEN, **changes)
    convlint("audit", "a.py")
    convlint("audit", "a.py")
    assert run.times == 2


def test_source_that_changes_during_the_run_is_measured_again(convlint, run, tmp_path, monkeypatch):
    def edit(target, **options):
        (tmp_path / "a.py").write_text("import torch\n# edited\n")
        return run(target, **options)

    monkeypatch.setattr("convlint.launch.run_probe", edit)
    convlint("audit", "a.py")
    convlint("audit", "a.py")
    assert run.times == 2


def test_clean_forgets_runs(convlint, run):
    convlint("audit", "a.py")
    convlint("clean")
    convlint("audit", "a.py")
    assert run.times == 2


def audit(directory: Path) -> subprocess.Popen[str]:
    command = ("-m", "convlint", "audit", "train.py", "--tier", "quick", "--device", "cpu")
    # a busy machine may need longer than the tier's own budget to import torch
    return subprocess.Popen(
        [sys.executable, *command, "--budget", "200"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def project(tmp_path):
    """A script with a module and a settings file of its own."""
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "settings.json").write_text('{"rate": 0.05}')
    return tmp_path


def test_real_script_is_recalled_until_what_it_imports_or_reads_changes(project):
    def said(directory=project):
        running = audit(directory)
        stdout, stderr = running.communicate(timeout=300)
        assert running.returncode == 0, stdout + stderr
        return stderr

    assert "running train.py" in said()
    assert "is not run again" in said()
    (project / "settings.json").write_text('{"rate": 0.051}')
    assert "running train.py" in said()
    (project / "network.py").write_text(NETWORK + "\n\nSIZE = 4\n")
    assert "running train.py" in said()
    (project / "notes.txt").write_text("nothing to do with it")
    assert "is not run again" in said()


def test_audits_beside_each_other_answer_and_keep_one_run(project):
    running = [audit(project) for _ in range(2)]
    for one in running:
        stdout, stderr = one.communicate(timeout=300)
        assert one.returncode == 0, stdout + stderr
    kept = list((project / ".convlint_cache").glob("runs-*/*"))
    assert len(kept) == 1
    _, stderr = audit(project).communicate(timeout=300)
    assert "is not run again" in stderr


def test_kept_run_loads_no_numerical_library(project):
    audit(project).communicate(timeout=300)
    program = (
        "import sys; from convlint.cli import main\n"
        "sys.argv = ['convlint', 'audit', 'train.py', '--tier', 'quick', '--device', 'cpu', '--budget', '200']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "loaded = {'torch', 'numpy', 'scipy', 'libcst', 'jinja2'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "is not run again" in done.stderr
