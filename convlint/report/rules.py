"""The catalogue of rules, for readers and for programs."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING

import msgspec

from convlint.findings import (
    Applicability,
    Confidence,
    Severity,
)
from convlint.report.text import FAINT, SEVERITY_STYLE, STRONG, Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convlint.rules import Rule


_EXAMPLE = re.compile(r"^(## (?:Example|Use instead)\n)((?:    .*\n|\n)+)", re.MULTILINE)


class RuleDescription(msgspec.Struct, frozen=True):
    """One rule as ``convlint rules --output-format json`` lists it. ``explanation`` is Markdown."""

    code: str
    slug: str
    severity: Severity
    confidence: Confidence
    default: bool
    static: bool
    measured: bool
    fix: Applicability | None
    summary: str
    explanation: str


def describe(rule: Rule) -> RuleDescription:
    """What a program needs to know of a rule."""
    return RuleDescription(
        code=rule.code,
        slug=rule.slug,
        severity=rule.severity,
        confidence=rule.confidence,
        default=rule.default,
        static=rule.has_static(),
        measured=rule.has_measured(),
        fix=rule.fix,
        summary=summary(rule),
        explanation=documentation(rule),
    )


def summary(rule: Rule) -> str:
    """The first sentence of the rule's documentation."""
    return " ".join(documentation(rule).split("\n\n", 1)[0].split())


def explanation(rule: Rule, *, fenced: bool = False) -> str:
    """The rule's whole documentation as Markdown, under a title and a line of facts.

    With ``fenced`` its examples are marked as Python, which a renderer colours.
    """
    facts = [
        rule.severity.value,
        checks(rule),
        "on by default" if rule.default else "off until selected",
        f"{rule.fix.value} fix" if rule.fix is not None else "no fix",
    ]
    documented = documentation(rule, fenced=fenced)
    return f"# {rule.slug} ({rule.code})\n\n{', '.join(facts)}\n\n{documented}\n"


def documentation(rule: Rule, *, fenced: bool = False) -> str:
    """The docstring of the rule as Markdown; with ``fenced`` its examples are marked as Python."""
    text = f"{inspect.cleandoc(type(rule).__doc__ or '')}\n"
    return (_EXAMPLE.sub(_fence, text) if fenced else text).rstrip("\n")


def checks(rule: Rule) -> str:
    """The ways the rule judges: ``static``, ``measured`` or both."""
    ways = (("static", rule.has_static()), ("measured", rule.has_measured()))
    return " + ".join(name for name, has in ways if has)


def catalogue_json(rules: Sequence[Rule]) -> bytes:
    """A JSON array of ``RuleDescription``."""
    return msgspec.json.format(msgspec.json.encode([describe(r) for r in rules]), indent=2) + b"\n"


def catalogue_lines(rules: Sequence[Rule]) -> Iterator[Line]:
    """A table, one line for each rule, and a line that counts them."""
    width = max((len(rule.slug) for rule in rules), default=0)
    for rule in rules:
        yield (
            (f"{rule.code:<7}", FAINT),
            (" " if rule.default else "○", FAINT),
            (f" {rule.slug:<{width}}", STRONG),
            (f"  {rule.severity.value:<8}", SEVERITY_STYLE[rule.severity]),
            (f" {checks(rule):<18} ", FAINT),
            (summary(rule), ""),
        )
    static = sum(rule.has_static() for rule in rules)
    measured = sum(rule.has_measured() for rule in rules)
    both = sum(rule.has_static() and rule.has_measured() for rule in rules)
    yield ()
    yield (
        (f"{len(rules)} rules: {static} static, {measured} measured, {both} of them both.", STRONG),
    )


def _fence(example: re.Match[str]) -> str:
    code = textwrap.dedent(example.group(2)).strip("\n")
    return f"{example.group(1)}```python\n{code}\n```\n\n"
