"""The command line.

A plain ``convlint check`` is what editors, hooks and people run most often; it is answered without
loading the library that reads command lines, which would take a quarter of its time.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_CLEAN = 0
EXIT_FINDINGS = 1
EXIT_CANNOT = 2
EXIT_INTERRUPTED = 130

# What a command makes lives as long as the command; looking it through for garbage at the usual
# pace, and once more at the end, takes a fifth of a short run.
gc.set_threshold(100_000)


def main(args: Sequence[str] | None = None, *, prog_name: str | None = None) -> None:
    """Run a command line, that of this process if none is given, and exit."""
    from convlint.cli import plain

    arguments = sys.argv[1:] if args is None else list(args)
    options = plain.options_of(arguments, os.environ)
    if options is None:
        from convlint.cli.group import main as group

        group.main(arguments, prog_name=prog_name)
    else:
        run_to_exit(lambda: plain.check(options))


def run_to_exit(command: Callable[[], Any]) -> None:
    """Run, turn every way to fail into one line and an exit code, and exit."""
    _open_closed_streams()
    code = _code_of(command)
    gc.freeze()
    sys.exit(code)


def _open_closed_streams() -> None:
    """Started with a standard stream closed (``>&-``), Python has None in its place."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _code_of(command: Callable[[], Any]) -> int:
    from convlint.cli.streams import complain
    from convlint.errors import UserError

    try:
        code = command()
    except UserError as error:
        complain(str(error))
        return EXIT_CANNOT
    except KeyboardInterrupt:
        # The terminal has echoed ^C at the start of the line.
        complain("interrupted", own_line=sys.stderr.isatty())
        return EXIT_INTERRUPTED
    except Exception as error:
        import traceback

        traceback.print_exc()
        complain(f"{type(error).__name__}: {error} (a fault of convlint, please report it)")
        return EXIT_CANNOT
    return code if isinstance(code, int) else EXIT_CLEAN
