"""Notebooks: places by cell, lines that are no Python, and JSON that stays as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlint.documents import open_document
from convlint.engine import check_paths
from convlint.errors import UserError
from convlint.notebooks import Notebook, cell_starts, only_cell


def notebook(*cells: str, kinds: dict[int, str] | None = None, **layout) -> bytes:
    """Format 4, with a cell for each source; ``kinds`` are those that are not code, by number."""
    listed = [
        {
            "cell_type": (kinds or {}).get(number, "code"),
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        for number, source in enumerate(cells, start=1)
    ]
    whole = {"cells": listed, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(whole, **{"indent": 1, **layout}) + "\n").encode()


SETUP = """\
import torch
from torch import nn
model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = [(torch.zeros(4, 2), torch.zeros(4, 1))] * 3
"""
LOOP = """\
for x, y in loader:
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
"""


@pytest.fixture
def checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def check(data: bytes, **options):
        (tmp_path / "a.ipynb").write_bytes(data)
        return check_paths(["."], **options)

    return check


def places(outcome) -> list[tuple[str, int, str]]:
    return [(f.location.shown_path, f.location.shown_line, f.slug) for f in outcome.findings]


def test_place_is_that_in_the_cell_counted_over_all_cells(checked):
    outcome = checked(notebook(SETUP, "# A title", LOOP, kinds={2: "markdown"}))
    assert [(path, slug) for path, _, slug in places(outcome)] == [
        ("a.ipynb:cell 3", "zero-grad-missing")
    ]
    (finding,) = outcome.findings
    assert 1 <= finding.location.shown_line <= 4


def test_report_is_kept_and_recalled(checked, tmp_path):
    data = notebook(SETUP, LOOP)
    cold = checked(data, cache=tmp_path / "cache")
    assert checked(data, cache=tmp_path / "cache").findings == cold.findings != []


def test_magics_shell_lines_and_help_are_no_syntax_errors(checked):
    setup = (
        "%matplotlib inline\n!pip install \\\n  torch\n?torch\ntorch.nn??\nfiles = !ls\n" + SETUP
    )
    shell = "%%bash\nfor x in a b; do\n  echo $x\ndone\n"
    timed = "%%time\n" + LOOP
    nested = "if True:\n    %timeit 1\nx = (1\n     % 2)\n"
    outcome = checked(notebook(setup, shell, timed, nested))
    assert outcome.problems == []
    assert [(path, slug) for path, _, slug in places(outcome)] == [
        ("a.ipynb:cell 3", "zero-grad-missing")
    ]


def test_magic_without_its_percent_sign_is_no_syntax_error(checked):
    outcome = checked(notebook("pip install -r requirements.txt\ncd data\n" + SETUP, LOOP))
    assert outcome.problems == []
    assert [(path, slug) for path, _, slug in places(outcome)] == [
        ("a.ipynb:cell 2", "zero-grad-missing")
    ]


def test_cell_that_is_no_python_is_one_line_with_its_place(checked):
    outcome = checked(notebook(SETUP, "x = (\n"))
    assert [str(problem) for problem in outcome.problems] == [
        "a.ipynb:cell 2:1:5: cannot parse: '(' was never closed"
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"torch",
        b"{'torch'",
        b"[1, 'torch']",
        b'{"torch": 1}',
        b'{"cells": 3, "x": "torch"}',
        b'{"cells": [{"cell_type": "code", "source": 4}], "x": "torch"}',
        b'{"cells": ["torch"]}',
        b"\xff\xfetorch",
        b'["torch", ' + b"[" * 100_000,
    ],
)
def test_file_that_is_no_notebook_is_one_line(checked, data):
    outcome = checked(data)
    (problem,) = outcome.problems
    assert str(problem).startswith("a.ipynb")
    assert "notebook" in str(problem) or "UTF-16" in str(problem)


def test_other_languages_are_left_alone(checked):
    data = json.loads(notebook("library(torch)\nx <- 3\n"))
    data["metadata"] = {"kernelspec": {"language": "R"}}
    outcome = checked(json.dumps(data).encode())
    assert (outcome.findings, outcome.problems) == ([], [])


def test_what_another_cell_did_before_is_no_fault(checked):
    evaluated = "model.eval()\n"
    healthy = LOOP.replace("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()")
    together = SETUP + evaluated + healthy
    assert (
        "training-in-eval-mode"
        in " ".join(slug for *_, slug in places(checked(notebook(together))))
        or checked(notebook(together)).findings
    )
    assert checked(notebook(SETUP, evaluated, healthy)).findings == []


def test_value_a_cell_ends_with_is_shown_and_not_discarded(checked):
    found = checked(notebook("import torch\nx = torch.zeros(6)", "x.reshape(3, 2)\n# its shape"))
    assert places(found) == []
    found = checked(notebook("import torch\nx = torch.zeros(6)", "x.reshape(3, 2)\nprint(x)"))
    assert places(found) == [("a.ipynb:cell 2", 1, "discarded-result")]


def test_optimizer_of_a_cell_that_does_not_train_is_left_to_other_cells(checked):
    define = (
        "def train(model, optimizer):\n"
        "    for x, y in loader:\n"
        "        optimizer.zero_grad()\n"
        "        nn.functional.mse_loss(model(x), y).backward()\n"
        "        optimizer.step()\n"
    )
    shown = (
        "model = nn.Linear(2, 1)\n"
        "optimizer = torch.optim.AdamW(model.parameters())\n"
        "for x, y in loader:\n"
        "    optimizer.zero_grad()\n"
    )
    backward = "    nn.functional.mse_loss(model(x), y).backward()\n"
    data = "import torch\nfrom torch import nn\nloader = [(torch.zeros(4, 2), torch.zeros(4, 1))] * 3\n"
    assert places(checked(notebook(data, shown, define.replace("optimizer.step()", "pass")))) == []
    found = places(checked(notebook(data, shown + backward)))
    assert ("a.ipynb:cell 2", 2, "never-stepped") in found


def test_third_format_is_read(checked):
    cells = [
        {"cell_type": "code", "language": "python", "input": [SETUP]},
        {"cell_type": "code", "language": "python", "input": LOOP},
    ]
    whole = {"worksheets": [{"cells": cells}], "metadata": {}, "nbformat": 3}
    outcome = checked(json.dumps(whole).encode())
    assert [path for path, *_ in places(outcome)] == ["a.ipynb:cell 2"]


def test_comment_in_a_cell_silences(checked):
    silenced = LOOP.replace("for x", "# convlint: ignore-file[zero-grad-missing] shown\nfor x")
    assert checked(notebook(SETUP, silenced)).findings == []


LAYOUTS = [
    {"indent": 1},
    {"indent": 4, "ensure_ascii": False},
    {"indent": None, "separators": (",", ":")},
    {"indent": "\t", "sort_keys": True},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_changed_cell_is_written_as_it_was_and_nothing_else_changes(layout):
    data = notebook("%time x = 'é'\ny = 1\n", "z = '\u2028'", "last = 2", **layout)
    document = open_document("a.ipynb", data)
    assert document.encode(document.text) == data
    changed = document.encode(document.text.replace("y = 1", "y = 10").replace("last", "final"))
    before, after = json.loads(data), json.loads(changed)
    assert "".join(after["cells"][0]["source"]) == "%time x = 'é'\ny = 10\n"
    assert "".join(after["cells"][2]["source"]) == "final = 2"
    for cell in (*before["cells"], *after["cells"]):
        cell["source"] = []
    assert after == before
    assert json.dumps(json.loads(changed), **layout) + "\n" == changed.decode()


def test_source_written_as_one_string_stays_one():
    data = b'{"cells": [{"cell_type": "code", "source": "import torch\\nx = 1"}]}'
    document = open_document("a.ipynb", data)
    assert document.encode(document.text.replace("x = 1", "x = 2")) == data.replace(b"= 1", b"= 2")


def test_text_put_above_the_first_cell_belongs_to_it():
    document = open_document("a.ipynb", notebook("x = 1\n", "y = 2\n"))
    changed = json.loads(document.encode("import math\n" + document.text))
    assert "".join(changed["cells"][0]["source"]) == "import math\nx = 1\n"


def test_text_whose_cells_are_lost_is_not_written():
    document = open_document("a.ipynb", notebook("x = 1\n"))
    with pytest.raises(UserError, match="cells cannot be told apart"):
        document.encode("x = 1\n")


sources = st.lists(st.text(alphabet="ab=1 \n\t%!?#\\'é\u2028\r(", max_size=30), max_size=5)


@settings(deadline=None)
@given(sources, st.sampled_from(LAYOUTS))
def test_text_of_any_cells_turns_back_into_them(cells, layout):
    data = notebook(*cells, **layout)
    read = Notebook(data, "a.ipynb")
    assert read.encode(read.text) == data


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_a_notebook_fail_otherwise(data):
    try:
        Notebook(data, "a.ipynb")
    except UserError as error:
        assert "\n" not in str(error)


def test_cells_whose_lines_end_in_carriage_returns_keep_their_numbers():
    text = "# ~convlint~ cell 1\nimport torch\rx = [1]\rprint(x)\r\n# ~convlint~ cell 2\nprint(1)\n"
    kept = only_cell(text, 2)
    assert cell_starts(text) == cell_starts(kept) == [(1, 1), (5, 2)]
    assert kept == text.replace("print(x)", "")
