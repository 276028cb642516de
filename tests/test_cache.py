"""What is recalled instead of judged again, and what never is."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

import convlint.judge
from convlint.engine import Outcome, check_paths
from convlint.findings import Confidence, Severity
from convlint.report_store import cache_directory
from convlint.selection import RuleChoice
from convlint.settings import Overrides

SCRIPT = """\
import torch
from torch import nn

import settings

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=settings.RATE)
for x, y in [(torch.zeros(4, 2), torch.zeros(4, 1))] * 3:
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
"""

LONG_AGO = time.time() - 3600


class Tree:
    """A project, and what was judged of it in each run."""

    def __init__(self, root: Path, judged: list[str]) -> None:
        self.root = root
        self.judged = judged
        self.notes: list[str] = []

    def write(self, name: str, text: str, *, when: float = LONG_AGO) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (when, when))

    def check(self, *paths: str, overrides: Overrides | None = None, **options) -> Outcome:
        self.judged.clear()
        options.setdefault("cache", self.root / "cache")
        return check_paths(paths or (".",), overrides, on_note=self.notes.append, **options)

    @property
    def database(self) -> Path:
        return self.root / "cache" / "1" / "reports.sqlite3"


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Tree:
    monkeypatch.chdir(tmp_path)
    # A file that has just been written is known by its content only; here none has.
    monkeypatch.setattr("convlint.dependencies._TOO_FRESH", -(10**12))
    judged: list[str] = []
    judge = convlint.judge.Judge.judge

    def noting(self, path, shown):
        judged.append(shown)
        return judge(self, path, shown)

    monkeypatch.setattr(convlint.judge.Judge, "judge", noting)
    tree = Tree(tmp_path, judged)
    tree.write("pyproject.toml", "")
    tree.write("train.py", SCRIPT)
    tree.write("settings.py", "RATE = 0.1\n")
    tree.write("plain.py", "import os\n")
    tree.check()
    assert sorted(judged) == ["plain.py", "settings.py", "train.py"]
    return tree


def slugs(outcome: Outcome) -> set[str]:
    return {finding.slug for finding in outcome.findings}


def test_unchanged_files_are_not_judged_again_and_give_the_same(tree):
    cold = tree.check(cache=None)
    assert slugs(cold) == {"zero-grad-missing"}
    warm = tree.check()
    assert tree.judged == []
    assert (warm.findings, warm.files, warm.failing) == (cold.findings, 3, 1)
    assert warm.sources["train.py"] == SCRIPT


def test_changed_file_is_judged_again_and_no_other(tree):
    fixed = SCRIPT.replace("    optimizer.step()", "    optimizer.step()\n    model.zero_grad()")
    tree.write("train.py", fixed)
    assert tree.check().findings == []
    assert tree.judged == ["train.py"]


def test_change_that_keeps_size_and_time_is_seen(tree):
    before = (tree.root / "train.py").stat()
    (tree.root / "train.py").write_text(SCRIPT.replace("optimizer.step()", "model.zero_grad"))
    os.utime(tree.root / "train.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "zero-grad-missing" not in slugs(tree.check())
    assert tree.judged == ["train.py"]


def test_touched_file_is_known_by_its_content(tree):
    tree.write("train.py", SCRIPT, when=LONG_AGO + 60)
    assert slugs(tree.check()) == {"zero-grad-missing"}
    assert tree.judged == []


def test_fresh_file_is_known_by_its_content_only(tree, monkeypatch):
    monkeypatch.setattr("convlint.dependencies._TOO_FRESH", 10**12)
    tree.write("new.py", SCRIPT, when=time.time())
    tree.check()
    assert tree.judged == ["new.py"]
    with sqlite3.connect(tree.database) as database:
        (size,) = database.execute("SELECT size FROM reports WHERE path = 'new.py'").fetchone()
    assert size == -1
    tree.check()
    assert tree.judged == []


@pytest.mark.parametrize("text", ["RATE = 1e9\n", None], ids=["edited", "gone"])
def test_change_of_an_imported_module_is_a_change(tree, text):
    if text is None:
        (tree.root / "settings.py").unlink()
    else:
        tree.write("settings.py", text)
    tree.check()
    assert "train.py" in tree.judged


def test_module_that_appears_where_it_was_looked_for_is_a_change(tree):
    script = SCRIPT.replace("import settings", "import settings\nfrom extras.more import Sampler")
    tree.write("deep/train.py", script)
    tree.check()
    tree.check()
    assert tree.judged == []
    tree.write("extras/more.py", "\n")
    tree.check()
    assert tree.judged == ["deep/train.py", "extras/more.py"]


def test_settings_file_that_is_missing_is_a_change_only_when_it_appears(tree):
    script = SCRIPT.replace(
        "import settings", "import settings\nimport yaml\nconfig = yaml.safe_load(open('run.yaml'))"
    )
    tree.write("train.py", script)
    tree.check()
    tree.check()
    assert tree.judged == []
    tree.write("run.yaml", "rate: 0.1\n")
    tree.check()
    assert tree.judged == ["train.py"]


def test_version_of_torch_asked_for_is_a_change_where_it_matters(tree):
    draws = """
import numpy
from torch.utils.data import DataLoader, Dataset

class Noisy(Dataset):
    def __getitem__(self, index):
        return numpy.random.normal()

loader = DataLoader(Noisy(), num_workers=4)
"""
    tree.write("train.py", SCRIPT + draws)
    tree.check()
    tree.check()
    assert tree.judged == []
    tree.write("requirements.txt", "torch==1.8.1\n")
    tree.check()
    assert tree.judged == ["train.py"]


def test_project_that_begins_elsewhere_is_a_change(tree):
    tree.write("deep/train.py", SCRIPT)
    tree.check()
    tree.write("deep/pyproject.toml", "")
    tree.check()
    assert tree.judged == ["deep/train.py"]


def test_settings_that_only_choose_do_not_judge_again(tree):
    for overrides in (
        Overrides(rules=RuleChoice(ignore=("LOP",))),
        Overrides(rules=RuleChoice(select=("ALL",)), min_confidence=Confidence.LOW),
        Overrides(fail_on=Severity.INFO, show_info=True),
    ):
        warm = tree.check(overrides=overrides)
        assert tree.judged == []
        assert warm.findings == tree.check(overrides=overrides, cache=None).findings


def test_severity_and_baseline_of_the_configuration_hold_for_what_is_recalled(tree):
    tree.write("pyproject.toml", "[tool.convlint.severity]\nzero-grad-missing = 'warning'\n")
    (finding,) = tree.check().findings
    assert tree.judged == []
    assert finding.severity is Severity.WARNING


OWN_RULE = """\
from convlint.findings import Location, Severity
from convlint.rule_options import Option
from convlint.rules import Rule


class AnyProgram(Rule):
    \"\"\"Speaks of every program.\"\"\"

    code, slug, severity = "OWN001", "any-program", Severity.WARNING
    most = Option(5, "Programs allowed.")

    def static(self, program):
        if self.most < 5:
            yield self.finding(Location(program.path, 1, 1, 1, 2), "a program")
"""


def test_options_and_code_of_a_projects_rule_are_part_of_what_is_remembered(tree):
    tree.write("rules/any_program.py", OWN_RULE)
    settings = "[tool.convlint]\nrules = ['rules']\n"
    tree.write("pyproject.toml", settings)
    assert "any-program" not in slugs(tree.check("train.py"))
    assert tree.judged == ["train.py"]
    tree.check("train.py")
    assert tree.judged == []
    tree.write("pyproject.toml", settings + "rule-options.any-program.most = 1\n")
    assert "any-program" in slugs(tree.check("train.py"))
    tree.write("rules/any_program.py", OWN_RULE + "\n")
    tree.check("train.py")
    assert tree.judged == ["train.py"]


def test_suppression_comments_hold_for_what_is_recalled(tree):
    silenced = SCRIPT.replace(".backward()", ".backward()  # convlint: ignore[LOP001] shown")
    tree.write("train.py", silenced)
    cold = tree.check()
    warm = tree.check()
    assert tree.judged == []
    assert warm.findings == cold.findings


def test_syntax_error_is_said_again(tree):
    tree.write("broken.py", "import torch\nx = (\n")
    cold = [str(problem) for problem in tree.check().problems]
    assert cold == ["broken.py:2:5: cannot parse: '(' was never closed"]
    assert [str(problem) for problem in tree.check().problems] == cold
    assert tree.judged == []


def test_other_working_directory_has_paths_of_its_own(tree, monkeypatch):
    tree.write("deep/model.py", SCRIPT)
    tree.check()
    monkeypatch.chdir(tree.root / "deep")
    assert [f.location.path for f in tree.check(".").findings] == ["model.py"]


def test_change_of_convlint_itself_forgets_everything(tree, monkeypatch):
    monkeypatch.setattr("convlint.memory.__version__", "999")
    tree.check()
    assert len(tree.judged) == 3


def test_files_that_are_gone_are_forgotten(tree):
    (tree.root / "plain.py").unlink()
    tree.write("settings.py", "RATE = 0.2\n")
    tree.check("settings.py")
    with sqlite3.connect(tree.database) as database:
        rows = database.execute("SELECT path FROM reports ORDER BY path").fetchall()
    assert rows == [("settings.py",), ("train.py",)]


def test_directory_hides_itself_from_git_and_backups(tree):
    assert (tree.root / "cache" / ".gitignore").read_text().endswith("\n*\n")
    tag = (tree.root / "cache" / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55")


DAMAGE = {
    "no database": lambda file: file.write_bytes(b"not a database at all" * 1000),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "garbage inside": lambda file: file.write_bytes(
        file.read_bytes()[:4096] + os.urandom(file.stat().st_size - 4096)
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_database_is_made_anew_without_a_word_but_a_note(tree, damage):
    cold = tree.check(cache=None)
    damage(tree.database)
    assert tree.check().findings == cold.findings
    assert len(tree.judged) == 3
    assert tree.check().findings == cold.findings
    assert tree.judged == []
    assert all("\n" not in note for note in tree.notes)


def test_database_of_another_program_is_made_anew(tree):
    tree.database.unlink()
    with sqlite3.connect(tree.database) as database:
        database.execute("CREATE TABLE reports (id INTEGER)")
    tree.check()
    assert len(tree.notes) == 1
    assert "another program" in tree.notes[0]
    tree.check()
    assert tree.judged == []


def test_report_that_was_tampered_with_is_not_believed(tree):
    with sqlite3.connect(tree.database) as database:
        database.execute("UPDATE reports SET report = x'00' WHERE path = 'train.py'")
    assert slugs(tree.check()) == {"zero-grad-missing"}
    assert tree.judged == ["train.py"]


def test_place_that_cannot_be_written_is_done_without(tree):
    (tree.root / "file").write_text("")
    outcome = tree.check(cache=tree.root / "file" / "cache")
    assert slugs(outcome) == {"zero-grad-missing"}
    assert len(tree.notes) == 1
    assert "is not used" in tree.notes[0]


def test_database_another_run_writes_to_is_done_without(tree, monkeypatch):
    monkeypatch.setattr("convlint.report_store._PATIENCE", 0.05)
    other = sqlite3.connect(tree.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tree.write("train.py", SCRIPT + "\n")
    assert slugs(tree.check()) == {"zero-grad-missing"}
    assert ["locked" in note for note in tree.notes] == [True]
    other.execute("ROLLBACK")
    other.close()


def test_disk_that_is_full_costs_the_cache_only(tree, monkeypatch):
    connect = sqlite3.connect

    def small(*arguments, **options):
        database = connect(*arguments, **options)
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    monkeypatch.setattr("convlint.report_store.sqlite3.connect", small)
    for number in range(60):
        tree.write(f"more_{number}.py", SCRIPT)
    assert tree.check().files == 63
    assert ["full" in note for note in tree.notes] == [True]


def test_cache_lies_beside_the_configuration_of_the_project(tree, monkeypatch):
    (tree.root / "deep").mkdir()
    monkeypatch.chdir(tree.root / "deep")
    assert cache_directory() == tree.root / ".convlint_cache"
    assert cache_directory(Path("elsewhere")) == Path("elsewhere")


def test_standard_input_and_changed_text_are_not_kept(tree):
    outcome = tree.check("-", stdin=SCRIPT.encode(), stdin_name="train.py")
    assert slugs(outcome) == {"zero-grad-missing"}
    outcome = tree.check(replaced={"train.py": b"import torch\n"})
    assert outcome.findings == []
    assert slugs(tree.check()) == {"zero-grad-missing"}
