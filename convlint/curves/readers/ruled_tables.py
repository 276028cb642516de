"""Tables whose columns a line of dashes sets apart, as ``spacy train`` prints them.

    E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  SCORE
    ---  ------  ------------  --------  ------  ------
      0       0          0.00     74.68    0.10    0.00

Names hold spaces there, so that only the dashes say where a column begins.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from convlint.curves.naming import role_of
from convlint.curves.readers.text import number, without_escapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.curves.readers.text import Peeked, Row

_RULER = re.compile(r"-+(?: +-+){2,}\s*$")
_DASHES = re.compile(r"-+")

_COUNTERS = {"E": "epoch", "#": "step"}
"""What spaCy calls the epoch and the step."""


def begins_ruled_table(lines: Sequence[str]) -> bool:
    """Whether one of these lines rules off names above it, one of them a loss or a score."""
    return any(
        _RULER.match(ruler) and _known(_header(names, ruler))
        for names, ruler in itertools.pairwise(lines)
    )


def rows(text: Peeked) -> Iterator[Row]:
    """One row for each line below the dashes that has a number for each column.

    Losses are sums since the row before. The one at step 0 comes after a single batch and is no
    loss of many.
    """
    header: list[str] = []
    before = ""
    for line in text:
        plain = without_escapes(line)
        if _RULER.match(plain):
            header = _header(before, plain)
        elif header and len(cells := plain.split()) == len(header):
            read = {name: number(cell) for name, cell in zip(header, cells, strict=True)}
            values = {name: value for name, value in read.items() if value is not None}
            if values.get("step") == 0.0:
                values = {n: v for n, v in values.items() if role_of(n).quantity != "loss"}
            if len(values) > 1:
                yield text.line, values
        before = plain


def _header(names: str, ruler: str) -> list[str]:
    spans = [match.span() for match in _DASHES.finditer(ruler)]
    ends = [start for start, _ in spans[1:]] + [len(names)]
    cells = [names[start:end].strip() for (start, _), end in zip(spans, ends, strict=True)]
    return [_COUNTERS.get(cell, cell) for cell in cells]


def _known(header: Sequence[str]) -> bool:
    return all(header) and any(role_of(name).quantity in ("loss", "score") for name in header)
