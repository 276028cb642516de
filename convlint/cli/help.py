"""``convlint help``: the help of a command, by its name."""

from __future__ import annotations

import click


@click.command("help", short_help="Show the help of a command.")
@click.argument("name", required=False, metavar="[COMMAND]")
@click.pass_context
def command(ctx: click.Context, name: str | None) -> int:
    """Show the help of COMMAND, as `convlint COMMAND --help` does, or of convlint itself."""
    from convlint.cli import EXIT_CLEAN
    from convlint.cli.group import COMMANDS
    from convlint.cli.streams import write_bytes
    from convlint.errors import UserError, did_you_mean

    root = ctx.find_root()
    group = root.command
    assert isinstance(group, click.Group)
    context = root
    if name is not None:
        named = group.get_command(root, name)
        if named is None:
            raise UserError(f"no such command: {name}{did_you_mean(name, [*COMMANDS])}")
        context = click.Context(named, info_name=name, parent=root)
    write_bytes(f"{context.get_help()}\n".encode())
    return EXIT_CLEAN
