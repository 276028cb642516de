"""The statements of a source text: which lines each takes, and its text without layout."""

from __future__ import annotations

import bisect
import io
import tokenize

import msgspec

_LAYOUT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)


class Statement(msgspec.Struct, frozen=True):
    """One logical line: a simple statement, or the header of a compound one.

    ``text`` is its tokens, a space between each two: the same however it is laid out.
    """

    first_line: int
    last_line: int
    text: str


def statements(source: str) -> tuple[Statement, ...]:
    """The statements of ``source`` in order; those before the first that cannot be tokenised."""
    found: list[Statement] = []
    words: list[str] = []
    first = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source, newline=None).readline):
            if token.type == tokenize.NEWLINE:
                if words:
                    found.append(Statement(first, token.start[0], " ".join(words)))
                words = []
            elif token.type not in _LAYOUT:
                if not words:
                    first = token.start[0]
                words.append(token.string)
    except (tokenize.TokenError, SyntaxError):
        pass
    return tuple(found)


def statement_at(found: tuple[Statement, ...], line: int) -> Statement | None:
    """The statement that takes ``line``, or None when none of ``found`` does."""
    index = bisect.bisect_right(found, line, key=lambda statement: statement.first_line) - 1
    if index >= 0 and line <= found[index].last_line:
        return found[index]
    return None
