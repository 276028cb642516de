"""The Markdown on a run, read back by a CommonMark parser: whole, and nothing but text from names."""

from __future__ import annotations

import re

import msgspec
import pytest
from made_up_run import HOSTILE, hostile_run
from markdown_it import MarkdownIt

from convlint.report.markdown import code, prose, render_run

READER = MarkdownIt("commonmark", {"html": True}).enable("table")


def text_of(markdown: str) -> str:
    """What a reader sees: the text and code of all inline tokens."""
    return "\n".join(
        "".join(child.content for child in token.children or ())
        if token.type == "inline"
        else token.content
        for token in READER.parse(markdown)
    )


def markup_of(markdown: str) -> list[str]:
    """The raw HTML that would reach the page."""
    found = []
    for token in READER.parse(markdown):
        if token.type == "html_block":
            found.append(token.content)
        found += [c.content for c in token.children or () if c.type == "html_inline"]
    return found


@pytest.fixture
def markdown() -> str:
    return render_run(hostile_run()).decode()


def test_names_in_the_program_bring_no_markup(markdown):
    own = {"<br>", "<!-- -->", "</details>\n"}
    own.add("<details><summary>What was measured, and what was not</summary>\n")
    assert set(markup_of(markdown)) <= own


def test_the_verdict_and_every_finding_can_be_read(markdown):
    text = text_of(markdown)
    assert f"convlint audit of {HOSTILE}.py: no-go" in text
    assert text.count("zero-grad-missing") == 2
    assert "confirmed" in text and "refuted" in text
    assert f"{HOSTILE}.py:3" in text
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    written = [line for line in rows if not line.startswith("|---")]
    assert len([t for t in READER.parse(markdown) if t.type == "tr_open"]) == len(written)


def test_the_remedies_are_a_table_of_their_own(markdown):
    text = text_of(markdown)
    assert "1 change tried over 200 steps on 100 recorded batches in 6 orders" in text
    assert "loss lower by 0.3 (0.2 to 0.4), at 0.4" in text
    assert "what to write" in text


def test_what_was_and_was_not_measured_is_there(markdown):
    assert "gradient noise signal equals noise at 400 samples (300 to 550)" in markdown
    text = text_of(markdown)
    assert "60 steps; all planned steps were run" in text
    assert "not measured" in text
    assert re.search(r"^ +loss +█[▁▂▃▄▅▆▇█ ]+ converging from", text, re.MULTILINE)
    assert "The whole run: about 10 s, 0.0083: 1000 steps" in text


@pytest.mark.parametrize("text", ["a`b", "``", "x | y", "plain", HOSTILE, "`a`", " "])
def test_a_code_span_shows_its_text_alone(text):
    (token,) = [t for t in READER.parse(f"a {code(text)} b") if t.type == "inline"]
    spans = [child.content for child in token.children if child.type == "code_inline"]
    # In a table, where paths stand, the reader takes the backslash before a bar away.
    assert spans == [text.strip().replace("|", "\\|")] if text.strip() else True


@pytest.mark.parametrize("text", ["@team", "#12", "a@b", "fixes #3 @me"])
def test_prose_mentions_nobody_and_refers_to_nothing(text):
    shown = prose(text)
    assert text_of(shown).replace("<!-- -->", "").strip() == text
    assert not any(part in shown for part in ("@team", "@me", "#12", "#3", "@b"))


def test_a_place_links_to_the_commit_in_github_actions(monkeypatch):
    for name, value in (
        ("SERVER_URL", "https://github.com"),
        ("REPOSITORY", "a/b"),
        ("SHA", "abc"),
    ):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    markdown = render_run(hostile_run()).decode()
    assert "(https://github.com/a/b/blob/abc/%3Cimg%20src%3Dx" in markdown
    assert ".py#L3)" in markdown


def test_a_comment_stays_below_githubs_limit():
    run = hostile_run()
    long = [msgspec.structs.replace(run.findings[0], message="m" * 5000, help="h" * 5000)] * 500
    markdown = render_run(msgspec.structs.replace(run, findings=long)).decode()
    assert len(markdown) < 65_536
    assert "470 more are in the full report." in markdown
