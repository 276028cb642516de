"""What commands write: reports to standard output, one-line complaints to standard error."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from convlint.report.text import Line


def complain(message: str, *, own_line: bool = False) -> None:
    """Write ``convlint: message`` to standard error; ``own_line`` ends a line begun there."""
    sys.stdout.flush()
    start = "\n" if own_line else ""
    print(f"{start}convlint: {message}", file=sys.stderr, flush=True)  # noqa: T201


def write_report(lines: Iterable[Line], *, to_stderr: bool = False) -> None:
    """Write styled lines to standard output, coloured where it shows colour.

    ``to_stderr`` says that standard output carries something else.
    """
    from convlint.report.text import write_lines

    if to_stderr:
        write_lines(lines, sys.stderr)
    else:
        until_closed(lambda: write_lines(lines, sys.stdout))


def write_bytes(data: bytes, *, to_stderr: bool = False) -> None:
    """Write ``data`` to standard output as it is, or to standard error."""
    if to_stderr:
        sys.stderr.buffer.write(data)
        return

    def write() -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)

    until_closed(write)


@contextmanager
def failing_in_report(output_format: str) -> Iterator[None]:
    """In a format for programs, also put what ends the command early on standard output, as a
    problem."""
    from convlint.errors import UserError

    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if type(error).__module__.startswith("click."):  # a usage error, or the end of a command
            raise
        from convlint.report.formats import MODULES, Report, render

        if output_format in MODULES:
            if isinstance(error, KeyboardInterrupt):
                problem = UserError("interrupted")
            elif isinstance(error, UserError):
                problem = error
            else:
                problem = UserError(f"{type(error).__name__}: {error} (a fault of convlint)")
            write_bytes(render(output_format, Report((), (problem,), {})))
        raise


def until_closed(write: Callable[[], None]) -> None:
    """Write; when the reader has gone (``| head``) say nothing more and go on to the exit code.

    Raises:
        UserError: it cannot be written for another reason, such as a full disk.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    try:
        write()
        sys.stdout.flush()
    except BrokenPipeError:
        _write_nowhere()
    except OSError as error:
        from convlint.errors import UserError

        _write_nowhere()
        raise UserError(f"cannot write the output: {error.strerror or error}") from None


def _write_nowhere() -> None:
    """What is still buffered goes to the null device, or the interpreter complains at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
