"""What is open, what was found in it, and when it is looked at again."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.uris import to_fs_path

from convlint.server.checker import Checker
from convlint.server.diagnostics import diagnostic, unreadable, uri_of_path
from convlint.server.messages import Check, Options, path_of_cell
from convlint.server.pages import RulePages
from convlint.server.positions import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pygls.lsp.server import LanguageServer
    from pygls.workspace import TextDocument

    from convlint.findings import Finding
    from convlint.server.messages import Problem, Reply

DELAY_OF_OTHERS = 0.8
"""Seconds after which documents that import a changed one are looked at again."""


@dataclass
class Judged:
    """What was found in one version of a file, there and in the files it imports.

    ``texts`` has its text, or those of the cells of a notebook, by the address of the document.
    ``seen`` has the version of every file that was open then.
    """

    version: int | None
    texts: dict[str, Text]
    findings: tuple[Finding, ...]
    problem: Problem | None
    seen: dict[str, int | None] = field(default_factory=dict)


class Session:
    """The documents of one editor. Everything happens on the event loop.

    A document is what a place is in: a Python file, or one cell of a notebook. A file is what is
    judged as a whole: a Python file, which is its own document, or a notebook.
    """

    def __init__(self, server: LanguageServer, defaults: Options, directory: str | None) -> None:
        self.defaults = defaults
        self.options = defaults
        self.pages = RulePages()
        self.checker = Checker(directory)
        self._directory = directory or os.getcwd()  # noqa: PTH109
        self.pulls = False
        """Whether the editor asks for diagnostics; else they are sent to it."""
        self.on_changed_elsewhere: Callable[[], object] = lambda: None
        """Called when an editor that asks should ask again."""
        self._server = server
        self._files: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._file_of: dict[str, str] = {}
        self._judged: dict[str, Judged] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sent: dict[str, list[types.Diagnostic]] = {}
        self._published_unopened: set[str] = set()
        self._rule_files: frozenset[str] = frozenset()
        self._complaint = ""

    # What the editor does.

    def opened(self, uri: str) -> None:
        """A file is there; it is judged at once."""
        self._files[uri] = _path(uri, self._directory)
        self._take_documents(uri)
        self._schedule(uri, 0)

    def changed(self, uri: str) -> None:
        """Somebody types."""
        self._take_documents(uri)
        if uri in self._files and self.options.run == "onType":
            self._schedule(uri, self.options.debounce / 1000)

    def saved(self, uri: str) -> None:
        """The text is on the disk now."""
        if uri not in self._files:
            return
        if self._is_rule_file(self._files[uri]):
            self.reconfigured()
        elif self.options.run == "onSave":
            self._schedule(uri, 0)

    def closed(self, uri: str) -> None:
        """Forget the file and what was said of it."""
        task = self._tasks.pop(uri, None)
        if task is not None:
            task.cancel()
        path = self._files.pop(uri, None)
        self._judged.pop(uri, None)
        self._take_documents(uri)
        self._publish_unopened()
        if path is not None:
            self._look_at_dependents(uri, path)

    def changed_on_disk(self, paths: list[str]) -> None:
        """Files of the workspace changed, by whatever hand."""
        names = {os.path.basename(path) for path in paths}  # noqa: PTH119
        if any(not name.endswith(".py") for name in names) or any(
            self._is_rule_file(path) for path in paths
        ):
            self.reconfigured()
            return
        unopened = set(paths) - set(self._files.values())
        for path in unopened:
            self._look_at_dependents("", path)

    def reconfigured(self) -> None:
        """Settings, or rules of the project, may be others now: judge everything again."""
        self.checker.restart()
        self._judged.clear()
        for uri in self._files:
            self._schedule(uri, 0, spread=False)

    def ended(self) -> None:
        """Stop all work and take the pages away."""
        for task in self._tasks.values():
            task.cancel()
        self.checker.restart()
        self.pages.remove()

    # What is known.

    async def current(self, uri: str) -> Judged | None:
        """What was found in the document's file as it is now, waiting for it if need be.

        With ``onSave`` it is what was found last. None when the document is not open.
        """
        while uri in self._open:
            judged = self.known(uri)
            if judged is not None:
                return judged
            file = self._file_of[uri]
            task = self._tasks.get(file)
            if task is None or task.done():
                self._schedule(file, 0)
                task = self._tasks[file]
            await asyncio.wait({task})
        return None

    def known(self, uri: str) -> Judged | None:
        """The same, or None when it is not known yet."""
        file = self._file_of.get(uri, uri)
        judged = self._judged.get(file)
        if judged is None or self.options.run == "onSave":
            return judged
        return judged if judged.version == self._version(file) else None

    def findings_in(self, uri: str) -> list[Finding]:
        """Findings in this document, by its own check and by those of documents that import it."""
        file = self._file_of.get(uri, uri)
        judged = self._judged.get(file)
        if judged is None:
            return []
        here = os.path.realpath(self._open[uri])
        found = {
            (finding.slug, finding.location.line, finding.location.column): finding
            for other, other_judged in [*self._judged.items(), (file, judged)]
            if other == file or other_judged.seen.get(file, judged.version) == judged.version
            for finding in other_judged.findings
            if os.path.realpath(finding.location.path) == here
        }
        return sorted(found.values(), key=lambda finding: finding.sort_key)

    def diagnostics(self, uri: str) -> list[types.Diagnostic]:
        """What there is to say of this document."""
        judged = self._judged.get(self._file_of.get(uri, uri))
        if judged is None or uri not in judged.texts:
            return []
        said = [self._diagnostic(finding) for finding in self.findings_in(uri)]
        problem = judged.problem
        if problem is not None and problem.path == self._open[uri]:
            said.append(unreadable(problem, judged.texts[uri]))
        return said

    def request(self, uri: str) -> Check:
        """The question what is wrong with the document's file as it is now."""
        file = self._file_of.get(uri, uri)
        texts = {path: _clean(self._source(other)) for other, path in self._files.items()}
        return Check(path=self._files[file], texts=texts, options=self.options)

    def text(self, uri: str) -> Text:
        """The document as it is now."""
        return self._text(self._document(uri).source)

    def is_open(self, uri: str) -> bool:
        """Whether it is a document, or a notebook, we look at."""
        return uri in self._open or uri in self._files

    def version(self, uri: str) -> int | None:
        """The version the editor gives the document as it is now."""
        return self._document(uri).version

    def path(self, uri: str) -> str:
        """The path of an open document."""
        return self._open[uri]

    # Keeping time.

    def _schedule(self, uri: str, delay: float, *, spread: bool = True) -> None:
        """Judge the document after ``delay`` seconds; what is going on for it is stale."""
        running = self._tasks.get(uri)
        if running is not None:
            running.cancel()
        self._tasks[uri] = asyncio.get_running_loop().create_task(self._judge(uri, delay, spread))

    async def _judge(self, uri: str, delay: float, spread: bool) -> None:
        await asyncio.sleep(delay)
        request = self.request(uri)
        seen = {other: self._version(other) for other in self._files}
        texts = {one: self.text(one) for one, file in self._file_of.items() if file == uri}
        reply = await self.checker.ask(request)
        if uri not in self._files or self._version(uri) != seen[uri]:
            return
        self._tell(reply)
        self.pages.add(reply.pages)
        self._rule_files = frozenset(map(os.path.realpath, reply.rule_files))
        self._judged[uri] = Judged(seen[uri], texts, reply.findings, reply.problem, seen)
        if self.pulls:
            if not spread:
                self.on_changed_elsewhere()
        else:
            for other, file in self._file_of.items():
                diagnostics = self.diagnostics(other)
                if file == uri or diagnostics != self._sent.get(other):
                    self._send(other, diagnostics)
        self._publish_unopened()
        if spread:
            self._look_at_dependents(uri, self._files[uri])

    def _take_documents(self, uri: str) -> None:
        """Note the documents a file has now; what was said of those it had is taken back."""
        had = {one for one, file in self._file_of.items() if file == uri}
        has: dict[str, str] = {}
        if uri in self._files:
            path = self._files[uri]
            notebook = self._notebook(uri)
            if notebook is None:
                has = {uri: path}
            else:
                numbered = enumerate(notebook.cells, start=1)
                has = {cell.document: path_of_cell(path, number) for number, cell in numbered}
        for gone in had - has.keys():
            del self._open[gone], self._file_of[gone]
            if not self.pulls:
                self._send(gone, [])
        self._open |= has
        self._file_of |= dict.fromkeys(has, uri)

    def _look_at_dependents(self, uri: str, path: str) -> None:
        """Judge the other open documents again that seem to import the file at ``path``."""
        file = Path(path)
        name = file.parent.name if file.name == "__init__.py" else file.stem
        mention = re.compile(rf"\b{re.escape(name)}\b")
        for other in self._files:
            waiting = self._tasks.get(other)
            if other == uri or (waiting is not None and not waiting.done()):
                continue
            if mention.search(self._source(other)):
                self._schedule(other, DELAY_OF_OTHERS, spread=False)

    # Telling.

    def _tell(self, reply: Reply) -> None:
        """Pass on, once, what is wrong with the configuration, and what we failed at."""
        if reply.complaint and reply.complaint != self._complaint:
            message = f"convlint: {reply.complaint}"
            self._server.window_show_message(
                types.ShowMessageParams(types.MessageType.Error, message)
            )
        self._complaint = reply.complaint
        for fault in reply.faults:
            self._server.window_log_message(
                types.LogMessageParams(types.MessageType.Error, f"convlint: {fault}")
            )

    def _publish_unopened(self) -> None:
        """Say what was found in files that open documents import and that are not open."""
        opened = {os.path.realpath(path) for path in self._open.values()}
        by_path: dict[str, dict[tuple[str, object], Finding]] = {}
        for judged in self._judged.values():
            for finding in judged.findings:
                path = finding.location.path
                if os.path.realpath(path) not in opened:
                    by_path.setdefault(path, {})[finding.slug, finding.location] = finding
        published = set()
        for path, findings in by_path.items():
            uri = uri_of_path(path)
            published.add(uri)
            self._send(uri, [self._diagnostic(finding) for finding in findings.values()])
        for uri in self._published_unopened - published:
            if uri not in self._open:
                self._send(uri, [])
        self._published_unopened = published

    def _send(self, uri: str, diagnostics: list[types.Diagnostic]) -> None:
        version = self.version(uri) if uri in self._open else None
        self._sent[uri] = diagnostics
        self._server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, diagnostics, version)
        )

    def _diagnostic(self, finding: Finding) -> types.Diagnostic:
        return diagnostic(finding, self._text_at, self._uri_at, self.pages)

    def _uri_at(self, path: str) -> str:
        real = os.path.realpath(path)
        for uri, opened in self._open.items():
            if os.path.realpath(opened) == real:
                return uri
        return uri_of_path(path)

    def _text_at(self, path: str) -> Text:
        uri = self._uri_at(path)
        judged = self._judged.get(self._file_of.get(uri, uri))
        if judged is not None and uri in judged.texts:
            return judged.texts[uri]
        try:
            return self._text(Path(path).read_text(encoding="utf-8-sig", errors="replace"))
        except OSError:
            return self._text("")

    def _text(self, text: str) -> Text:
        encoding = self._server.workspace.position_encoding
        return Text(_clean(text), encoding or types.PositionEncodingKind.Utf16)

    def _source(self, file: str) -> str:
        """The text of a file; that of a notebook is what it would be on the disk."""
        notebook = self._notebook(file)
        if notebook is None:
            return self._document(file).source
        code = types.NotebookCellKind.Code
        cells: list[dict[str, object]] = [
            {
                "cell_type": "code" if cell.kind == code else "markdown",
                "metadata": {},
                "source": self._document(cell.document).source if cell.kind == code else "",
                **({"execution_count": None, "outputs": []} if cell.kind == code else {}),
            }
            for cell in notebook.cells
        ]
        return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})

    def _version(self, file: str) -> int | None:
        notebook = self._notebook(file)
        return self._document(file).version if notebook is None else notebook.version

    def _notebook(self, file: str) -> types.NotebookDocument | None:
        return self._server.workspace.get_notebook_document(notebook_uri=file)

    def _document(self, uri: str) -> TextDocument:
        return self._server.workspace.get_text_document(uri)

    def _is_rule_file(self, path: str) -> bool:
        """Whether rules of the project may be in it; while something is wrong, any file may."""
        return bool(self._complaint) or os.path.realpath(path) in self._rule_files


def _path(uri: str, directory: str) -> str:
    """The path of a document; one that was never saved is thought to be in ``directory``."""
    path = to_fs_path(uri) if uri.startswith("file:") else None
    if path is not None:
        return os.path.abspath(path)  # noqa: PTH100
    name = re.sub(r"\W+", "_", uri).strip("_")
    return os.path.join(directory, f"{name}.py")  # noqa: PTH118


def _clean(text: str) -> str:
    """``text`` without halves of surrogate pairs, which no encoding can write; lengths are kept."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
