"""The catalogue as Markdown pages: one for each rule, and an index by category.

``python -m convlint.report.documentation docs/rules`` writes them. A page says only what the rule's
class says: nothing about a rule is written a second time, so the pages cannot differ from it.
"""

from __future__ import annotations

import importlib
import re
from itertools import groupby
from typing import TYPE_CHECKING

from convlint.engine import check_source
from convlint.findings import Applicability, Confidence
from convlint.report.rules import checks, documentation, options, summary
from convlint.rules import own_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from convlint.rules import Rule

COMMAND = "python -m convlint.report.documentation docs/rules"
INDEX = "README.md"

_EXAMPLE_CODE = re.compile(r"^## Example\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`")


def pages(rules: Sequence[Rule]) -> dict[str, str]:
    """The text of every page by its file name: ``slug.md`` for each rule, and the index."""
    slugs = {rule.slug for rule in rules}
    written = {f"{rule.slug}.md": page(rule, slugs) for rule in rules}
    return {INDEX: index(rules), **written}


def page(rule: Rule, slugs: set[str] | frozenset[str] = frozenset()) -> str:
    """Everything the class of a rule says about it; names among ``slugs`` become links."""
    text = documentation(rule, fenced=True).strip("\n")
    opening, _, sections = text.partition("\n\n")
    table = "\n".join(f"| {name} | {value} |" for name, value in _facts(rule, text).items())
    page = f"# {rule.slug} ({rule.code})\n\n{opening}\n\n| | |\n|---|---|\n{table}\n\n{sections}\n"
    page += options(rule, fenced=True)
    return _linked(page, slugs - {rule.slug})


def index(rules: Sequence[Rule]) -> str:
    """The rules by category, one line for each."""
    static = sum(rule.has_static() for rule in rules)
    measured = sum(rule.has_measured() for rule in rules)
    logged = sum(rule.has_logged() for rule in rules)
    default = sum(rule.default for rule in rules)
    lines = [
        "# The rules",
        "",
        f"{len(rules)} rules: {static} judge the source (`convlint check`), {measured} what a "
        f"short run measures (`convlint probe`); `convlint audit` joins both. {logged} judge "
        f"training logs (`convlint curves`). {default} are on by default; the others, marked ○, "
        "run when they are selected (`--extend-select`).",
        "",
        f"Written from the classes by `{COMMAND}`.",
    ]
    by_category = groupby(
        sorted(rules, key=lambda rule: (rule.category(), rule.code)),
        key=lambda rule: rule.category(),
    )
    sections = [(category, list(members)) for category, members in by_category]
    for category, members in sorted(sections, key=lambda section: section[1][0].code):
        lines += ["", f"## {category.capitalize()}", "", *_introduction(members[0])]
        lines += ["| code | rule | severity | seen by | |", "|---|---|---|---|---|"]
        lines += [
            f"| {rule.code}{'' if rule.default else ' ○'} | [{rule.slug}]({rule.slug}.md) "
            f"| {rule.severity.value} | {checks(rule)} | {_cell(summary(rule))} |"
            for rule in members
        ]
    return "\n".join(lines) + "\n"


def write_pages(folder: Path, texts: Mapping[str, str]) -> None:
    """Make the Markdown files in ``folder`` exactly ``texts``; other files are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.md"):
        if stale.name not in texts:
            stale.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _facts(rule: Rule, text: str) -> dict[str, str]:
    facts = {
        "severity": rule.severity.value,
        "confidence": rule.confidence.value,
        "default": "on" if rule.default else "off until selected",
        "seen by": checks(rule),
        "fix": _fix(rule, text),
    }
    if rule.has_static():
        confirming = [*([rule.slug] if rule.has_measured() else []), *rule.confirmed_by]
        quoted = [f"`{slug}`" for slug in confirming]
        facts["confirmed by the probe's"] = ", ".join(quoted) or f"– ({rule.unmeasured_because})"
    return facts


def _fix(rule: Rule, text: str) -> str:
    """What ``check`` offers to do about the rule's own example."""
    example = _EXAMPLE_CODE.search(text)
    if example is None or not rule.has_static():
        return "–"
    findings = check_source(example[1], "example.py", rules=[rule], min_confidence=Confidence.LOW)
    for finding in findings:
        if finding.fix is not None:
            safe = finding.fix.applicability is Applicability.SAFE
            return f"{'safe' if safe else 'unsafe'}: {_cell(finding.fix.message)}"
    return "–"


def _introduction(rule: Rule) -> Iterator[str]:
    package = importlib.import_module(type(rule).__module__.rpartition(".")[0])
    if package.__doc__:
        yield from (package.__doc__.strip(), "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _linked(text: str, slugs: set[str] | frozenset[str]) -> str:
    """``text`` with the quoted names of other rules as links, code blocks left alone."""

    def link(quoted: re.Match[str]) -> str:
        return f"[{quoted[0]}]({quoted[1]}.md)" if quoted[1] in slugs else quoted[0]

    pieces, end = [], 0
    for fenced in _FENCED.finditer(text):
        pieces += [_QUOTED.sub(link, text[end : fenced.start()]), fenced[0]]
        end = fenced.end()
    return "".join([*pieces, _QUOTED.sub(link, text[end:])])


if __name__ == "__main__":
    import sys
    from pathlib import Path

    if len(sys.argv) != 2:
        sys.exit(f"usage: {COMMAND}")
    write_pages(Path(sys.argv[1]), pages(own_rules()))
