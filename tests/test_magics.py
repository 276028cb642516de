"""``%audit`` and ``%%audit`` in a real IPython shell, and which cells a cell rests on."""

from __future__ import annotations

import html
import re

import pytest

from convlint.needed_cells import names_of, with_definitions

IPython = pytest.importorskip("IPython")

IMPORTS = "import torch\nfrom torch import nn\n"
MODEL = "torch.manual_seed(0)\nmodel = nn.Linear(4, 1)\nx = torch.randn(64, 4)\n"
TARGET = "y = x.sum(1, keepdim=True)\n"
LOOP = """\
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(400):
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A shell in an empty directory, with the extension loaded."""
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_cell("%load_ext convlint", store_history=True)
    yield shell
    InteractiveShell.clear_instance()


def run(shell, cell):
    done = shell.run_cell(cell, store_history=True)
    assert done.error_before_exec is None
    return done


def test_cell_is_audited_with_the_cells_that_define_its_names(shell, tmp_path):
    for cell in (IMPORTS, MODEL, "raise RuntimeError('not needed')", TARGET):
        run(shell, cell)
    before = shell.user_ns["model"].weight.clone()
    report = run(shell, f"%%audit --tier quick --device cpu --no-cache\n{LOOP}").result
    assert report.decision == "no-go"
    assert "zero-grad-missing" in {finding.slug for finding in report.findings}
    assert repr(report).startswith("Verdict: no-go: zero-grad-missing")
    # The fifth cell after %load_ext; places are those of the session.
    assert ".convlint-cells.ipynb:cell 6:" in repr(report)
    assert (shell.user_ns["model"].weight == before).all()
    assert "optimizer" not in shell.user_ns
    assert {path.name for path in tmp_path.iterdir()} <= {"ipython", ".convlint_cache"}


def test_report_in_a_notebook_is_the_page_in_a_frame(shell, tmp_path):
    (tmp_path / "train.py").write_text(IMPORTS + MODEL + TARGET + LOOP)
    report = run(shell, "%audit train.py --tier quick --device cpu").result
    shown = shell.display_formatter.format(report)[0]
    assert shown["text/plain"].startswith("Verdict: no-go")
    frame = re.fullmatch(
        r'<iframe srcdoc="([^"]*)" sandbox="allow-downloads" .*', shown["text/html"]
    )
    page = html.unescape(frame[1])
    assert page.lstrip().startswith("<!doctype html>")
    assert "convlint audit of <code>train.py</code>" in page
    assert "zero-grad-missing" in page


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%audit gone.py", "convlint: gone.py: no such file\n"),
        ("%audit --tier huge train.py", "convlint: invalid value for '--tier'"),
        ("%audit 'train.py", "convlint: %audit 'train.py: No closing quotation\n"),
        (
            "%%audit\nimport torch\nx = (",
            "convlint: .convlint-cells.ipynb:cell 2:2:5: cannot parse",
        ),
    ],
)
def test_mistake_is_one_line_and_no_traceback(shell, capsys, line, said):
    done = run(shell, line)
    assert done.result is None
    assert done.error_in_exec is None
    printed = capsys.readouterr().out
    assert printed.lower().startswith(said.lower())
    assert printed.count("\n") == 1


def needed(*cells):
    return [bool(text) for text in with_definitions(cells, cells[-1])]


def test_definition_of_a_definition_is_needed_and_what_is_not_used_is_left_out():
    assert needed("a = 1", "b = a", "c = 2", "print(b)") == [True, True, False, True]


def test_last_definition_before_the_use_counts():
    assert needed("a = 1", "a = 2", "b = a", "a = 3", "print(b)") == [
        False,
        True,
        True,
        False,
        True,
    ]


def test_cell_that_changes_a_name_needs_the_one_that_made_it():
    assert needed("a = 1", "a += 1", "print(a)") == [True, True, True]
    assert needed("x = 255", "x = x / 255", "print(x)") == [True, True, True]


def test_magics_and_what_is_no_python_are_left_out():
    assert needed("%%bash\na = 1", "a = (", "%matplotlib inline\na = 1", "a") == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("cell", "defined", "used"),
    [
        ("import torch.nn as nn, os.path", {"nn", "os"}, set()),
        ("def f(x, k=rate):\n    y = x\n    return y + model", {"f"}, {"rate", "model"}),
        ("class A(Base):\n    size = n\n    def f(self):\n        return size", {"A"}, {"Base", "n", "size"}),
        ("out = [i for i in data]", {"out"}, {"data"}),
        ("for x in loader:\n    loss = f(x)\n    total += loss", {"x", "loss", "total"}, {"loader", "f", "total"}),
        ("model = model.to(device)", {"model"}, {"model", "device"}),
        ("a = 1\nb = a", {"a", "b"}, set()),
    ],
)  # fmt: skip
def test_names_of_a_cell(cell, defined, used):
    names = names_of(cell)
    assert (names.defined, names.used & {*used, "x", "y", "i", "k"}) == (defined, used)
    assert names.used == used
