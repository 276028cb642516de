"""``convlint completion``: what a shell needs to complete our commands and options."""

from __future__ import annotations

import click


@click.command("completion", short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print the script that lets SHELL complete commands, options, their choices and rules.

    \b
    Examples:
      convlint completion bash >> ~/.bashrc
      convlint completion zsh >> ~/.zshrc
      convlint completion fish > ~/.config/fish/completions/convlint.fish
    """
    from click.shell_completion import get_completion_class

    from convlint.cli import EXIT_CLEAN
    from convlint.cli.streams import write_bytes

    completion = get_completion_class(shell)
    assert completion is not None
    group = ctx.find_root().command
    script = completion(group, {}, "convlint", "_CONVLINT_COMPLETE").source()
    write_bytes(f"{script.strip()}\n".encode())
    return EXIT_CLEAN
