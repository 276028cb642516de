"""The rules as a plugin of flake8, under their own codes.

Flake8 asks a plugin for one prefix of codes, so there is one class for each category of rules;
``convlint.flake8_plugin:LOP`` yields what the rules ``LOP...`` find. All of them look at the same
result: a file is checked once.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from convlint import __version__
from convlint.engine import STDIN, check_paths
from convlint.sources import display_path

if TYPE_CHECKING:
    import argparse
    import ast
    from collections.abc import Iterator

    from convlint.findings import Finding
    from convlint.settings import Overrides

_PREFIX = re.compile(r"[A-Z]{3}")


class Category:
    """The rules of one prefix. Settings are those of ``convlint check``, and flake8's on top."""

    name: ClassVar[str] = "convlint"
    version: ClassVar[str] = __version__
    prefix: ClassVar[str] = ""
    overrides: ClassVar[Overrides | None] = None

    @classmethod
    def add_options(cls, manager: Any) -> None:
        """Add what flake8's command line and configuration may say of convlint, once."""
        if any(option.long_option_name == "--convlint-extend-select" for option in manager.options):
            return
        manager.add_option(
            "--convlint-extend-select",
            metavar="RULE,...",
            default="",
            parse_from_config=True,
            comma_separated_list=True,
            help="Rules of convlint that are off by default, to be run as well.",
        )
        manager.add_option(
            "--convlint-isolated",
            action="store_true",
            default=False,
            parse_from_config=True,
            help="Read no configuration file of convlint's own, and run no rule it names.",
        )

    @classmethod
    def parse_options(cls, options: argparse.Namespace) -> None:
        """Take what was said."""
        from convlint.selection import RuleChoice
        from convlint.settings import Overrides

        Category.overrides = Overrides(
            rules=RuleChoice(extend_select=tuple(options.convlint_extend_select)),
            isolated=options.convlint_isolated,
        )

    def __init__(self, tree: ast.AST, filename: str, lines: list[str]) -> None:
        """Check the file; ``tree`` is how flake8 knows what kind of plugin this is.

        Raises:
            UserError: the configuration has a mistake.
        """
        self._findings = _findings(filename, "".join(lines))

    def run(self) -> Iterator[tuple[int, int, str, type]]:
        """Line from 1, column from 0, code and message of what was found."""
        for finding in self._findings:
            if finding.code.startswith(self.prefix):
                place = finding.location
                said = f"{finding.code} {finding.message} ({finding.slug})"
                yield place.line, place.column - 1, said, type(self)


@lru_cache(maxsize=1)
def _findings(filename: str, source: str) -> tuple[Finding, ...]:
    data = source.encode(errors="surrogatepass")
    outcome = check_paths((STDIN,), Category.overrides, stdin=data, stdin_name=filename)
    # Flake8 reports on the file it reads; what is found in imported ones belongs to those.
    shown = display_path(Path(filename))
    return tuple(finding for finding in outcome.findings if finding.location.path == shown)


@cache
def __getattr__(name: str) -> type[Category]:
    """The class of the prefix ``name``."""
    if _PREFIX.fullmatch(name) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return type(name, (Category,), {"prefix": name, "__doc__": f"The rules {name}..."})
