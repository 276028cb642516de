"""The language server, end to end: an editor's messages in, its answers out."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from capabilities import PULLED, PUSHED
from pygls.uris import to_fs_path

from convlint.server.checker import LONGEST_CHECK

SICK = """\
import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in [(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))] * 9:
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""
HEALTHY = SICK.replace("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()")
MISSING = "zero-grad-missing"

RULE = '''
from convlint.findings import Applicability, Edit, Fix, Severity
from convlint.program.facts import ObjectKind
from convlint.rules import Rule

print("a rule may print")


class HouseRate(Rule):
    """The learning rate is not that of this house.

    ## What it does
    Reports every rate but 0.25.
    """

    code, slug, severity = "HSE001", "house-rate", Severity.INFO
    severity = Severity.WARNING

    def static(self, program):
        for optimizer in program.objects:
            rate = optimizer.args.get("lr")
            if optimizer.kind is ObjectKind.OPTIMIZER and rate is not None and rate.number != 0.25:
                place = rate.location
                fix = Fix("use 0.25", (Edit(place, "0.25"),), Applicability.SAFE)
                yield self.finding(place, "another rate", help="use 0.25", fix=fix)
'''
IN_HOUSE = 'rules = ["checks"]\n'


def slugs(diagnostics) -> list[str]:
    return [said["code"] for said in diagnostics]


@pytest.fixture
def house(tmp_path):
    """A project whose one rule, its own, can be fixed."""
    (tmp_path / "convlint.toml").write_text(f'select = ["HSE"]\n{IN_HOUSE}')
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "rate.py").write_text(RULE)
    return tmp_path


def applied(text: str, edits) -> str:
    """``text`` of one-byte characters with edits of the protocol made."""
    lines = [*text.splitlines(keepends=True), ""]
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]

    def offset(position) -> int:
        return starts[position["line"]] + position["character"]

    for edit in sorted(edits, key=lambda edit: -offset(edit["range"]["start"])):
        start, end = offset(edit["range"]["start"]), offset(edit["range"]["end"])
        text = text[:start] + edit["newText"] + text[end:]
    return text


def test_findings_of_unsaved_text_come_and_go_while_typing(editor):
    client = editor()
    capabilities = client.start(PUSHED)["capabilities"]
    assert capabilities["textDocumentSync"]["change"] == 1
    uri = client.open("train.py", SICK)
    (said,) = client.diagnostics(uri, 1)
    assert said["code"] == MISSING
    assert said["severity"] == 1
    assert said["source"] == "convlint"
    assert "what to do: " in said["message"]
    assert said["codeDescription"]["href"].endswith(f"/{MISSING}.md")
    assert said["range"]["start"]["line"] in (5, 6, 7)
    client.change(uri, HEALTHY, 2)
    assert client.diagnostics(uri, 2) == []
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert client.diagnostics(uri) == []
    assert client.finish() == 0
    assert client.errors == []


def test_text_in_the_middle_of_a_word_is_one_error_and_no_end(editor):
    client = editor()
    client.start(PUSHED)
    uri = client.open("train.py", SICK + "loss = (\n")
    (said,) = client.diagnostics(uri, 1)
    assert said["message"] == "cannot parse: '(' was never closed"
    assert said["range"]["start"] == {"line": 8, "character": 7}
    for version, text in enumerate(
        [
            "import torch\n\0",
            "import torch\n" + "(" * 500,
            "\ud800torch",
            "# coding: nonsense\nimport torch\n",
        ],
        start=2,
    ):
        client.change(uri, text, version)
        assert len(client.diagnostics(uri, version)) <= 1
    client.change(uri, SICK, 9)
    assert slugs(client.diagnostics(uri, 9)) == [MISSING]


@pytest.mark.parametrize(("encoding", "width"), [("utf-16", 2), ("utf-32", 1), ("utf-8", 4)])
def test_places_count_in_the_units_agreed_on(house, editor, encoding, width):
    client = editor()
    agreed = {**PUSHED, "general": {"positionEncodings": [encoding]}}
    assert client.start(agreed)["capabilities"]["positionEncoding"] == encoding
    line = 'print("🔥", torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1))'
    uri = client.open("train.py", f"import torch\n{line}\n")
    (said,) = client.diagnostics(uri, 1)
    column = line.index("0.1") - 1 + width
    assert said["range"] == {
        "start": {"line": 1, "character": column},
        "end": {"line": 1, "character": column + 3},
    }
    assert "house-rate" in client.hover(uri, 1, column + 1)
    assert client.hover(uri, 1, column - 4) is None


def test_form_feed_and_line_separator_are_no_line_ends(house, editor):
    client = editor()
    client.start(PUSHED)
    text = "import torch\n\x0c\nname = 'a\u2028b'\n" + HEALTHY
    uri = client.open("train.py", text)
    (said,) = client.diagnostics(uri, 1)
    assert said["range"]["start"]["line"] == 3 + 3


def test_quick_fix_fix_all_and_ignore_are_offered_and_clear_the_finding(house, editor):
    client = editor()
    client.start(PUSHED)
    text = HEALTHY + "other = torch.optim.SGD(model.parameters(), lr=0.3)\n"
    uri = client.open("train.py", text)
    first, second = client.diagnostics(uri, 1)
    assert (first["severity"], first["data"]) == (2, {"code": "HSE001", "fixable": True})

    fix, ignore, explain, fix_all = client.actions(uri, first["range"])
    assert (fix["kind"], fix["isPreferred"]) == ("quickfix", True)
    (change,) = fix["edit"]["documentChanges"]
    assert change["textDocument"] == {"uri": uri, "version": 1}
    assert applied(text, change["edits"]) == text.replace("lr=0.1", "lr=0.25")

    assert fix_all["kind"] == "source.fixAll.convlint"
    both = applied(text, fix_all["edit"]["documentChanges"][0]["edits"])
    assert both == text.replace("lr=0.1", "lr=0.25").replace("lr=0.3", "lr=0.25")
    (alone,) = client.actions(uri, second["range"], ["source.fixAll"])
    assert alone == fix_all
    assert client.actions(uri, second["range"], ["refactor"]) == []

    silenced = applied(text, ignore["edit"]["documentChanges"][0]["edits"])
    assert "lr=0.1)  # convlint: ignore[house-rate]\n" in silenced
    client.change(uri, silenced, 2)
    assert [said["range"] for said in client.diagnostics(uri, 2)] == [second["range"]]

    client.ask("workspace/executeCommand", explain["command"] | {"title": None})
    assert "Reports every rate but 0.25." in client.wait_for("window/showMessage")["message"]


def test_explaining_opens_the_page_where_the_editor_can(house, editor):
    client = editor()
    client.start({**PUSHED, "window": {"showDocument": {"support": True}}})
    uri = client.open("train.py", SICK)
    (said,) = client.diagnostics(uri, 1)
    explain = client.actions(uri, said["range"])[-2]
    client.ask(
        "workspace/executeCommand",
        {"command": "convlint.explainRule", "arguments": explain["command"]["arguments"]},
    )
    shown = client.wait_for("window/showDocument")
    assert shown["uri"] == said["codeDescription"]["href"]
    page = Path(to_fs_path(shown["uri"])).read_text()
    assert page.startswith("# house-rate (HSE001)")


def test_hover_explains_the_rule_in_a_comment_of_any_kind(editor):
    client = editor()
    client.start(PUSHED)
    silenced = SICK.replace(
        "    optimizer.step()\n",
        f"    optimizer.step()  # convlint: ignore[LOS001, {MISSING}] because\nx = 1  # noqa: LOS002\n",
    )
    uri = client.open("train.py", silenced)
    line = silenced.splitlines()[7]
    assert client.hover(uri, 7, line.index(MISSING) + 3).startswith(f"# {MISSING} (LOP001)")
    assert "(LOS001)" in client.hover(uri, 7, line.index("LOS001"))
    assert "(LOS002)" in client.hover(uri, 8, 17)
    assert client.hover(uri, 7, line.index("because") + 2) is None
    assert client.hover(uri, 0, 3) is None


def test_comment_that_silences_nothing_is_faded(editor):
    client = editor()
    client.start(PUSHED)
    text = HEALTHY.replace("lr=0.1)", "lr=0.1)  # convlint: ignore[no-such-rule]")
    (said,) = client.diagnostics(client.open("train.py", text), 1)
    assert (said["code"], said["tags"]) == ("unused-suppression", [1])


LOOP = """\
def fit(model, loader, optimizer, criterion):
    for x, y in loader:
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
"""
MAIN = """\
import torch
from loop import fit

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = torch.utils.data.TensorDataset(torch.zeros(8, 4), torch.zeros(8, dtype=torch.long))
loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
fit(model, loader, optimizer, torch.nn.CrossEntropyLoss())
"""
CLEAN_LOOP = LOOP.replace(
    "        loss.backward()", "        optimizer.zero_grad()\n        loss.backward()"
)


def test_what_another_open_document_imports_is_seen_as_it_is_typed(editor, tmp_path):
    (tmp_path / "loop.py").write_text(CLEAN_LOOP)
    (tmp_path / "main.py").write_text("")
    client = editor()
    client.start(PUSHED)
    main = client.open("main.py", MAIN)
    assert client.diagnostics(main, 1) == []
    loop = client.open("loop.py", LOOP)
    said = client.wait_for(
        "textDocument/publishDiagnostics",
        lambda params: params["uri"] == loop and params["diagnostics"],
    )
    assert slugs(said["diagnostics"]) == [MISSING]
    client.change(loop, CLEAN_LOOP, 2)
    assert client.diagnostics(loop, 2) == []


def test_fault_in_an_imported_file_that_is_not_open_is_shown_there(editor, tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "main.py").write_text("")
    client = editor()
    client.start(PUSHED)
    main = client.open("main.py", MAIN)
    assert slugs(client.diagnostics(client.uri("loop.py"))) == [MISSING]
    client.notify("textDocument/didClose", {"textDocument": {"uri": main}})
    assert client.diagnostics(client.uri("loop.py")) == []


CELLS = [
    "%matplotlib inline\nimport torch\n",
    "print('🔥'); model = torch.nn.Linear(4, 2)",
    "o = torch.optim.SGD(model.parameters(), lr=0.1)",
]


def open_notebook(client, cells=CELLS) -> list[str]:
    """Open a notebook; the addresses of its cells."""
    uris = [f"vscode-notebook-cell:train.ipynb#{number}" for number in range(len(cells))]
    documents = [
        {"uri": uri, "languageId": "python", "version": 1, "text": text}
        for uri, text in zip(uris, cells, strict=True)
    ]
    client.notify(
        "notebookDocument/didOpen",
        {
            "notebookDocument": {
                "uri": client.uri("train.ipynb"),
                "notebookType": "jupyter-notebook",
                "version": 1,
                "cells": [{"kind": 2, "document": uri} for uri in uris],
            },
            "cellTextDocuments": documents,
        },
    )
    return uris


def change_notebook(client, version: int, cells: dict) -> None:
    document = {"uri": client.uri("train.ipynb"), "version": version}
    params = {"notebookDocument": document, "change": {"cells": cells}}
    client.notify("notebookDocument/didChange", params)


def test_cells_of_a_notebook_are_judged_together_and_fixed_each_by_itself(house, editor):
    client = editor()
    client.start(PUSHED)
    first, second, third = open_notebook(client)
    (said,) = client.diagnostics(third)
    assert said["code"] == "house-rate"
    column = CELLS[2].index("0.1")
    assert said["range"]["start"] == {"line": 0, "character": column}
    assert client.diagnostics(first) == client.diagnostics(second) == []
    assert "(HSE001)" in client.hover(third, 0, column)
    assert client.hover(second, 0, 3) is None
    fix, ignore, _explain = client.actions(third, said["range"])
    (change,) = fix["edit"]["documentChanges"]
    assert change["textDocument"] == {"uri": third, "version": 1}
    assert applied(CELLS[2], change["edits"]) == CELLS[2].replace("0.1", "0.25")
    silenced = applied(CELLS[2], ignore["edit"]["documentChanges"][0]["edits"])
    assert silenced == CELLS[2] + "  # convlint: ignore[house-rate]"

    text = {"document": {"uri": third, "version": 2}, "changes": [{"text": silenced}]}
    change_notebook(client, 2, {"textContent": [text]})
    assert client.diagnostics(third, 2) == []


def test_cell_that_cannot_be_read_says_so_and_a_removed_one_nothing(house, editor):
    client = editor()
    client.start(PUSHED)
    _, second, third = open_notebook(client)
    assert len(client.diagnostics(third)) == 1
    text = {"document": {"uri": second, "version": 2}, "changes": [{"text": "\nmodel = (\n"}]}
    change_notebook(client, 2, {"textContent": [text]})
    (said,) = client.diagnostics(second, 2)
    assert said["message"] == "cannot parse: '(' was never closed"
    assert said["range"]["start"] == {"line": 1, "character": 8}
    assert client.diagnostics(third) == []
    removed = {"start": 1, "deleteCount": 1}
    change_notebook(client, 3, {"structure": {"array": removed, "didClose": [{"uri": second}]}})
    assert client.diagnostics(second) == []
    client.notify(
        "notebookDocument/didClose",
        {"notebookDocument": {"uri": client.uri("train.ipynb")}, "cellTextDocuments": []},
    )
    assert client.finish() == 0


def test_editor_that_asks_gets_a_report_once(editor):
    client = editor()
    capabilities = client.start(PULLED)["capabilities"]
    assert capabilities["diagnosticProvider"]["interFileDependencies"] is True
    uri = client.open("train.py", SICK)
    report = client.pull(uri)
    assert (report["kind"], slugs(report["items"])) == ("full", [MISSING])
    again = client.pull(uri, report["resultId"])
    assert again == {"kind": "unchanged", "resultId": report["resultId"]}
    client.change(uri, HEALTHY, 2)
    assert client.pull(uri, report["resultId"])["items"] == []
    pushed = [m for m in client.notifications if m["method"] == "textDocument/publishDiagnostics"]
    assert pushed == []


def test_changed_configuration_and_changed_rule_hold_at_once(house, editor):
    client = editor()
    client.start(PUSHED)
    watched = client.wait_for("client/registerCapability")["registrations"][0]
    patterns = {watcher["globPattern"] for watcher in watched["registerOptions"]["watchers"]}
    assert {"**/pyproject.toml", "**/convlint.toml", "**/*.py"} <= patterns
    uri = client.open("train.py", HEALTHY)
    assert slugs(client.diagnostics(uri, 1)) == ["house-rate"]

    def changed(name: str, text: str) -> list[dict]:
        (house / name).write_text(text)
        change = {"uri": client.uri(name), "type": 2}
        client.notify("workspace/didChangeWatchedFiles", {"changes": [change]})
        return client.diagnostics(uri, 1)

    (said,) = changed("checks/rate.py", RULE.replace("another rate", "an odd rate"))
    assert said["message"].startswith("an odd rate")
    assert changed("convlint.toml", f'ignore = ["house-rate"]\n{IN_HOUSE}') == []
    assert changed("convlint.toml", f'selct = ["HSE"]\n{IN_HOUSE}') == []
    message = client.wait_for("window/showMessage")["message"]
    assert message.endswith("unknown key 'selct'; did you mean 'select'?")
    assert changed("checks/rate.py", "1 / 0\n") == []
    assert slugs(changed("convlint.toml", 'select = ["SUP"]\n')) == []


def test_isolated_runs_no_rule_of_the_project(house, editor):
    client = editor("--isolated", "--stdio")
    client.start(PUSHED)
    uri = client.open("train.py", SICK)
    assert slugs(client.diagnostics(uri, 1)) == [MISSING]


def test_settings_of_the_editor_hold_and_mistakes_in_them_are_told(editor):
    client = editor()
    client.start(PUSHED, {"ignore": [MISSING]})
    uri = client.open("train.py", SICK)
    assert client.diagnostics(uri, 1) == []
    settings = {"settings": {"convlint": {"ignore": [], "run": "onSave"}}}
    client.notify("workspace/didChangeConfiguration", settings)
    assert slugs(client.diagnostics(uri, 1)) == [MISSING]
    client.change(uri, HEALTHY, 2)
    client.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
    assert client.diagnostics(uri, 2) == []
    client.notify(
        "workspace/didChangeConfiguration", {"settings": {"convlint": {"runs": "onSave"}}}
    )
    assert "settings of the editor: " in client.wait_for("window/showMessage")["message"]


def test_hanging_rule_holds_up_neither_typing_nor_the_next_check(house, editor):
    hang = "if len(program.objects) > 5:\n            while True:\n                pass\n        for optimizer in"
    (house / "checks" / "rate.py").write_text(RULE.replace("for optimizer in", hang))
    client = editor()
    client.start(PUSHED)
    uri = client.open("train.py", HEALTHY)
    (said,) = client.diagnostics(uri, 1)
    many = HEALTHY + "m = torch.optim.SGD(model.parameters(), lr=0.1)\n" * 9
    client.change(uri, many, 2)
    time.sleep(0.5)
    started = time.monotonic()
    place = said["range"]["start"]
    assert client.hover(uri, place["line"], place["character"]) is None
    client.change(uri, HEALTHY, 3)
    assert len(client.diagnostics(uri, 3)) == 1
    assert time.monotonic() - started < LONGEST_CHECK / 2
    assert client.finish() == 0


def test_many_changes_at_once_end_with_the_last_text(editor):
    client = editor()
    client.start(PUSHED)
    uri = client.open("train.py", SICK)
    for version in range(2, 60):
        client.change(uri, SICK[: len(SICK) * version // 60], version)
    client.change(uri, SICK, 60)
    assert slugs(client.diagnostics(uri, 60)) == [MISSING]


def test_server_goes_when_the_editor_does(editor):
    client = editor()
    client.start(PUSHED)
    client.open("train.py", SICK)
    client.process.stdin.close()
    assert client.process.wait(timeout=30) is not None


def test_without_pygls_one_line_says_what_to_install(tmp_path):
    program = (
        "import sys; sys.modules['pygls'] = sys.modules['lsprotocol'] = None\n"
        "from convlint.cli import main; main(['server'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stderr == (
        "convlint: the language server needs pygls: pip install 'convlint[lsp]'\n"
    )
    assert (done.returncode, done.stdout) == (2, "")
