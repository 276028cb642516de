"""Every rule documents itself, and its documentation is true: the examples are run."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import textwrap
from typing import TYPE_CHECKING

import pytest

from convlint.documents import PythonDocument
from convlint.engine import check_source
from convlint.findings import Applicability, Confidence
from convlint.fixes import fix_until_settled
from convlint.outcome import Outcome, SourceTexts
from convlint.rules import Rule, all_rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from convlint.fixes import FixRun

SECTIONS = (
    "What it does",
    "Why it hurts",
    "Example",
    "Use instead",
    "When it is fine",
    "Measured",
    "References",
)
RULES = all_rules()
LOGGED_RULES = [rule for rule in RULES if rule.has_logged()]
STATIC_RULES = [rule for rule in RULES if rule.has_static()]


def sections(rule: Rule) -> dict[str, str]:
    """The text below each ``## Heading`` of the rule's docstring, by heading."""
    parts = re.split(r"^## (.+)$", inspect.getdoc(type(rule)) or "", flags=re.MULTILINE)
    return dict(zip((name.strip() for name in parts[1::2]), parts[2::2], strict=True))


def code_block(text: str) -> str:
    """The fenced or indented block in a section, dedented."""
    if fenced := re.search(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        return fenced[1]
    lines = [line for line in text.splitlines() if line.startswith("    ") or not line.strip()]
    return textwrap.dedent("\n".join(lines)).strip() + "\n"


def slugs_found(rule: Rule, source: str) -> set[str]:
    """The slugs this one rule reports in ``source``, at any confidence."""
    return {
        finding.slug
        for finding in check_source(
            source, "example.py", rules=[rule], min_confidence=Confidence.LOW
        )
    }


def repaired(rule: Rule, source: str) -> FixRun:
    """``source`` with every fix this one rule offers made, until it offers none."""

    def check(replaced: Mapping[str, bytes]) -> Outcome:
        text = replaced.get("example.py", source.encode()).decode()
        findings = check_source(text, "example.py", rules=[rule], min_confidence=Confidence.LOW)
        return Outcome(
            findings=findings, sources=SourceTexts({"example.py": text}), checked={"example.py"}
        )

    return fix_until_settled(check, lambda path: PythonDocument(path, source.encode()), unsafe=True)


def test_the_catalogue_is_not_empty_and_names_are_unique() -> None:
    assert RULES
    assert len({rule.slug for rule in RULES}) == len(RULES)
    assert len({rule.code for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.slug)
def test_a_rule_is_named_documented_and_judges_something(rule: Rule) -> None:
    assert re.fullmatch(r"[A-Z]{3}\d{3}", rule.code)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.slug)
    assert rule.has_static() or rule.has_measured() or rule.has_logged()
    documented = sections(rule)
    assert list(documented) == list(SECTIONS)
    assert all(text.strip() for text in documented.values())


@pytest.mark.parametrize("rule", STATIC_RULES, ids=lambda rule: rule.slug)
def test_the_example_fires(rule: Rule) -> None:
    assert slugs_found(rule, code_block(sections(rule)["Example"])) == {rule.slug}


@pytest.mark.parametrize("rule", STATIC_RULES, ids=lambda rule: rule.slug)
def test_what_to_use_instead_does_not_fire(rule: Rule) -> None:
    assert slugs_found(rule, code_block(sections(rule)["Use instead"])) == set()


@pytest.mark.parametrize(
    "rule", [r for r in STATIC_RULES if r.fix is not None], ids=lambda rule: rule.slug
)
def test_the_fix_removes_what_the_example_shows(rule: Rule) -> None:
    example = code_block(sections(rule)["Example"])
    run = repaired(rule, example)
    assert [finding.slug for finding in run.fixed], "the rule declares a fix and offers none"
    if rule.fix is Applicability.UNSAFE:
        assert {each.fix.applicability for each in run.fixed if each.fix} == {rule.fix}
    assert run.notes == []
    assert run.outcome.findings == []
    fixed = run.changes["example.py"]
    assert repaired(rule, fixed).changes == {}
    crlf = repaired(rule, example.replace("\n", "\r\n")).changes["example.py"]
    assert crlf == fixed.replace("\n", "\r\n")


@pytest.mark.parametrize(
    "rule", [r for r in STATIC_RULES if r.fix is None], ids=lambda rule: rule.slug
)
def test_rules_that_declare_no_fix_offer_none(rule: Rule) -> None:
    source = code_block(sections(rule)["Example"])
    findings = check_source(source, "example.py", rules=[rule], min_confidence=Confidence.LOW)
    assert [finding.fix for finding in findings if finding.fix is not None] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.slug)
def test_examples_are_valid_python(rule: Rule) -> None:
    documented = sections(rule)
    for heading in ("Example", "Use instead"):
        source = code_block(documented[heading])
        assert source.strip()
        compile(source, f"<{rule.slug}: {heading}>", "exec")


def slugs_found_in_log(rule: Rule, program: str, tmp_path: Path) -> set[str]:
    """The slugs this one rule reports in the log that ``program`` prints."""
    from convlint.curves.assemble import assemble
    from convlint.curves.readers import open_log

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "example.py", "exec"), {})
    log = tmp_path / "train.log"
    log.write_text(printed.getvalue())
    return {finding.slug for finding in rule.logged(assemble(open_log(str(log)), str(log)))}


@pytest.mark.parametrize("rule", LOGGED_RULES, ids=lambda rule: rule.slug)
def test_the_log_of_the_example_fires(rule: Rule, tmp_path: Path) -> None:
    program = code_block(sections(rule)["Example"])
    assert slugs_found_in_log(rule, program, tmp_path) == {rule.slug}


@pytest.mark.parametrize("rule", LOGGED_RULES, ids=lambda rule: rule.slug)
def test_the_log_of_what_to_use_instead_does_not_fire(rule: Rule, tmp_path: Path) -> None:
    program = code_block(sections(rule)["Use instead"])
    assert slugs_found_in_log(rule, program, tmp_path) == set()


@pytest.mark.parametrize("name", sorted({n for rule in RULES for n in rule.confirmed_by}))
def test_confirming_measurements_exist(name: str) -> None:
    assert any(rule.slug == name and rule.has_measured() for rule in RULES)
