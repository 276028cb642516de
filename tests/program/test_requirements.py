"""The version of torch that a project asks for is read from its files, and their lines are cited."""

from pathlib import Path

import pytest

from convlint.engine import check_paths
from convlint.program.requirements import clauses_of
from convlint.selection import RuleChoice
from convlint.settings import Overrides

SCRIPT = """
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

class Noisy(Dataset):
    def __len__(self):
        return 512

    def __getitem__(self, index):
        return torch.tensor(np.random.normal())

loader = DataLoader(Noisy(), batch_size=64, shuffle=True, num_workers=4)
"""

WRITTEN = {
    "torch==1.8.1": (("==", "1.8.1"),),
    "torch == 1.8.1+cu111": (("==", "1.8.1"),),
    "torch>=1.5,<1.9": ((">=", "1.5"), ("<", "1.9")),
    "torch[opt]~=1.8.0": (("~=", "1.8.0"),),
    "torch==1.7.*": (("==", "1.7.*"),),
    "torch": (),
    "pytorch=1.7.1=py3.8_cuda11.0": (("==", "1.7.1.*"),),
    "pytorch::pytorch=1.8": (("==", "1.8.*"),),
    "torch @ https://download.pytorch.org/torch.whl": None,
    "torch==1.8.1; python_version < '3.9'": None,
    "torchvision==0.9": None,
}


@pytest.mark.parametrize("written", WRITTEN)
def test_requirement_is_read_as_operators_and_versions(written: str) -> None:
    assert clauses_of(written) == WRITTEN[written]


OLD = {
    "requirements.txt": "# torch\nnumpy\ntorch==1.8.1  # the last for our driver\ntorchvision\n",
    "setup.cfg": "[options]\ninstall_requires =\n    numpy\n    torch<1.9\n",
    "pyproject.toml": '[project]\nname = "a"\ndependencies = [\n  "torch==1.7.1",\n]\n',
    "environment.yml": "channels:\n  - pytorch\ndependencies:\n  - pytorch=1.7.1\n",
    "environment.yaml": "dependencies:\n  - pip\n  - pip:\n    - torch==1.7.1\n",
}
POETRY = '[tool.poetry.dependencies]\npython = "^3.8"\ntorch = {}\n'


def reported(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> list[str]:
    """The places that the rule cites, when the script lies one folder below these files."""
    (folder / "src").mkdir()
    (folder / "src" / "train.py").write_text(SCRIPT)
    (folder / ".git").mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    outcome = check_paths(["src"], Overrides(rules=RuleChoice(select=("np-random-in-getitem",))))
    return [f"{f.related[1].location.path}:{f.related[1].location.line}" for f in outcome.findings]


@pytest.mark.parametrize("name", OLD)
def test_old_version_is_found_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = 1 + next(
        number
        for number, text in enumerate(OLD[name].splitlines())
        if "torch=" in text or "torch<" in text
    )
    cited = reported(tmp_path, monkeypatch, {name: OLD[name]})
    assert [place.partition(":")[0] for place in cited] == [name]
    if name != "pyproject.toml":
        assert cited == [f"{name}:{line}"]


@pytest.mark.parametrize(
    ("asked", "old"),
    [('"1.8.1"', True), ('"~1.8"', True), ('"^1.8"', False), ('{version = "<1.9"}', True)],
)
def test_poetry_has_a_language_of_its_own(
    asked: str, old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cited = reported(tmp_path, monkeypatch, {"pyproject.toml": POETRY.format(asked)})
    assert bool(cited) is old


def test_files_that_disagree_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"requirements.txt": "torch==1.8.1\n", "setup.cfg": "install_requires = torch\n"}
    assert reported(tmp_path, monkeypatch, files) == []


def test_project_that_says_nothing_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reported(tmp_path, monkeypatch, {}) == []
