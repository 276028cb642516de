"""The documentation of rules, as files an editor can open."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path


class RulePages:
    """Markdown by slug; each page becomes a file of its own when its address is asked for."""

    def __init__(self) -> None:
        self._markdown: dict[str, str] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add(self, pages: dict[str, str]) -> None:
        """Take in what the worker says of rules; a page that changed is written anew."""
        for slug, markdown in pages.items():
            if self._markdown.get(slug) != markdown:
                self._markdown[slug] = markdown
                if self._folder is not None and self._file(slug).exists():
                    self._file(slug).write_text(markdown, encoding="utf-8")

    def markdown(self, slug: str) -> str | None:
        """The page itself."""
        return self._markdown.get(slug)

    def uri(self, slug: str) -> str | None:
        """Where the page is; None for a rule not heard of."""
        markdown = self._markdown.get(slug)
        if markdown is None:
            return None
        file = self._file(slug)
        if not file.exists():
            file.write_text(markdown, encoding="utf-8")
        return file.as_uri()

    def remove(self) -> None:
        """Take the files away."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _file(self, slug: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="convlint-rules-")
        return Path(self._folder.name, f"{re.sub('[^a-z0-9-]', '_', slug)}.md")
