"""A small editor: real messages of the language-server protocol to a server process."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds until a missing message is a failure; generous, machines of tests are busy."""


class Editor:
    """Sends requests and notifications, and keeps what comes back."""

    def __init__(self, directory: Path, arguments: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "convlint", "server", *arguments],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.errors: list[bytes] = []
        self.notifications: list[dict[str, Any]] = []
        self._incoming: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _read(self) -> None:
        out = self.process.stdout
        while True:
            length = None
            while (line := out.readline()).strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if length is None:
                self._incoming.put(None)
                return
            self._incoming.put(json.loads(out.read(length)))

    def _read_errors(self) -> None:
        self.errors += list(self.process.stderr)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def _next(self) -> dict[str, Any]:
        message = self._incoming.get(timeout=PATIENCE)
        assert message is not None, b"".join(self.errors).decode()
        return message

    def notify(self, method: str, params: object) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: object) -> Any:
        """The result of a request; what comes in the meantime is kept."""
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._next()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message["result"]
            self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        self.notifications.append(message)
        if "id" in message:
            shows = message["method"] == "window/showDocument"
            self._send({"id": message["id"], "result": {"success": True} if shows else None})

    def wait_for(self, method: str, wanted=lambda params: True) -> dict[str, Any]:
        """The parameters of the first message of this kind not waited for before."""
        while True:
            for message in self.notifications:
                if message["method"] == method and wanted(message["params"]):
                    self.notifications.remove(message)
                    return message["params"]
            self._keep(self._next())

    def start(self, capabilities: dict[str, Any], options: dict[str, Any] | None = None) -> Any:
        root = self.directory.as_uri()
        result = self.ask(
            "initialize",
            {
                "processId": None,
                "rootUri": root,
                "workspaceFolders": [{"uri": root, "name": "project"}],
                "capabilities": capabilities,
                "initializationOptions": {"debounce": 20, **(options or {})},
            },
        )
        self.notify("initialized", {})
        return result

    def uri(self, name: str) -> str:
        return (self.directory / name).as_uri()

    def open(self, name: str, text: str, version: int = 1) -> str:
        uri = self.uri(name)
        document = {"uri": uri, "languageId": "python", "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})
        return uri

    def change(self, uri: str, text: str, version: int) -> None:
        document = {"uri": uri, "version": version}
        self.notify(
            "textDocument/didChange",
            {"textDocument": document, "contentChanges": [{"text": text}]},
        )

    def diagnostics(self, uri: str, version: int | None = None) -> list[dict[str, Any]]:
        """What is published of this version of the document."""
        said = self.wait_for(
            "textDocument/publishDiagnostics",
            lambda params: (
                params["uri"] == uri and (version is None or params.get("version") == version)
            ),
        )
        return said["diagnostics"]

    def pull(self, uri: str, previous: str | None = None) -> Any:
        params = {"textDocument": {"uri": uri}, "previousResultId": previous}
        return self.ask("textDocument/diagnostic", params)

    def actions(self, uri: str, place: dict[str, Any], only: list[str] | None = None) -> list[Any]:
        context: dict[str, Any] = {"diagnostics": []}
        if only is not None:
            context["only"] = only
        return self.ask(
            "textDocument/codeAction",
            {"textDocument": {"uri": uri}, "range": place, "context": context},
        )

    def hover(self, uri: str, line: int, character: int) -> str | None:
        params = {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
        result = self.ask("textDocument/hover", params)
        return None if result is None else result["contents"]["value"]

    def finish(self) -> int:
        """Shut down as the protocol says; the exit code."""
        self.ask("shutdown", None)
        self.notify("exit", None)
        return self.process.wait(timeout=PATIENCE)


@pytest.fixture
def editor(tmp_path: Path):
    """An editor at work in an empty folder; ``editor.start`` makes it say hello."""
    running: list[Editor] = []

    def begin(*arguments: str) -> Editor:
        running.append(Editor(tmp_path, arguments))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
