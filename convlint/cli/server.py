"""``convlint server``: findings while typing, in an editor."""

from __future__ import annotations

import click


@click.command("server", short_help="Talk to an editor (language-server protocol).")
@click.option(
    "--isolated",
    is_flag=True,
    help="Read no configuration file, and run no rule a project brings along.",
)
@click.option("--stdio", is_flag=True, hidden=True, help="What some editors say by themselves.")
def command(isolated: bool, stdio: bool) -> int:
    """Serve an editor over standard input and output: findings while typing, quick fixes, and
    the documentation of a rule where the cursor is.

    It is started by the editor, not by hand; docs/editors.md says how for VS Code, Neovim, Helix,
    Emacs and PyCharm. It needs the extra `lsp`: pip install 'convlint[lsp]'.
    """
    from convlint.cli import EXIT_CLEAN
    from convlint.errors import UserError

    try:
        from convlint.server.language_server import serve
        from convlint.server.messages import Options
    except ModuleNotFoundError as error:
        if error.name not in ("pygls", "lsprotocol"):
            raise
        raise UserError("the language server needs pygls: pip install 'convlint[lsp]'") from None
    serve(Options(isolated=isolated))
    return EXIT_CLEAN
