"""Lines of a text log, decoded as they are read."""

from __future__ import annotations

import codecs
import io
import itertools
import re
from typing import IO, TYPE_CHECKING, TypeAlias

from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Row: TypeAlias = tuple[int, dict[str, float]]

PEEKED_LINES = 20
LONGEST_LINE = 1 << 20
"""A line of a megabyte is no line of a log; a file without line ends would fill the memory."""

_OTHER_KINDS = {
    **{
        b"\x80"
        + bytes([protocol]): "a pickle, and reading one runs what is in it: write the numbers"
        " as JSON instead, as json.dump(history.history, file) does"
        for protocol in range(2, 6)
    },
    b"\x1f\x8b": "compressed: unpack it (gunzip -c LOG | convlint curves -)",
    b"PK\x03\x04": "a zip archive (.npz and torch.save's are such): write the numbers as CSV or JSON",
    b"\x89HDF": "an HDF5 file: write the numbers as CSV or JSON",
    b"SQLite format 3": "an SQLite database: export the numbers as CSV or JSON",
    b":W&B": "in the form wandb keeps for itself: export the run's history as CSV or JSON",
}
"""What is no text, by how it begins, and what to do instead."""
_LONGEST_BEGINNING = max(map(len, _OTHER_KINDS))

UNDECODABLE = "cannot decode: not UTF-8 text; convert the log (iconv -t utf-8) or leave it out"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ESCAPED = re.compile("[\udc80-\udcff]")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Peeked:
    """The lines of a log, the first of which are known already."""

    def __init__(self, path: str, stream: IO[str]) -> None:
        self.path = path
        self._stream = stream
        self.line = 0
        self._lines = self._decoded()
        self.peeked = list(itertools.islice(self._lines, PEEKED_LINES))
        self.line = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but white space at the beginning and nothing after it."""
        return not any(line.strip() for line in self.peeked) and len(self.peeked) < PEEKED_LINES

    def __iter__(self) -> Iterator[str]:
        """Each line; ``line`` counts them from 1."""
        self.line = 0
        for line in itertools.chain(self.peeked, self._lines):
            self.line += 1
            yield line

    def whole(self) -> str:
        """All that is left, as one text."""
        return "".join(self)

    def mistake(self, message: str) -> UserError:
        """An error at the line that was read last."""
        return UserError(message, path=self.path, line=self.line or None)

    def _decoded(self) -> Iterator[str]:
        number = 0
        try:
            while line := self._stream.readline(LONGEST_LINE):
                number += 1
                if not line.isascii() and _ESCAPED.search(line):
                    raise UserError(UNDECODABLE, path=self.path, line=number)
                yield line
        except UnicodeError:
            raise UserError(UNDECODABLE, path=self.path, line=number + 1) from None
        except OSError as error:
            raise UserError(f"cannot read: {error.strerror or error}", path=self.path) from None
        finally:
            if self.path != "-":
                self._stream.close()


def opened(path: str, stream: IO[bytes]) -> Peeked:
    """Decode ``stream`` by its byte-order mark, else as UTF-8.

    Raises:
        UserError: it is no text, or its beginning cannot be decoded or read.
    """
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    try:
        start = buffered.peek(_LONGEST_BEGINNING)[:_LONGEST_BEGINNING]
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror or error}", path=path) from None
    for beginning, kind in _OTHER_KINDS.items():
        if start.startswith(beginning):
            raise UserError(f"the log is {kind}", path=path)
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
    # Strict decoding would complain of a whole block of lines, before those in front of the mistake.
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    return Peeked(path, io.TextIOWrapper(buffered, encoding=encoding, errors=errors))


def without_escapes(line: str) -> str:
    """The line without the colours and cursor movements of a terminal."""
    return _ESCAPES.sub("", line) if "\x1b" in line else line


def number(text: object) -> float | None:
    """``text`` as a number, ``nan`` and infinities among them; None when it is none."""
    if isinstance(text, bool):
        return None
    if isinstance(text, (int, float)):
        try:
            return float(text)
        except OverflowError:
            return None
    if not isinstance(text, str):
        return None
    stripped = text.strip().rstrip("%")
    if not stripped or "_" in stripped:
        return None
    if stripped.startswith("tensor("):
        stripped = stripped.removeprefix("tensor(").split(",")[0].rstrip(")")
    try:
        return float(stripped)
    except ValueError:
        return None
