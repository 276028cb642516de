"""The language server: what the editor sends, and what it gets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

import msgspec
from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from convlint import __version__
from convlint.server import actions
from convlint.server.messages import Explain, FixAll, Options
from convlint.server.positions import overlap
from convlint.server.session import Session

if TYPE_CHECKING:
    from convlint.findings import Edit

_WATCHED = ("**/pyproject.toml", "**/convlint.toml", "**/.convlint.toml", "**/*.py")

_LONGEST_MENU = 5.0
"""Seconds a menu of actions may be waited for."""

_COMMENT = re.compile(
    r"#\s*(?:convlint:\s*[a-z-]+\s*\[([^\]\n]*)\]|noqa\s*:\s*([A-Z0-9, ]+))", re.IGNORECASE
)
_NAME = re.compile(r"[A-Za-z][\w-]*")


class Server(LanguageServer):
    """The server and, once an editor has said hello, its session."""

    def __init__(self, options: Options) -> None:
        # Whole texts, not changes: pygls counts lines as str.splitlines does, which takes a form
        # feed or a line separator for a line's end; changes after one would go astray.
        super().__init__(
            "convlint",
            __version__,
            types.TextDocumentSyncKind.Full,
            types.NotebookDocumentSyncOptions(
                [types.NotebookDocumentFilterWithCells([types.NotebookCellLanguage("python")])],
                save=True,
            ),
        )
        self._options = options
        self.session = Session(self, options, None)

    def begin(self, params: types.InitializeParams) -> None:
        """Take in what the editor says of itself and of the workspace."""
        root = self.workspace.root_path
        if params.workspace_folders:
            root = to_fs_path(params.workspace_folders[0].uri) or root
        directory = root if root and os.path.isdir(root) else None  # noqa: PTH112
        self.session = session = Session(self, self._options, directory)
        self.take_options(params.initialization_options)
        client = params.capabilities
        session.pulls = bool(client.text_document and client.text_document.diagnostic)
        refresh = client.workspace and client.workspace.diagnostics
        if session.pulls and refresh and refresh.refresh_support:
            session.on_changed_elsewhere = lambda: self.workspace_diagnostic_refresh(None)

    def take_options(self, said: Any) -> bool:
        """Follow what the editor says of options; a mistake is told and nothing changes."""
        if not isinstance(said, dict):
            return False
        given = said.get("settings", said)
        try:
            self.session.options = msgspec.convert(
                {**msgspec.to_builtins(self._options), **given}, Options
            )
        except (msgspec.ValidationError, TypeError) as error:
            message = f"convlint: settings of the editor: {error}"
            self.window_show_message(types.ShowMessageParams(types.MessageType.Error, message))
            return False
        return True


def serve(options: Options) -> None:
    """Talk to an editor over standard input and output until it says goodbye, or is gone.

    ``options`` hold where the editor does not say otherwise.
    """
    server = make_server(options)
    try:
        server.start_io()
    finally:
        server.session.ended()


def make_server(options: Options) -> Server:
    """The server, not yet started."""
    server = Server(options)

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.begin(params)

    @server.feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        workspace = server.client_capabilities.workspace
        watching = workspace and workspace.did_change_watched_files
        if watching and watching.dynamic_registration:
            watchers = [types.FileSystemWatcher(pattern) for pattern in _WATCHED]
            server.client_register_capability(
                types.RegistrationParams(
                    [
                        types.Registration(
                            "convlint-watched-files",
                            types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
                            types.DidChangeWatchedFilesRegistrationOptions(watchers),
                        )
                    ]
                )
            )

    @server.feature(types.SHUTDOWN)
    async def shutdown(_: None) -> None:
        server.session.ended()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def did_open(params: types.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        if document.language_id == "python" or document.uri.endswith(".py"):
            server.session.opened(document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def did_change(params: types.DidChangeTextDocumentParams) -> None:
        server.session.changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    async def did_save(params: types.DidSaveTextDocumentParams) -> None:
        server.session.saved(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    async def did_close(params: types.DidCloseTextDocumentParams) -> None:
        if server.session.is_open(params.text_document.uri):
            server.session.closed(params.text_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
    async def notebook_did_open(params: types.DidOpenNotebookDocumentParams) -> None:
        server.session.opened(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
    async def notebook_did_change(params: types.DidChangeNotebookDocumentParams) -> None:
        server.session.changed(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_SAVE)
    async def notebook_did_save(params: types.DidSaveNotebookDocumentParams) -> None:
        server.session.saved(params.notebook_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    async def notebook_did_close(params: types.DidCloseNotebookDocumentParams) -> None:
        if server.session.is_open(params.notebook_document.uri):
            server.session.closed(params.notebook_document.uri)

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    async def did_change_watched_files(params: types.DidChangeWatchedFilesParams) -> None:
        paths = [to_fs_path(change.uri) for change in params.changes]
        server.session.changed_on_disk([path for path in paths if path])

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        settings = params.settings
        said = settings.get("convlint") if isinstance(settings, dict) else None
        if said is not None and server.take_options(said):
            server.session.reconfigured()

    @server.feature(
        types.TEXT_DOCUMENT_DIAGNOSTIC,
        types.DiagnosticOptions(
            inter_file_dependencies=True, workspace_diagnostics=False, identifier="convlint"
        ),
    )
    async def diagnostic(params: types.DocumentDiagnosticParams) -> types.DocumentDiagnosticReport:
        uri = params.text_document.uri
        await server.session.current(uri)
        items = server.session.diagnostics(uri)
        digest = hashlib.blake2b(repr(items).encode(errors="replace"), digest_size=8).hexdigest()
        if digest == params.previous_result_id:
            return types.RelatedUnchangedDocumentDiagnosticReport(digest)
        return types.RelatedFullDocumentDiagnosticReport(items, result_id=digest)

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=list(actions.KINDS)),
    )
    async def code_action(params: types.CodeActionParams) -> list[types.CodeAction]:
        uri = params.text_document.uri
        only = params.context.only
        try:
            async with asyncio.timeout(_LONGEST_MENU):
                if await server.session.current(uri) is None:
                    return []
        except TimeoutError:
            return []
        given: list[types.CodeAction] = []
        if actions.wanted(types.CodeActionKind.QuickFix, only):
            given += actions.quick_fixes(
                server.session.findings_in(uri),
                params.context.diagnostics,
                params.range,
                server.session.text(uri),
                lambda edits: _workspace_edit(server, uri, edits),
                lambda changes: _document_changes(server, uri, changes),
            )
        if actions.wanted(actions.FIX_ALL, only):
            fix_all = await _fix_all(server, uri)
            given += [] if fix_all is None else [fix_all]
        return given

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hover(params: types.HoverParams) -> types.Hover | None:
        uri, position = params.text_document.uri, params.position
        if not server.session.is_open(uri):
            return None
        text = server.session.text(uri)
        name = _name_in_comment(text.line(position.line), text.column(position))
        if name is not None:
            reply = await server.session.checker.ask(
                Explain(name=name, path=server.session.path(uri), options=server.session.options)
            )
            return _hover(list(reply.pages.values()))
        judged = server.session.known(uri)
        if judged is None:
            return None
        place = types.Range(position, position)
        slugs = {
            finding.slug
            for finding in server.session.findings_in(uri)
            if overlap(judged.texts[uri].range(finding.location), place)
        }
        return _hover(
            [page for slug in sorted(slugs) if (page := server.session.pages.markdown(slug))]
        )

    @server.command(actions.EXPLAIN)
    async def explain(slug: str) -> None:
        _show_page(server, slug)

    return server


def _workspace_edit(server: Server, uri: str, edits: list[Edit]) -> types.WorkspaceEdit | None:
    """The edits, all in this document; None when one of them is not."""
    here = os.path.realpath(server.session.path(uri))
    if any(os.path.realpath(edit.location.path) != here for edit in edits):
        return None
    text = server.session.text(uri)
    changes = [types.TextEdit(text.range(edit.location), edit.replacement) for edit in edits]
    return _document_changes(server, uri, changes)


def _document_changes(
    server: Server, uri: str, changes: list[types.TextEdit]
) -> types.WorkspaceEdit:
    """An edit that an editor refuses when the document has moved on, where it can tell."""
    workspace = server.client_capabilities.workspace
    if workspace and workspace.workspace_edit and workspace.workspace_edit.document_changes:
        version = server.session.version(uri)
        document = types.OptionalVersionedTextDocumentIdentifier(uri, version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(document, [*changes])])
    return types.WorkspaceEdit(changes={uri: changes})


async def _fix_all(server: Server, uri: str) -> types.CodeAction | None:
    """All safe fixes of a Python file; not worked out unless a fix is known."""
    fixable = [finding for finding in server.session.findings_in(uri) if finding.fix is not None]
    request = server.session.request(uri)
    if not fixable or request.path != server.session.path(uri):
        return None  # nothing to do, or a cell: its fixes are offered one by one
    version = server.session.version(uri)
    reply = await server.session.checker.ask(
        FixAll(path=request.path, texts=request.texts, options=request.options)
    )
    if (
        reply.fixed is None
        or not server.session.is_open(uri)
        or server.session.version(uri) != version
    ):
        return None
    edits = actions.changes(server.session.text(uri), reply.fixed)
    return types.CodeAction(
        title="convlint: fix all safe problems",
        kind=actions.FIX_ALL,
        edit=_document_changes(server, uri, edits),
    )


def _name_in_comment(line: str, column: int) -> str | None:
    """The slug or code at ``column`` (from 1) of a comment that silences rules."""
    for comment in _COMMENT.finditer(line):
        group = 1 if comment.group(1) is not None else 2
        for name in _NAME.finditer(line, *comment.span(group)):
            if name.start() < column <= name.end() + 1:
                return name.group()
    return None


def _hover(pages: list[str]) -> types.Hover | None:
    if not pages:
        return None
    markdown = "\n\n---\n\n".join(pages)
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, markdown))


def _show_page(server: Server, slug: str) -> None:
    """Open the rule's page where the editor can, else say its first sentence."""
    uri = server.session.pages.uri(slug)
    window = server.client_capabilities.window
    if uri is not None and window and window.show_document and window.show_document.support:
        params = types.ShowDocumentParams(uri, external=False, take_focus=True)
        server.window_show_document(params)
        return
    page = server.session.pages.markdown(slug)
    message = f"convlint: no rule is called {slug}" if page is None else page
    server.window_show_message(types.ShowMessageParams(types.MessageType.Info, message))
