"""The catalogue of rules, for readers and for programs."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.findings import (
    Applicability,
    Confidence,
    Severity,
)
from convlint.predictions import Confirmation, confirmations_of
from convlint.report.text import FAINT, SEVERITY_STYLE, STRONG, Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from convlint.rules import Rule


_EXAMPLE = re.compile(r"^(## (?:Example|Use instead)\n)((?:    .*\n|\n)+)", re.MULTILINE)


class CategoryDescription(msgspec.Struct, frozen=True):
    """A category of rules: its name and the letters of its codes select all of them."""

    name: str
    prefix: str
    rules: int
    about: str


class OptionDescription(msgspec.Struct, frozen=True):
    """What a user may set in ``rule-options``; ``type`` is said in words, bounds are inclusive."""

    name: str
    type: str
    default: Any
    minimum: float | None
    maximum: float | None
    meaning: str


class RuleDescription(msgspec.Struct, frozen=True):
    """One rule as ``convlint rules --output-format json`` lists it. ``confirmations`` are the
    measurements by which `audit` confirms or refutes its findings, ``twins`` the rules that see the
    same fault in other evidence; ``explanation`` is Markdown."""

    code: str
    slug: str
    severity: Severity
    confidence: Confidence
    category: str
    default: bool
    static: bool
    measured: bool
    logged: bool
    confirmations: tuple[Confirmation, ...]
    twins: tuple[str, ...]
    fix: Applicability | None
    options: tuple[OptionDescription, ...]
    summary: str
    explanation: str


def describe(rule: Rule) -> RuleDescription:
    """What a program needs to know of a rule."""
    return RuleDescription(
        code=rule.code,
        slug=rule.slug,
        severity=rule.severity,
        confidence=rule.confidence,
        category=rule.category(),
        default=rule.default,
        static=rule.has_static(),
        measured=rule.has_measured(),
        logged=rule.has_logged(),
        confirmations=tuple(confirmations_of(rule)),
        twins=tuple(twin.slug for twin in twins_of(rule)),
        fix=rule.fix,
        options=tuple(
            OptionDescription(
                option.name, option.kind, option.default, option.least, option.most, option.meaning
            )
            for option in rule.options().values()
        ),
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
    more = options(rule, fenced=fenced)
    tested = _tested(rule)
    title = f"# {rule.slug} ({rule.code})"
    return f"{title}\n\n{', '.join(facts)}\n\n{documented}\n{tested}{_elsewhere(rule)}{more}"


def twins_of(rule: Rule) -> list[Rule]:
    """The rules that see the same fault in evidence of another kind."""
    from convlint.rules import all_rules

    return [other for other in all_rules() if other.slug in rule.twins or rule.slug in other.twins]


def _elsewhere(rule: Rule) -> str:
    """A section that points to the rule's twins; empty without any."""
    lines = [
        f"- `{twin.slug}`: {', '.join(_PLACES[way] for way in checks(twin).split(' + '))}"
        for twin in twins_of(rule)
    ]
    if not lines:
        return ""
    return "\n".join(["", "## The same fault elsewhere", *lines, ""])


def _tested(rule: Rule) -> str:
    """A section about what confirms findings from source; empty where nothing is measured."""
    lines = []
    for confirmation in confirmations_of(rule):
        by = "" if confirmation.rule == rule.slug else f" (`{confirmation.rule}`)"
        needs = f"; needs {', '.join(confirmation.needs)}" if confirmation.needs else ""
        lines.append(f"- {confirmation.prediction}{by}{needs}")
    if not lines:
        return ""
    heading = "## Tested by audit"
    return "\n".join(
        ["", heading, "A finding from source predicts that the probe sees:", "", *lines, ""]
    )


def documentation(rule: Rule, *, fenced: bool = False) -> str:
    """The docstring of the rule as Markdown; with ``fenced`` its examples are marked as Python."""
    text = f"{inspect.cleandoc(type(rule).__doc__ or '')}\n"
    return (_EXAMPLE.sub(_fence, text) if fenced else text).rstrip("\n")


def options(rule: Rule, *, fenced: bool = False) -> str:
    """A section about the options of the rule, with the default values; empty when it has none."""
    declared = rule.options().values()
    if not declared:
        return ""
    lines = ["", "## Options"]
    for option in declared:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", option.least), ("at most", option.most))
            if bound is not None
        ]
        said = ", ".join([option.kind, *bounds])
        lines.append(f"- `{option.name}` ({said}): {option.meaning}")
    table = [f"[tool.convlint.rule-options.{rule.slug}]"]
    table += [f"{option.name} = {json.dumps(option.default)}" for option in declared]
    if fenced:
        return "\n".join([*lines, "", "```toml", *table, "```", ""])
    return "\n".join([*lines, "", *(f"    {line}" for line in table), ""])


_PLACES = {
    "static": "in the source (`convlint check`)",
    "tested": "in a short run (`convlint audit`)",
    "measured": "in a short run (`convlint probe`)",
    "logged": "in the log of a run (`convlint curves`)",
}


def categories(rules: Iterable[Rule]) -> list[CategoryDescription]:
    """The categories of ``rules``, in order of their codes."""
    members: dict[str, list[Rule]] = {}
    for rule in sorted(rules, key=lambda rule: rule.code):
        members.setdefault(rule.category(), []).append(rule)
    return [
        CategoryDescription(
            name,
            ", ".join(dict.fromkeys(rule.code.rstrip("0123456789") for rule in group)),
            len(group),
            _about(group[0]),
        )
        for name, group in members.items()
    ]


def _about(rule: Rule) -> str:
    """The first sentence about the folder the rule's file lies in."""
    package = sys.modules.get(type(rule).__module__.rpartition(".")[0])
    text = inspect.cleandoc(package.__doc__ or "") if package is not None else ""
    return " ".join(text.split("\n\n", 1)[0].split())


def checks(rule: Rule) -> str:
    """The ways the rule judges: ``static``, ``measured``, ``logged`` or several.

    ``tested`` says of a rule that judges source only that another rule's measurement confirms or
    refutes its findings.
    """
    ways = (
        ("static", rule.has_static()),
        ("measured", rule.has_measured()),
        ("tested", not rule.has_measured() and bool(confirmations_of(rule))),
        ("logged", rule.has_logged()),
    )
    return " + ".join(name for name, has in ways if has)


def catalogue_json(rules: Sequence[Rule]) -> bytes:
    """A JSON array of ``RuleDescription``."""
    return msgspec.json.format(msgspec.json.encode([describe(r) for r in rules]), indent=2) + b"\n"


def rule_json(rule: Rule) -> bytes:
    """One ``RuleDescription``."""
    return msgspec.json.format(msgspec.json.encode(describe(rule)), indent=2) + b"\n"


def category_lines(found: Sequence[CategoryDescription]) -> Iterator[Line]:
    """A table of categories, one line for each."""
    width = max((len(category.name) for category in found), default=0)
    prefix = max((len(category.prefix) for category in found), default=0)
    for category in found:
        yield (
            (f"{category.prefix:<{prefix}}", FAINT),
            (f"  {category.name:<{width}}", STRONG),
            (f"  {category.rules:>3} rules  ", FAINT),
            (category.about, ""),
        )


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
    tested = sum(bool(confirmations_of(rule)) for rule in rules)
    logged = sum(rule.has_logged() for rule in rules)
    counted = f"{static} static, {measured} measured, {both} of them both; {logged} judge logs"
    counted += f"; audit tests the findings of {tested} static ones by measuring"
    yield ()
    yield ((f"{len(rules)} rules: {counted}.", STRONG),)


def _fence(example: re.Match[str]) -> str:
    code = textwrap.dedent(example.group(2)).strip("\n")
    return f"{example.group(1)}```python\n{code}\n```\n\n"
