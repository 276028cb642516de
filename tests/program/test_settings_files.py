"""Settings in YAML, JSON and TOML files of the project are read, and their lines are cited."""

import textwrap
from pathlib import Path

import pytest

from convlint.engine import check_paths
from convlint.program import extract_program
from convlint.program.facts import ObjectKind, Value

HEAD = """
import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

def train(rate):
    return torch.optim.AdamW(model.parameters(), lr=rate)
"""

FILES = {
    "pyproject.toml": "",
    "conf/config.yaml": "epochs: 3\noptim:\n  name: adamw\n  lr: 0.5\n",
    "conf/config.json": '{"epochs": 3,\n "optim": {\n  "lr": 0.5, "nesterov": true}}\n',
    "conf/config.toml": "epochs = 3\n[optim]\n# rates\nlr = 0.5\n",
    "conf/grouped.yaml": "defaults:\n  - optim: adamw\n  - _self_\nepochs: 3\n",
    "conf/overridden.yaml": "defaults:\n  - optim: sgd\n  - _self_\noptim:\n  lr: 0.5\n",
    "conf/replaced.yaml": "defaults:\n  - grouped\n  - override optim: sgd\n",
    "conf/referring.yaml": "rate: 0.5\noptim:\n  lr: ${rate}\n",
    "conf/environment.yaml": "optim:\n  lr: ${oc.env:LR}\n",
    "conf/required.yaml": "optim:\n  lr: ???\n",
    "conf/everywhere.yaml": "defaults:\n  - experiment: large\noptim:\n  lr: 0.1\n",
    "conf/experiment/large.yaml": "# @package _global_\nseed: 3\n",
    "conf/optim/adamw.yaml": "# rates\nname: adamw\nlr: 0.5\n",
    "conf/optim/sgd.yaml": "name: sgd\nlr: 0.01\n",
    "conf/built.yaml": "optim:\n  _target_: torch.optim.AdamW\n  lr: 5e-1\n",
    "conf/looping.yaml": "defaults:\n  - looping\noptim: &again\n  lr: *again\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rates(project: Path, source: str) -> list[Value]:
    """The rates of all optimizers that are known."""
    script = project / "train.py"
    script.write_text(HEAD + textwrap.dedent(source))
    program = extract_program(script.read_text(), "train.py")
    found = [o.args["lr"] for o in program.objects if o.kind is ObjectKind.OPTIMIZER]
    return [value for value in found if value.known]


READ = {
    "opened yaml": (
        """
        import yaml
        with open("conf/config.yaml") as file:
            config = yaml.safe_load(file)
        train(config["optim"]["lr"])
        """,
        "optim.lr in conf/config.yaml, line 4",
    ),
    "path from the command line": (
        """
        import argparse, yaml
        parser = argparse.ArgumentParser()
        parser.add_argument("--config", default="conf/config.yaml")
        args = parser.parse_args()
        config = yaml.load(open(args.config), Loader=yaml.FullLoader)
        train(config["optim"]["lr"])
        """,
        "optim.lr in conf/config.yaml, line 4",
    ),
    "json beside the script": (
        """
        import json
        from pathlib import Path
        HERE = Path(__file__).resolve().parent
        config = json.loads((HERE / "conf" / "config.json").read_text())
        train(config["optim"]["lr"])
        """,
        "optim.lr in conf/config.json, line 3",
    ),
    "json into objects": (
        """
        import json, os
        from types import SimpleNamespace
        with open(os.path.join(os.path.dirname(__file__), "conf", "config.json")) as file:
            config = json.load(file, object_hook=lambda table: SimpleNamespace(**table))
        train(config.optim.lr)
        """,
        "optim.lr in conf/config.json, line 3",
    ),
    "toml": (
        """
        import tomllib
        with open("conf/config.toml", "rb") as file:
            config = tomllib.load(file)
        train(config["optim"]["lr"])
        """,
        "optim.lr in conf/config.toml, line 4",
    ),
    "omegaconf": (
        """
        from omegaconf import OmegaConf
        config = OmegaConf.merge(OmegaConf.load("conf/config.yaml"), OmegaConf.from_cli())
        train(config.optim.lr)
        """,
        "optim.lr in conf/config.yaml, line 4",
    ),
    "keywords of the optimizer": (
        """
        from omegaconf import OmegaConf
        config = OmegaConf.load("conf/optim/adamw.yaml")
        torch.optim.AdamW(model.parameters(), **config)
        """,
        "lr in conf/optim/adamw.yaml, line 3",
    ),
}


@pytest.mark.parametrize(("source", "text"), READ.values(), ids=READ)
def test_value_of_a_file_cites_its_line(project: Path, source: str, text: str) -> None:
    (rate,) = rates(project, source)
    assert rate.number == 0.5
    assert rate.origin is not None
    assert (rate.origin.kind, rate.origin.text) == ("file", text)
    assert rate.origin.location is not None
    assert text.endswith(f"line {rate.origin.location.line}")
    line = Path(rate.origin.location.path).read_text().splitlines()[rate.origin.location.line - 1]
    place = rate.origin.location
    assert line[place.column - 1 : place.end_column - 1] == "0.5"


def hydra(name: str, body: str = "train(config.optim.lr)") -> str:
    """A script whose configuration hydra composes from ``conf/name.yaml``."""
    return f"""
        import hydra
        @hydra.main(version_base=None, config_path="conf", config_name="{name}")
        def main(config):
            {body}
        if __name__ == "__main__":
            main()
        """


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config", "optim.lr in conf/config.yaml, line 4"),
        ("grouped", "optim.lr in conf/optim/adamw.yaml, line 3"),
        ("overridden", "optim.lr in conf/overridden.yaml, line 5"),
        ("referring", "optim.lr in conf/referring.yaml, line 1"),
    ],
)
def test_hydra_composes_its_configuration(project: Path, name: str, text: str) -> None:
    (rate,) = rates(project, hydra(name))
    assert rate.number == 0.5
    assert rate.origin is not None
    assert rate.origin.text == text


def test_hydra_replaces_the_option_of_a_group(project: Path) -> None:
    assert [rate.number for rate in rates(project, hydra("replaced"))] == [0.01]


def test_hydra_merges_a_global_package_at_the_top(project: Path) -> None:
    (rate,) = rates(project, hydra("everywhere", "train(config.optim.lr * config.seed)"))
    assert rate.number == pytest.approx(0.3)


def test_hydra_instantiates_what_the_file_names(project: Path) -> None:
    body = "hydra.utils.instantiate(config.optim, params=model.parameters())"
    (rate,) = rates(project, hydra("built", body))
    assert rate.number == 0.5


@pytest.mark.parametrize("name", ["environment", "required", "absent", "looping"])
def test_what_hydra_cannot_know_stays_unknown(project: Path, name: str) -> None:
    assert rates(project, hydra(name)) == []


def test_files_outside_the_project_are_not_read(project: Path) -> None:
    inside = project / "package"
    inside.mkdir()
    (inside / "pyproject.toml").touch()
    source = 'import json\ntrain(json.load(open("../conf/config.json"))["optim"]["lr"])\n'
    assert rates(inside, source) == []


@pytest.mark.parametrize("text", ["{", "optim: [", "\x00", ""])
def test_file_that_cannot_be_parsed_is_not_guessed(project: Path, text: str) -> None:
    for name in ("broken.yaml", "broken.json", "broken.toml"):
        (project / name).write_text(text)
    assert (
        rates(
            project,
            """
            import json, tomllib, yaml
            train(yaml.safe_load(open("broken.yaml"))["lr"])
            train(json.load(open("broken.json"))["lr"])
            train(tomllib.load(open("broken.toml", "rb"))["lr"])
            """,
        )
        == []
    )


def test_finding_points_at_the_line_of_the_file(project: Path) -> None:
    source = f"""
        from torch.utils.data import DataLoader, TensorDataset
        {textwrap.dedent(hydra("config")).replace(chr(10), chr(10) + "        ")}
        """
    script = project / "train.py"
    script.write_text(HEAD + textwrap.dedent(source))
    findings = [f for f in check_paths([script]).findings if f.slug == "adaptive-lr-high"]
    (finding,) = findings
    assert "optim.lr in conf/config.yaml, line 4" in finding.message
    (related,) = finding.related
    assert (related.location.path, related.location.line) == ("conf/config.yaml", 4)


def test_default_in_a_file_that_was_not_passed_is_cited(project: Path) -> None:
    (project / "settings.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Settings:\n    lr: float = 0.5\n"
    )
    (rate,) = rates(project, "from settings import Settings\ntrain(Settings().lr)\n")
    assert rate.origin is not None
    assert rate.origin.location is not None
    assert (rate.origin.location.path, rate.origin.location.line) == ("settings.py", 6)
