"""Mistakes a user can make, said in one line.

Whatever raises ``UserError`` has already decided what to say: the command line prints
``convlint: `` and the message, never a traceback, and exits 2.
"""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: a bad option, an unreadable file, a syntax error.

    ``str(error)`` is one line, with the place in front when there is one:
    ``train.py:3:7: cannot parse: unmatched ')'``.
    """

    def __init__(
        self, message: str, *, path: str = "", line: int | None = None, column: int | None = None
    ) -> None:
        self.message = " ".join(message.split())
        self.path = path
        self.line = line
        self.column = column
        super().__init__(self.message)

    def __str__(self) -> str:
        # A file name may hold line ends and terminal commands.
        path = "".join(c if c.isprintable() or ord(c) > 127 else "?" for c in self.path)
        place = ":".join(str(part) for part in (path, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


def did_you_mean(name: str, known: list[str]) -> str:
    """``; did you mean 'lr-high'?`` for the nearest of ``known``, or nothing when none is near."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def nearest(name: str, known: list[str]) -> str:
    """The one of ``known`` that is nearest to ``name``, or nothing when none is near."""
    import difflib

    return next(iter(difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)), "")
