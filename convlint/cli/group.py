"""The commands as click sees them: found by name, one module each, imported when asked for."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from convlint import __version__
from convlint.cli import EXIT_CANNOT, EXIT_INTERRUPTED, run_to_exit
from convlint.cli.options import color_option
from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "check", "probe", "audit", "compare", "curves", "rule", "rules", "categories", "config", "clean",
    "server", "self-test", "completion", "help",
)  # fmt: skip
"""In the order ``--help`` shows them; ``convlint.cli.<name>`` holds each as ``command``."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"convlint.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from convlint.errors import did_you_mean

        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            raise click.UsageError(f"no such command: {name}{did_you_mean(name, [*COMMANDS])}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click would begin a line of its own at an interruption."""
        from convlint.cli.streams import complain

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # The terminal has echoed ^C at the start of the line.
            complain("interrupted", own_line=sys.stderr.isatty())
            return EXIT_INTERRUPTED

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Run, and turn every way to fail into one line and an exit code."""
        from convlint.cli.streams import complain

        extra.pop("standalone_mode", None)

        def command() -> Any:
            try:
                return super(LazyGroup, self).main(args, standalone_mode=False, **extra)
            except click.exceptions.NoArgsIsHelpError as error:
                error.show()
                return EXIT_CANNOT
            except click.UsageError as error:
                raise UserError(_usage_message(error)) from None
            except click.ClickException as error:
                raise UserError(error.format_message()) from None
            except click.Abort:
                complain("interrupted")
                return EXIT_INTERRUPTED

        run_to_exit(command)


def _usage_message(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if error.ctx is None:
        return message
    hint = f"`{error.ctx.command_path} --help` shows the usage"
    if isinstance(error, click.NoSuchOption) and error.ctx.info_name in ("probe", "audit"):
        hint += "; the script's own arguments go after --"
    return f"{message} ({hint})"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
    Exit codes:
      0    clean
      1    findings at or above --fail-on
      2    the tool could not do its job: usage, configuration, unreadable file, syntax
           error, script that crashed before a step
      130  interrupted
    """,
)
@color_option
@click.version_option(__version__, "-V", "--version", message="convlint %(version)s")
def main() -> None:
    """Say whether a training run will converge, and what to change if not, before the full run.

    \b
    check   reads the source and never runs it (editor, pre-commit, CI)
    probe   runs the script for a short horizon and measures
    audit   does both and says go, go with care or no-go
    curves  judges a run by what it has logged

    \b
    Examples:
      convlint check src/
      convlint probe train.py -- --batch-size 64
      convlint audit train.py
      convlint curves runs/metrics.csv
      convlint rule zero-grad-missing
    """
