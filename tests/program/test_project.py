"""Other files of the project are seen on disk; libraries and what cannot be read are not guessed."""

import os
from pathlib import Path

import pytest
from extraction import chain, extract, objects

from convlint.program import ProjectIndex, SourceSyntaxError, extract_program
from convlint.program.facts import ObjectKind

MODEL = """
import torch.nn as nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
    def forward(self, x):
        return self.fc(x).sigmoid()
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "statement",
    [
        "from models.net import Net",
        "from models import Net",
        "from models import *",
        "import models.net as net\nNet = net.Net",
    ],
)
def test_model_class_of_another_file(tmp_path: Path, statement: str) -> None:
    write(tmp_path, models__net=MODEL, pyproject="")
    (tmp_path / "models" / "__init__.py").write_text("from .net import Net\nfrom . import net\n")
    (tmp_path / "pyproject.toml").touch()
    script = tmp_path / "train.py"
    script.write_text(f"import torch\n{statement}\nout = Net()(torch.randn(2, 4))\n")
    program = extract_program(script.read_text(), str(script))
    (model,) = program.models
    assert chain(program, model.outputs[0])[:2] == ["sigmoid", "linear"]
    assert program.objects[model.layers[0]].location.path.endswith("models/net.py")


def test_circular_imports_end(tmp_path: Path) -> None:
    write(tmp_path, a="import b\nimport torch\nx = 1\n", b="import a\ny = 2\n")
    program = extract_program((tmp_path / "a.py").read_text(), str(tmp_path / "a.py"))
    assert program.problems == ()


def test_recursion_in_the_program_ends() -> None:
    program = extract("import torch\ndef f(n):\n    return f(n - 1)\nf(torch.randn(3))\n")
    assert program.problems == ()


def test_local_file_does_not_shadow_a_library(tmp_path: Path) -> None:
    write(tmp_path, torch="class optim: pass\n", train="")
    source = "import torch\nopt = torch.optim.SGD(params(), lr=0.1)\n"
    program = extract_program(source, str(tmp_path / "train.py"))
    assert [o.cls for o in objects(program, ObjectKind.OPTIMIZER)] == ["torch.optim.SGD"]


def test_syntax_error_names_place_and_cause() -> None:
    with pytest.raises(SourceSyntaxError) as caught:
        extract_program("import torch\nx = (1))\n", "train.py")
    assert str(caught.value) == "train.py:2:8: cannot parse: unmatched ')'"


def test_one_index_serves_many_files(tmp_path: Path) -> None:
    write(
        tmp_path, net=MODEL, one="from net import Net\nNet()\n", two="from net import Net\nNet()\n"
    )
    index = ProjectIndex()
    for name in ("one", "two"):
        script = tmp_path / f"{name}.py"
        program = extract_program(script.read_text(), str(script), index=index)
        assert [m.cls for m in program.models] == ["net.Net"]


def test_names_are_resolved_through_imports_never_bare() -> None:
    program = extract("from mylib import SGD, Linear\nopt = SGD(Linear(1, 1).parameters(), lr=9)\n")
    assert objects(program, ObjectKind.OPTIMIZER) == []
    assert objects(program, ObjectKind.LAYER) == []


def test_the_standard_library_is_no_project() -> None:
    beside = Path(os.__file__).with_name("train.py")
    assert ProjectIndex().resolve("heapq", 0, beside, beside.parent) is None
