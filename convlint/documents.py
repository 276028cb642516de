"""Source files as text that can be changed and written back, with nothing else touched.

A document gives its ``text`` and takes changed text back as bytes; edits know nothing of
encodings, byte-order marks or the disk.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from convlint import sources
from convlint.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Document(Protocol):
    """One file whose source can be read and put back.

    ``path`` is how findings name it, ``data`` its bytes as they were read, ``text`` its source
    with line ends as they are.
    """

    path: str
    data: bytes
    text: str

    def encode(self, text: str) -> bytes:
        """The bytes of the whole file once its source is ``text``.

        Raises:
            UserError: the file's encoding has no such character.
        """

    def parses(self, text: str) -> bool:
        """Whether Python would still read the file with this source."""


def open_document(path: str, data: bytes) -> Document:
    """The document of the kind its name tells.

    Raises:
        UserError: it cannot be decoded, or not encoded again as it was.
    """
    if path.endswith(sources.NOTEBOOK_SUFFIX):
        return NotebookDocument(path, data)
    return PythonDocument(path, data)


class PythonDocument:
    """A ``.py`` file, or standard input."""

    def __init__(self, path: str, data: bytes) -> None:
        """Read ``data``.

        Raises:
            UserError: it cannot be decoded, or not encoded again as it was.
        """
        self.path = path
        self.data = data
        self.text = sources.decode(data, path)
        self._encoding, _ = sources.declared_encoding(data, path)
        self._mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        if self._mark:
            self._encoding = "utf-8"
        if self.encode(self.text) != data:
            raise UserError(
                f"not changed: its text cannot be written back in {self._encoding} as it was",
                path=path,
            )

    def encode(self, text: str) -> bytes:
        """``text`` in the file's encoding, behind its byte-order mark if it had one."""
        try:
            return self._mark + text.encode(self._encoding)
        except UnicodeEncodeError as error:
            character = text[error.start : error.start + 1]
            raise UserError(
                f"not changed: {self._encoding} has no character {character!r}", path=self.path
            ) from None

    def parses(self, text: str) -> bool:
        """Whether ``text`` is a Python module."""
        import ast
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return False
        return True


class NotebookDocument:
    """A notebook; its text is that of its code cells."""

    def __init__(self, path: str, data: bytes) -> None:
        """Read ``data``.

        Raises:
            UserError: it is no notebook, or cannot be written back as it was.
        """
        from convlint.notebooks import Notebook

        self.path = path
        self.data = data
        self._notebook = Notebook(data, path)
        self.text = self._notebook.text
        if self.encode(self.text) != data:
            raise UserError("not changed: its cells cannot be written back as they were", path=path)

    def encode(self, text: str) -> bytes:
        """The notebook with the cells of ``text``, its JSON otherwise as it was."""
        return self._notebook.encode(text)

    def parses(self, text: str) -> bool:
        """Whether every cell of ``text`` is Python."""
        from convlint.notebooks import Notebook

        try:
            Notebook(self.encode(text), self.path).refuse_unparsable()
        except UserError:
            return False
        return True


def write_back(path: str, before: bytes, after: bytes) -> None:
    """Replace the file's content ``before`` by ``after``, all of it or nothing.

    A symbolic link is followed, not replaced; the mode and, where allowed, the owner stay. A run
    that is killed leaves the old content or the new. Two runs at once wait for one another.

    Raises:
        UserError: the file no longer holds ``before``, or it cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        with _locked(target):
            if target.read_bytes() != before:
                raise UserError("not changed: the file was changed while it was checked", path=path)
            if not os.access(target, os.W_OK):
                raise PermissionError(0, "Permission denied")
            _replace(target, after)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror or error}", path=path) from None


def _replace(target: Path, data: bytes) -> None:
    """Write beside ``target``, then rename: readers see the old file or the new one.

    The file beside it has one name, so that what a killed run left is taken over by the next;
    under the lock it can be nobody's.
    """
    known = target.stat()
    name = target.with_name(f".{target.name}.convlint")
    with contextlib.suppress(FileNotFoundError):
        name.unlink()
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    descriptor = os.open(name, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(data)
            file.flush()
            if os.name == "posix":
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, known.st_uid, known.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(known.st_mode))
            os.fsync(descriptor)
        os.replace(name, target)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            name.unlink()
        raise
    _flush_directory(target.parent)


def _flush_directory(directory: Path) -> None:
    """Make the renaming itself survive a loss of power, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keep other runs from replacing ``target`` between the comparison and the renaming."""
    if os.name != "posix":
        yield
        return
    import fcntl

    with target.open("rb") as file:
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
