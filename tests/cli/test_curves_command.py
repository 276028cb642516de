"""``convlint curves`` from the command line: reports, exit codes, bad input."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

HEALTHY = "epoch,loss,val_loss\n" + "".join(
    f"{k},{0.1 + 2 * 0.9**k:.5f},{0.2 + 2 * 0.9**k:.5f}\n" for k in range(25)
)
OVERFITTING = "epoch,loss,val_loss\n" + "".join(
    f"{k},{2 * 0.9**k:.5f},{2 * 0.8**k + 0.03 * k + 0.3:.5f}\n" for k in range(40)
)
DIVERGED = "".join(f"step {k} loss: {2.0 * 1.2**k:.4f}\n" for k in range(40))


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "healthy.csv").write_text(HEALTHY)
    (tmp_path / "overfitting.csv").write_text(OVERFITTING)
    (tmp_path / "diverged.log").write_text(DIVERGED)
    return tmp_path


@pytest.mark.usefixtures("logs")
class TestCurves:
    def test_a_healthy_log_exits_with_0(self, convlint):
        done = convlint("curves", "healthy.csv")
        assert done.exit_code == 0
        assert "healthy.csv: healthy" in done.stdout
        assert "Nothing found." in done.stdout

    def test_a_sick_one_with_1_and_points_to_the_line(self, convlint):
        done = convlint("curves", "overfitting.csv", "healthy.csv")
        assert done.exit_code == 1
        assert "warning overfitting (LOG001)" in done.stdout
        assert "overfitting.csv: overfitting" in done.stdout
        best = int(done.stdout.split("overfitting.csv:")[1].split(":")[0])
        assert OVERFITTING.splitlines()[best - 1].startswith("12,")

    def test_fail_on_decides_the_exit_code(self, convlint):
        assert convlint("curves", "overfitting.csv", "--fail-on", "error").exit_code == 0
        assert convlint("curves", "diverged.log", "--fail-on", "error").exit_code == 1
        assert convlint("curves", "diverged.log", "--ignore", "LOG").exit_code == 0

    def test_a_log_that_cannot_be_read_does_not_keep_others_from_being_judged(self, convlint):
        done = convlint("curves", "missing.csv", "diverged.log")
        assert done.exit_code == 2
        assert done.stderr.splitlines() == ["convlint: missing.csv: no such file or directory"]
        assert "diverged.log: diverged" in done.stdout

    def test_standard_input(self, convlint):
        done = convlint("curves", "-", input=DIVERGED.encode())
        assert done.exit_code == 1
        assert "-: diverged (text)" in done.stdout

    def test_json_holds_findings_and_curves(self, convlint):
        done = convlint("curves", "overfitting.csv", "missing.csv", "--output-format", "json")
        assert done.exit_code == 2
        output = json.loads(done.stdout)
        assert [finding["slug"] for finding in output["findings"]] == ["overfitting"]
        assert [curve["name"] for curve in output["curves"][0]["curves"]] == ["loss", "val_loss"]
        assert [problem["path"] for problem in output["problems"]] == ["missing.csv"]

    def test_json_follows_the_published_schema(self, convlint):
        jsonschema = pytest.importorskip("jsonschema")
        from convlint.report.json import output_schema

        done = convlint("curves", "overfitting.csv", "diverged.log", "--output-format", "json")
        jsonschema.validate(json.loads(done.stdout), output_schema())

    def test_formats_for_services(self, convlint, tmp_path):
        done = convlint("curves", "diverged.log", "--output-format", "sarif")
        run = json.loads(done.stdout)["runs"][0]
        assert [result["ruleId"] for result in run["results"]] == ["LOG006"]
        convlint("curves", "diverged.log", "--output-format", "junit", "-o", "report.xml")
        case = ET.parse(tmp_path / "report.xml").getroot().find(".//testcase")
        assert case is not None and case.get("name") == "diverged-curve 1:1"
        done = convlint("curves", "diverged.log", "--output-format", "github")
        assert "file=diverged.log,line=1" in done.stdout

    def test_concise_is_a_line_for_each_finding(self, convlint):
        done = convlint("curves", "diverged.log", "--output-format", "concise", "--quiet")
        assert len(done.stdout.splitlines()) == 1

    def test_a_plot_is_drawn_when_asked_for(self, convlint):
        pytest.importorskip("plotext")
        assert "┤" in convlint("curves", "healthy.csv", "--plot").stdout
        assert "┤" not in convlint("curves", "healthy.csv").stdout

    def test_columns_named_by_the_user(self, convlint, tmp_path):
        (tmp_path / "odd.csv").write_text(OVERFITTING.replace("val_loss", "b").replace("loss", "a"))
        assert convlint("curves", "odd.csv").exit_code == 2
        done = convlint("curves", "odd.csv", "--train", "a", "--validation", "b")
        assert done.exit_code == 1
        assert "odd.csv: overfitting" in done.stdout
        done = convlint("curves", "odd.csv", "--train", "c")
        assert "no column is called 'c'; there are: a, b" in done.stderr

    def test_the_facts(self, convlint):
        done = convlint("curves", "healthy.csv", "--show-facts")
        assert done.exit_code == 0
        assert json.loads(done.stdout)[0]["pairs"][0]["validation"] == "val_loss"

    def test_a_pattern_that_is_none(self, convlint):
        done = convlint("curves", "diverged.log", "--pattern", "(")
        assert done.exit_code == 2
        assert "no regular expression" in done.stderr

    def test_options_of_rules_hold(self, convlint, tmp_path):
        lines = [
            f"epoch {k} loss: {2 * 0.9**k:.4f} val_loss: {2.0 - 0.5 * (k > 7):.4f}"
            for k in range(20)
        ]
        (tmp_path / "late.log").write_text("\n".join(lines))
        shown = ("curves", "late.log", "--select", "LOG008")
        assert "Nothing found" in convlint(*shown).stdout
        done = convlint(*shown, "--config", "rule-options.improves-after-patience.patience = 5")
        assert "LOG008" in done.stdout
