"""From source text to Python's syntax tree, or to one line that says what is wrong with it."""

from __future__ import annotations

import ast
import re
import sys
import warnings

from convlint.lazy_regex import lazy_regex


class SourceSyntaxError(Exception):
    """A file that cannot be parsed: ``path``, ``line`` and ``column`` (from 1), ``message``."""

    def __init__(self, path: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{path}:{line}:{column}: cannot parse: {message}")
        self.path = path
        self.line = line
        self.column = column
        self.message = message


def parse(source: str, path: str) -> ast.Module:
    """Parse a file. Raises SourceSyntaxError with the place of the first error."""
    with warnings.catch_warnings():
        # Invalid escapes and the like are for other tools to tell.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except SyntaxError as error:
            line, column = error.lineno or 1, max(error.offset or 1, 1)
            message = error.msg + _newer_syntax(source, line, error.msg)
            raise SourceSyntaxError(path, line, column, message) from None
        except (RecursionError, MemoryError):
            raise SourceSyntaxError(path, 1, 1, "nested too deeply") from None
        except ValueError as error:
            raise SourceSyntaxError(path, 1, 1, str(error)) from None


_NEWER_SYNTAX = (
    ((3, 14), lazy_regex(r"\s*except\*?\s+[\w.]+\s*,|.*(?<!\w)[tT][rR]?[\"']")),
    ((3, 13), lazy_regex(r"\s*(?:class|type|(?:async\s+)?def)\s+\w+\s*\[[^\]]*=")),
    ((3, 12), lazy_regex(r"\s*(?:type\s+\w+\s*[=\[]|(?:class|(?:async\s+)?def)\s+\w+\s*\[)")),
)
"""Lines that mean something from a version of Python on, newest first."""
_FREER_F_STRINGS = (3, 12)


def _newer_syntax(source: str, line: int, reason: str) -> str:
    """A remark when the line may be right in a Python newer than the one that runs."""
    lines = re.split(r"\r\n|\r|\n", source)
    text = lines[line - 1] if line <= len(lines) else ""
    since = next((version for version, form in _NEWER_SYNTAX if form.match(text)), None)
    if since is None and reason.startswith("f-string"):
        since = _FREER_F_STRINGS
    running = sys.version_info[:2]
    if since is None or since <= running:
        return ""
    return f" (read as Python {running[0]}.{running[1]}; Python {since[0]}.{since[1]} may allow it)"
