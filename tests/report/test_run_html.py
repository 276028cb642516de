"""The page on a run, in a real browser: whole, quiet, readable, and safe whatever a name holds."""

from __future__ import annotations

import base64
import dataclasses
import json
import re

import pytest
from browser import browsing
from made_up_run import HOSTILE, hostile_run

from convlint.audit import Decision, RunVerdict
from convlint.findings import Confidence, Finding, Judgement, Location, Severity, Verdict
from convlint.report.html import render_run
from convlint.report.run import RunReport

pytestmark = pytest.mark.xdist_group("browser")

SIZES = [(1280, 900), (375, 812)]
LARGEST = 5_000_000
"""Bytes of a page that still goes through a mail server and into an artifact at once."""

OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
TEXT_OUTSIDE = """
[...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map(text => svg.getAttribute('aria-label') + ': ' + text.firstChild.textContent);
})
"""


@pytest.fixture(scope="module")
def browser():
    with browsing() as page:
        yield page


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_bytes(render_run(hostile_run()))
    return file


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_page_is_whole_and_quiet_at_any_width_in_both_themes(
    browser, page_file, width, height, theme
):
    browser.open(page_file, width=width, height=height, theme=theme)
    assert browser.evaluate(OVERFLOW) <= 0
    assert browser.evaluate(TEXT_OUTSIDE) == []
    assert browser.complaints() == []
    assert browser.requests() == []
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
    assert brightness > 200 if theme == "light" else brightness < 60


def test_names_in_the_program_are_text_and_never_markup(browser, page_file):
    browser.open(page_file, width=1280, height=900, theme="light")
    assert browser.evaluate("typeof window.harmed") == "undefined"
    assert browser.evaluate("document.querySelectorAll('img, script, iframe').length") == 0
    assert HOSTILE in browser.evaluate("document.querySelector('h1').textContent")
    named = browser.evaluate("[...document.querySelectorAll('svg title')].map(t => t.textContent)")
    assert any(HOSTILE in name for name in named)


def test_every_plot_has_labelled_axes_and_one_line_that_reads_it(browser, page_file):
    browser.open(page_file, width=1280, height=900, theme="light")
    plots = browser.evaluate(
        "[...document.querySelectorAll('figure')].map(f => ({"
        "name: f.id, x: f.querySelector('.x-label').textContent,"
        "y: f.querySelector('.y-label').textContent, ticks: f.querySelectorAll('.axis').length,"
        "reading: f.querySelector('.reading').textContent}))"
    )
    names = {plot["name"] for plot in plots}
    assert names >= {
        *("loss", "gradient-norm", "flow-0", "activations", "updates"),
        *(
            "flow-by-step",
            "density-start",
            "stability",
            "rate-range",
            "one-batch",
            "rates",
            "schedule-0",
        ),
    }
    for plot in plots:
        assert plot["x"] and plot["y"] and plot["reading"].strip(), plot
        assert plot["ticks"] >= 2, plot
        assert "\n" not in plot["reading"].strip()


def test_the_cost_is_on_the_page(page_file):
    text = page_file.read_text()
    assert "about 10 s, 0.0083: 1000 steps (10 epochs" in text
    assert "1.00 GiB of the process at the peak" in text


def test_the_gradient_noise_is_on_the_page(page_file):
    text = page_file.read_text(encoding="utf-8")
    assert "signal equals noise at 400 samples (300 to 550); a step averages 16" in text


def test_a_place_leads_to_its_line_in_the_source(browser, page_file):
    browser.open(page_file, width=375, height=812, theme="light")
    marked = browser.evaluate(
        "[...document.querySelectorAll('article a')].map(a =>"
        " document.getElementById(a.hash.slice(1))?.textContent)"
    )
    assert marked and all(line and "backward" in line for line in marked)


def test_the_raw_numbers_are_in_the_page(page_file):
    text = page_file.read_text()
    packed = re.search(r'href="data:application/json;base64,([^"]+)"', text)
    assert packed is not None
    numbers = json.loads(base64.b64decode(packed[1]))
    assert numbers["observations"]["series"]["loss"][0] == hostile_run().seen.series.loss[0]
    assert numbers["verdict"]["decision"] == "no-go"
    assert len(text) < LARGEST


def test_the_page_prints(browser, page_file):
    browser.open(page_file, width=1280, height=900, theme="dark")
    assert browser.pdf().startswith(b"%PDF")


def test_a_run_that_never_trained_has_a_page_without_plots():
    run = hostile_run()
    bare = dataclasses.replace(run.seen, **dict.fromkeys(PLOTTED, ()), **NOTHING)
    text = render_run(
        RunReport(
            shown="a.py",
            findings=[],
            problems=[],
            texts={},
            seen=bare,
            verdict=RunVerdict(decision=Decision.NO_GO, reason="it ended without training"),
        )
    ).decode()
    assert "<figure" not in text
    assert "Nothing found." in text


def test_a_script_that_could_not_be_started_has_a_page_that_says_why():
    from convlint.errors import UserError

    text = render_run(
        RunReport(
            shown="a.py",
            findings=[FINDING],
            problems=[UserError("no torch there", path="a.py")],
            texts={"a.py": "x = 1\n"},
            seen=None,
            verdict=RunVerdict(decision=Decision.CARE, reason="not probed", unmeasured=1),
        )
    ).decode()
    assert "a.py: no torch there" in text
    assert "the script was not probed" in text


PLOTTED = ("activations", "gradient_flow", "updates", "curvature", "schedules")
NOTHING = {"series": type(hostile_run().seen.series)(), "convergence": None} | dict.fromkeys(
    ("gradient_history", "overfit", "learning_rate_range", "baseline")
)
FINDING = Finding(
    code="LOP001",
    slug="zero-grad-missing",
    severity=Severity.ERROR,
    confidence=Confidence.HIGH,
    message="never cleared",
    location=Location("a.py", 1, 1, 1, 2),
    judgement=Judgement(Verdict.UNMEASURED, "the script was not probed"),
)
