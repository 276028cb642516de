"""Where syntax nodes stand in the source.

libcst keeps whitespace in its nodes and no positions. Its own position provider regenerates the
module with a bookkeeping step per token, at more than twice the cost of the parse; this one
regenerates the module once, remembers only which token a node starts and ends with, and turns the
few token numbers that facts ask for into lines and columns afterwards.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import TYPE_CHECKING

from libcst._nodes.internal import CodegenState

from convlint.findings import Location

if TYPE_CHECKING:
    from types import TracebackType

    import libcst as cst


class _Recording:
    """Records the tokens a statement proper (without leading lines) spans."""

    __slots__ = ("node", "state")

    def __init__(self, state: _RecordingState, node: cst.CSTNode) -> None:
        self.state = state
        self.node = node

    def __enter__(self) -> None:
        self.state.starts[id(self.node)] = len(self.state.tokens)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.state.syntactic_ends[id(self.node)] = len(self.state.tokens)


class _RecordingState(CodegenState):
    """Code generation that remembers the first and last token of every node."""

    __slots__ = ("ends", "starts", "syntactic_ends")

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent, default_newline)
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.syntactic_ends: dict[int, int] = {}

    def before_codegen(self, node: cst.CSTNode) -> None:
        self.starts[id(node)] = len(self.tokens)

    def after_codegen(self, node: cst.CSTNode) -> None:
        self.ends[id(node)] = len(self.tokens)

    def record_syntactic_position(  # type: ignore[override]
        self,
        node: cst.CSTNode,
        *,
        start_node: cst.CSTNode | None = None,
        end_node: cst.CSTNode | None = None,
    ) -> AbstractContextManager[None]:
        return _Recording(self, node)


class Positions:
    """Locations of the nodes of one module, computed when first asked for."""

    def __init__(self, module: cst.Module, path: str) -> None:
        self._module = module
        self._path = path
        self._state: _RecordingState | None = None
        self._offsets: list[int] = []
        self._line_starts: list[int] = []
        self._known: dict[int, Location] = {}

    def of(self, node: cst.CSTNode) -> Location:
        """The location of ``node``, which must belong to this module."""
        location = self._known.get(id(node))
        if location is None:
            location = self._known[id(node)] = self._locate(node)
        return location

    def _generate(self) -> _RecordingState:
        state = _RecordingState(self._module.default_indent, self._module.default_newline)
        self._module._codegen(state)
        self._offsets = list(accumulate(map(len, state.tokens), initial=0))
        text = "".join(state.tokens)
        starts = [0]
        position = 0
        while position < len(text):
            newline = text.find("\n", position)
            carriage = text.find("\r", position, newline if newline >= 0 else len(text))
            if 0 <= carriage != newline - 1:
                position = carriage + 1
            elif newline >= 0:
                position = newline + 1
            else:
                break
            starts.append(position)
        self._line_starts = starts
        state.tokens.clear()
        self._state = state
        return state

    def _locate(self, node: cst.CSTNode) -> Location:
        state = self._state or self._generate()
        start = state.starts.get(id(node))
        if start is None:
            return Location(self._path, 1, 1, 1, 1)
        end = state.syntactic_ends.get(id(node))
        if end is None:
            end = state.ends.get(id(node), start)
        line, column = self._line_and_column(self._offsets[min(start, len(self._offsets) - 1)])
        end_line, end_column = self._line_and_column(
            self._offsets[min(end, len(self._offsets) - 1)]
        )
        return Location(self._path, line, column, end_line, end_column)

    def _line_and_column(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1
