from __future__ import annotations

import json
import re

import pytest

from convlint.rules import all_rules


def test_rule_is_explained_by_slug_and_by_code_in_plain_text(convlint):
    by_slug = convlint("rule", "zero-grad-missing")
    by_code = convlint("rule", "lop001")
    assert by_slug.exit_code == by_code.exit_code == 0
    assert by_slug.stdout == by_code.stdout
    assert by_slug.stdout.startswith("# zero-grad-missing (LOP001)\n\nerror, static")
    assert "## Use instead" in by_slug.stdout
    assert "\x1b" not in by_slug.stdout


def test_rule_is_rendered_where_colour_is_shown(convlint, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = convlint("rule", "LOP001")
    assert "\x1b[" in result.stdout
    assert "zero-grad-missing" in result.stdout


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("zero-grad-mising", "unknown rule 'zero-grad-mising'; did you mean 'zero-grad-missing'?"),
        ("qqqq", "unknown rule 'qqqq' (`convlint rules` lists them)"),
    ],
)
def test_unknown_rule_gets_the_nearest_name(convlint, name, line):
    result = convlint("rule", name)
    assert result.exit_code == 2
    assert line in result.stderr


def test_prefix_names_the_rules_it_stands_for(convlint):
    result = convlint("rule", "LOP")
    assert result.exit_code == 2
    assert "zero-grad-missing" in result.stderr


def test_every_rule_is_listed_with_its_checks(convlint):
    result = convlint("rules")
    assert result.exit_code == 0
    for rule in all_rules():
        (line,) = [x for x in result.stdout.splitlines() if x.startswith(rule.code)]
        assert f" {rule.slug} " in line
        first_check = line.split(f" {rule.slug} ")[1].split()[1]
        assert (first_check == "static") is rule.has_static()


def test_list_for_programs_has_every_rule_and_its_explanation(convlint):
    listed = json.loads(convlint("rules", "--output-format", "json").stdout)
    assert [entry["slug"] for entry in listed] == [rule.slug for rule in all_rules()]
    for entry in listed:
        assert entry["summary"]
        assert entry["static"] or entry["measured"] or entry["logged"]
        assert entry["explanation"].startswith(entry["summary"].split()[0])


def test_options_of_a_rule_are_shown_with_their_defaults(convlint):
    shown = convlint("rule", "adaptive-lr-high").stdout
    assert (
        "- `limit` (a number, at least 0): The highest learning rate that is not reported." in shown
    )
    assert "    [tool.convlint.rule-options.adaptive-lr-high]\n    limit = 0.01\n" in shown
    described = json.loads(convlint("rule", "OPT001", "--output-format", "json").stdout)
    assert [option["name"] for option in described["options"]] == ["limit", "error-from"]
    assert described["category"] == "optimizer"


def test_options_shown_are_options_the_configuration_takes(convlint, tmp_path):
    import tomllib

    described = json.loads(convlint("rule", "--all", "--output-format", "json").stdout)
    assert len(described) == len(all_rules())
    text = convlint("rule", "adaptive-lr-high").stdout
    table = text.partition("## Options")[2].partition("\n\n")[2].replace("    ", "")
    (tmp_path / "pyproject.toml").write_text(table)
    assert tomllib.loads(table)["tool"]["convlint"]["rule-options"]
    assert convlint("config").exit_code == 0


def test_categories_select_what_they_list(convlint):
    listed = json.loads(convlint("categories", "--output-format", "json").stdout)
    assert sum(category["rules"] for category in listed) == len(all_rules())
    assert all(category["about"] for category in listed)
    loop = next(category for category in listed if category["name"] == "loop")
    by_name = json.loads(convlint("config", "--select", "loop", "--output-format", "json").stdout)
    by_code = json.loads(
        convlint("config", "--select", loop["prefix"], "--output-format", "json").stdout
    )
    assert by_name["rules"] == by_code["rules"]
    assert len(by_name["rules"]) == loop["rules"]
    assert re.search(rf"^{loop['prefix']} +loop ", convlint("categories").stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("rule",), ("rule", "LOP001", "--all")])
def test_one_rule_or_all_of_them(convlint, arguments):
    result = convlint(*arguments)
    assert result.exit_code == 2
    assert "name one rule, or give --all" in result.stderr


def test_rules_about_logs_point_to_those_about_a_probed_run_and_back(convlint):
    logged = convlint("rule", "diverged-curve").stdout
    assert "- `diverging-loss`: in a short run (`convlint probe`)" in logged
    measured = convlint("rule", "diverging-loss").stdout
    assert "- `diverged-curve`: in the log of a run (`convlint curves`)" in measured
    assert "The same fault elsewhere" not in convlint("rule", "overfitting").stdout
    by_slug = {
        rule["slug"]: rule
        for rule in json.loads(convlint("rules", "--output-format", "json").stdout)
    }
    assert by_slug["stalled-loss"]["twins"] == ["underfitting"]
    known = set(by_slug)
    assert all(set(rule["twins"]) <= known for rule in by_slug.values())
    assert all(
        rule["slug"] in by_slug[twin]["twins"]
        for rule in by_slug.values()
        for twin in rule["twins"]
    )
