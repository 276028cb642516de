"""Code blocks of the Markdown a user reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w+)([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r'not-run="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One code block; ``not_run`` is why its commands are not run, empty when they are."""

    page: str
    line: int
    language: str
    text: str
    not_run: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    """The blocks of a language on every page, in order."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in _FENCE.finditer(text):
            if fence.group(1) != language:
                continue
            reason = _NOT_RUN.search(fence.group(2))
            assert reason is not None or not fence.group(2).strip(), f"{page}: {fence.group(2)}"
            yield Block(
                page=str(page.relative_to(ROOT)),
                line=text.count("\n", 0, fence.start()) + 1,
                language=language,
                text=fence.group(3),
                not_run=reason.group(1) if reason is not None else "",
            )
