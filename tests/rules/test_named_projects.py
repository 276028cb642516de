"""The faults the product is named for, in whole projects: found where they are, and only there.

``projects_*.py`` hold the projects. The sick twin differs from the healthy one by one change, often in
another file than the one in which the fault shows.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from convlint.engine import check_paths
from convlint.findings import Severity
from convlint.selection import RuleChoice
from convlint.settings import Overrides

HERE = Path(__file__).parent
CASES = {
    f"{case.slug}: {case.name}": case
    for path in sorted(HERE.glob("projects_*.py"))
    for case in importlib.import_module(path.stem).PROJECTS
}
ENOUGH = 15
"""Projects with each of the faults, and as many without."""


def found(folder: Path, project: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The slugs of what is found at warning or above in the files of the project."""
    for part in project.split("#: ")[1:]:
        name, _, source = part.partition("\n")
        (folder / name).write_text(source)
    (folder / "pyproject.toml").touch()
    monkeypatch.chdir(folder)
    outcome = check_paths(["."], Overrides(rules=RuleChoice()))
    assert outcome.problems == []
    return [f.slug for f in outcome.findings if f.severity is not Severity.INFO]


@pytest.mark.parametrize("path", sorted(HERE.glob("projects_*.py")), ids=lambda path: path.stem)
def test_each_fault_is_tried_on_enough_projects(path: Path) -> None:
    projects = importlib.import_module(path.stem).PROJECTS
    assert sum(case.without is not None for case in projects) >= ENOUGH


@pytest.mark.parametrize("name", CASES)
def test_healthy_project_is_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(tmp_path, CASES[name].source, monkeypatch) == []


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.without])
def test_fault_of_a_project_is_found_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    there, instead = case.without
    assert there in case.source
    assert found(tmp_path, case.source.replace(there, instead), monkeypatch) == [case.slug]
