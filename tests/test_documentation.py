"""The pages in ``docs/rules`` say what the classes say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convlint.report.documentation import COMMAND, index, page, pages, write_pages
from convlint.rules import Rule, all_rules, find_rule

FOLDER = Path(__file__).parent.parent / "docs" / "rules"
RULES = all_rules()


def rule_named(slug: str) -> Rule:
    rule = find_rule(slug)
    assert rule is not None
    return rule


def test_published_pages_are_current() -> None:
    published = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    current = pages(RULES)
    differing = sorted(
        name for name in published | current if published.get(name) != current.get(name)
    )
    assert not differing, f"{', '.join(differing)}: stale, run `{COMMAND}`"


def test_pages_are_the_same_whenever_they_are_written() -> None:
    rules = RULES[:20]
    assert pages(rules) == pages(rules)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.slug)
def test_the_index_names_every_rule_with_a_link_to_its_page(rule: Rule) -> None:
    assert f"[{rule.slug}]({rule.slug}.md)" in index(RULES)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_readers_are_sent_to_the_pages(name: str) -> None:
    assert "(docs/rules/" in (FOLDER.parent.parent / name).read_text(encoding="utf-8")


def test_links_between_pages_lead_somewhere() -> None:
    texts = pages(RULES)
    linked = {
        target for text in texts.values() for target in re.findall(r"\]\(([\w-]+\.md)\)", text)
    }
    assert linked <= set(texts)


def test_examples_stand_in_code_blocks() -> None:
    text = page(rule_named("zero-grad-missing"))
    assert "## Example\n```python\nimport torch\n" in text
    assert "## Use instead\n```python\nimport torch\n" in text
    assert "\n    import torch" not in text


def test_a_page_names_what_confirms_a_finding() -> None:
    text = page(rule_named("constant-weight-init"), {"symmetric-init"})
    assert "| confirmed by the probe's | [`symmetric-init`](symmetric-init.md) |" in text


def test_a_page_says_whether_the_offered_fix_is_safe() -> None:
    assert "| fix | safe: call the method |" in page(rule_named("uncalled-method"))
    assert "| fix | unsafe: clear the gradients" in page(rule_named("zero-grad-missing"))
    assert "| fix | – |" in page(rule_named("constant-batches"))


def test_writing_removes_the_page_of_a_rule_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone-rule.md").write_text("old")
    (tmp_path / "notes.txt").write_text("kept")
    write_pages(tmp_path, {"README.md": "# The rules\n"})
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "notes.txt"}
