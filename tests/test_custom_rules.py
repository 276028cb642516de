"""Rules of the project's own and of installed packages."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from documented import blocks

from convlint.custom_rules import GROUP, fingerprint

RULE = '''
from convlint.findings import Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule


class HouseOptimizer(Rule):
    """SGD is not the optimizer of this house.

    ## What it does
    Reports every SGD.
    """

    code, slug, severity = "HSE001", "house-optimizer", Severity.WARNING

    def static(self, program):
        for optimizer in program.objects:
            if optimizer.kind is ObjectKind.OPTIMIZER:
                yield self.finding(optimizer.location, "SGD in this house")
'''
SCRIPT = """\
import torch

model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one rule of its own in ``tools/checks`` and a script it fires on."""
    (tmp_path / "pyproject.toml").write_text('[tool.convlint]\nrules = ["tools/checks/"]\n')
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "tools" / "checks").mkdir(parents=True)
    (tmp_path / "tools" / "checks" / "house.py").write_text(RULE)
    return tmp_path


def convlint(directory: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own: the catalogue of this one stays as it is."""
    program = f"import sys; sys.path[:0] = {path.split()!r}; from convlint.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_rule_of_the_project_is_run_explained_listed_and_selected(project):
    found = convlint(project, "check", "--output-format", "concise")
    assert "train.py:4:13: warning house-optimizer" in found.stdout
    assert found.returncode == 1
    assert "Reports every SGD." in convlint(project, "rule", "HSE001").stdout
    listed = json.loads(convlint(project, "rules", "--output-format", "json").stdout)
    assert "house-optimizer" in {rule["slug"] for rule in listed}
    assert convlint(project, "check", "--ignore", "custom").returncode == 0
    assert convlint(project, "check", "--ignore", "HSE").returncode == 0
    assert convlint(project, "check", "--select", "house-optimizer").returncode == 1


def test_comment_silences_it_and_is_not_unknown(project):
    comment = "  # convlint: ignore[house-optimizer] agreed"
    (project / "train.py").write_text(SCRIPT.rstrip("\n") + comment + "\n")
    done = convlint(project, "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_path_is_relative_to_the_configuration_and_only_its_files_are_judged(project, tmp_path):
    deep = project / "src" / "deep"
    deep.mkdir(parents=True)
    (deep / "train.py").write_text(SCRIPT)
    assert "house-optimizer" in convlint(deep, "check").stdout
    other = project / "other"
    other.mkdir()
    (other / "convlint.toml").write_text("")
    (other / "train.py").write_text(SCRIPT)
    concise = convlint(project, "check", "--output-format", "concise").stdout
    assert "src/deep/train.py:4:13" in concise
    assert "other/train.py" not in concise


def test_files_of_one_folder_import_each_other_and_tests_among_them_are_left_out(project):
    folder = project / "tools" / "checks"
    (folder / "words.py").write_text("MESSAGE = 'said elsewhere'\n")
    (folder / "nested").mkdir()
    text = RULE.replace("HSE001", "HSE002").replace("house-optimizer", "house-two")
    text = text.replace('"SGD in this house"', "MESSAGE")
    (folder / "nested" / "two.py").write_text(f"from ..words import MESSAGE\n{text}")
    (folder / "test_house.py").write_text("raise SystemExit('a test is no rule')\n")
    done = convlint(project, "check", "--output-format", "concise")
    assert "said elsewhere" in done.stdout
    assert done.stderr == ""


def test_single_file_can_be_named(project):
    (project / "pyproject.toml").write_text('[tool.convlint]\nrules = ["tools/checks/house.py"]\n')
    (project / "tools" / "checks" / "broken.py").write_text("1 / 0\n")
    assert "house-optimizer" in convlint(project, "check").stdout


def test_what_a_rule_prints_while_loading_stays_out_of_the_report(project):
    (project / "tools" / "checks" / "house.py").write_text(f"print('loading')\n{RULE}")
    done = convlint(project, "check", "--output-format", "json")
    assert json.loads(done.stdout)["findings"][0]["slug"] == "house-optimizer"
    assert done.stderr == "loading\n"


def replaced(old: str, new: str) -> str:
    assert old in RULE
    return RULE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import no_such_library\n", "{file}:1: cannot load rules: ModuleNotFoundError: No module named 'no_such_library'"),
        ("x = 1\ndef f(:\n", "{file}:2:7: cannot load rules: invalid syntax"),
        ("import sys\n\nsys.exit(3)\n", "{file}:3: cannot load rules: SystemExit: 3"),
        ("x = 1\n", "{config}: rules: tools/checks/ holds no rule (a subclass of convlint.rules.Rule with a code)"),
        (replaced('"HSE001"', '"H1"'), "{file}: rule HouseOptimizer: code must be three capital letters and three digits, not 'H1'"),
        (replaced('"house-optimizer"', '"House Optimizer"'), "{file}: rule HouseOptimizer: slug must be lower-case words joined by hyphens, not 'House Optimizer'"),
        (replaced("Severity.WARNING", "'warning'"), "{file}: rule HouseOptimizer: severity must be one of convlint.findings.Severity"),
        (replaced("def static", "def statics"), "{file}: rule HouseOptimizer: it overrides none of static, measured and logged"),
        (replaced('"HSE001"', '"LOP001"'), "{file}: HouseOptimizer has the code LOP001 of ZeroGradMissing (convlint); give it one of its own"),
        (replaced('"house-optimizer"', '"zero-grad-missing"'), "{file}: HouseOptimizer has the slug zero-grad-missing of ZeroGradMissing (convlint); give it one of its own"),
    ],
)  # fmt: skip
def test_mistake_in_a_rule_is_one_line_with_its_place(project, text, complaint):
    file = project / "tools" / "checks" / "house.py"
    file.write_text(text)
    done = convlint(project, "check")
    expected = complaint.format(file=file, config=project / "pyproject.toml")
    assert done.stderr == f"convlint: {expected}\n"
    assert (done.returncode, done.stdout) == (2, "")


def test_folder_that_is_not_there_is_one_line(project):
    (project / "pyproject.toml").write_text('[tool.convlint]\nrules = ["tools/rules"]\n')
    done = convlint(project, "check")
    config = project / "pyproject.toml"
    assert done.stderr == f"convlint: {config}: rules: no such file or directory: tools/rules\n"
    assert done.returncode == 2


def test_rule_that_fails_is_named_with_its_file(project):
    file = project / "tools" / "checks" / "house.py"
    file.write_text(replaced("yield self", "raise KeyError('lr')\n                yield self"))
    done = convlint(project, "check")
    assert done.stderr == (
        f"convlint: train.py: rule house-optimizer ({file}) failed with KeyError: 'lr'\n"
    )
    assert done.returncode == 2


def install(site: Path, value: str = "house_rules") -> Path:
    """What pip leaves of a package that offers rules."""
    package = site / "house_rules"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "optimizer.py").write_text(RULE)
    metadata = site / "house_rules-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: house-rules\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[convlint.rules]\nhouse = {value}\n")
    return package


@pytest.mark.parametrize(
    "value", ["house_rules", "house_rules.optimizer", "house_rules.optimizer:HouseOptimizer"]
)
def test_installed_package_adds_its_rules_everywhere(tmp_path, value):
    install(tmp_path / "site", value)
    (tmp_path / "train.py").write_text(SCRIPT)
    done = convlint(tmp_path, "check", "--output-format", "concise", path=f"{tmp_path}/site")
    assert "train.py:4:13: warning house-optimizer" in done.stdout, done.stderr
    assert (
        "Reports every SGD." in convlint(tmp_path, "rule", "HSE001", path=f"{tmp_path}/site").stdout
    )


def test_installed_package_that_cannot_be_loaded_is_one_line(tmp_path):
    package = install(tmp_path / "site")
    (package / "optimizer.py").write_text("import no_such_library\n")
    done = convlint(tmp_path, "rules", path=f"{tmp_path}/site")
    assert done.stderr == (
        "convlint: house-rules (entry point house): cannot load rules:"
        " ModuleNotFoundError: No module named 'no_such_library'\n"
    )
    assert done.returncode == 2


def test_fingerprint_changes_with_the_code_of_any_rule(project, tmp_path, monkeypatch):
    assert fingerprint() == ""
    before = fingerprint(["tools/checks/"], project)
    assert before == fingerprint(["tools/checks/"], project) != ""
    (project / "tools" / "checks" / "words.py").write_text("MESSAGE = 1\n")
    between = fingerprint(["tools/checks/"], project)
    assert between != before
    package = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    installed = fingerprint()
    assert installed != ""
    (package / "optimizer.py").write_text(RULE + "# changed\n")
    assert fingerprint() not in ("", installed)
    assert "house_rules" not in sys.modules


def test_documented_example_does_what_its_page_says(tmp_path):
    rule, its_test = (b.text for b in blocks("python") if b.page == "docs/custom-rules.md")
    configuration, entry_point = (
        b.text for b in blocks("toml") if b.page == "docs/custom-rules.md"
    )
    (shown,) = (b.text for b in blocks("sh") if b.page == "docs/custom-rules.md")
    folder = tmp_path / "tools" / "convlint_rules"
    folder.mkdir(parents=True)
    (folder / "small_batch.py").write_text(rule)
    (folder / "test_small_batch.py").write_text(its_test)
    (tmp_path / "pyproject.toml").write_text(configuration)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text(
        "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\n\n"
        "loader = DataLoader(TensorDataset(torch.zeros(99, 4)), batch_size=48, shuffle=True)\n"
    )

    outputs = []
    for line in shown.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "convlint"
        outputs.append(convlint(tmp_path, *arguments))
    explained, checked, listed = outputs
    assert "Our GPUs wait for the next batch most of the time." in explained.stdout
    assert "a batch of 48 leaves the GPU idle" in checked.stdout
    assert "use at least 64" in checked.stdout
    assert [done.returncode for done in outputs] == [0, 1, 0]
    assert "small-batch" in listed.stdout

    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in tested.stdout, tested.stdout + tested.stderr
    (group,) = tomllib.loads(entry_point)["project"]["entry-points"]
    assert group == GROUP


def test_isolated_runs_no_rule_of_the_project(project):
    (project / "tools" / "checks" / "house.py").write_text("raise SystemExit('was run')\n")
    assert convlint(project, "check", "--isolated").returncode == 0


def test_kept_results_are_not_used_after_a_rule_changed(project):
    assert "SGD in this house" in convlint(project, "check").stdout
    file = project / "tools" / "checks" / "house.py"
    file.write_text(replaced("SGD in this house", "another sentence"))
    assert "another sentence" in convlint(project, "check").stdout
    (project / "tools" / "checks" / "words.py").write_text(
        f"{RULE}".replace("HSE001", "HSE002").replace("house-optimizer", "house-second")
    )
    assert "house-second" in convlint(project, "check").stdout
    file.unlink()
    assert "house-optimizer" not in convlint(project, "check").stdout


@pytest.mark.parametrize("output_format", ["sarif", "gitlab", "junit", "github"])
def test_reports_of_every_kind_know_the_rule(project, output_format):
    done = convlint(project, "check", "--output-format", output_format)
    assert "house-optimizer" in done.stdout, done.stderr
    assert (done.returncode, done.stderr) == (1, "")
    assert "Reports every SGD." in done.stdout or output_format != "sarif"
