from __future__ import annotations

from pathlib import Path

import pytest

from convlint.config import SettingsFinder
from convlint.configuration import read_inline
from convlint.errors import UserError
from convlint.findings import Confidence, Severity
from convlint.selection import RuleChoice
from convlint.settings import Overrides, Setting

pytestmark = pytest.mark.usefixtures("stub_rules")


def slugs(settings) -> set[str]:
    return {rule.slug for rule in settings.rules}


def test_without_a_configuration_the_defaults_hold(tmp_path):
    settings = SettingsFinder().for_directory(tmp_path)
    assert settings.fail_on is Severity.WARNING
    assert settings.min_confidence is Confidence.MEDIUM
    assert not settings.show_info


def test_nearest_file_that_speaks_of_convlint_counts(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.convlint]\nselect = ["LPX"]\n')
    (tmp_path / "pkg" / "sub").mkdir(parents=True)
    (tmp_path / "pkg" / "pyproject.toml").write_text("[tool.ruff]\n")
    finder = SettingsFinder()
    assert slugs(finder.for_file(tmp_path / "pkg" / "sub" / "a.py")) == {"broken-loop", "odd-loop"}
    (tmp_path / "pkg" / "convlint.toml").write_text('select = ["odd-loop"]\nfail-on = "error"\n')
    settings = SettingsFinder().for_file(tmp_path / "pkg" / "sub" / "a.py")
    assert slugs(settings) == {"odd-loop"}
    assert settings.fail_on is Severity.ERROR


def test_command_line_wins_over_the_file(tmp_path):
    (tmp_path / "convlint.toml").write_text(
        'ignore = ["odd-loop"]\nfail-on = "error"\nmin-confidence = "high"\n'
    )
    overrides = Overrides(
        rules=RuleChoice(extend_select=("odd-loop",)),
        fail_on=Severity.INFO,
        min_confidence=Confidence.LOW,
    )
    settings = SettingsFinder(overrides).for_directory(tmp_path)
    assert "odd-loop" in slugs(settings)
    assert settings.fail_on is Severity.INFO
    assert settings.show_info
    assert settings.min_confidence is Confidence.LOW


def test_patterns_are_relative_to_the_file(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[tool.convlint]\n"
        'exclude = ["vendored/", "*_pb2.py"]\n'
        '[tool.convlint.per-file-ignores]\n"examples/*.py" = ["LPX", "notable-loss"]\n'
    )
    (tmp_path / "vendored").mkdir()
    settings = SettingsFinder().for_directory(tmp_path)
    assert settings.excludes(tmp_path / "vendored")
    assert settings.excludes(tmp_path / "pkg" / "a_pb2.py")
    assert not settings.excludes(tmp_path / "train.py")
    assert not settings.excludes(tmp_path.parent / "vendored")
    silenced = settings.ignored_in(tmp_path / "examples" / "a.py")
    assert silenced == {"broken-loop", "odd-loop", "notable-loss"}
    assert settings.ignored_in(tmp_path / "a.py") == frozenset()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('selct = ["LPX"]', "unknown key 'selct'; did you mean 'select'?"),
        ("per_file_ignores = {}", "unknown key 'per_file_ignores'; did you mean 'per-file-i"),
        ('ignore = ["od-loop"]', "unknown rule 'od-loop'; did you mean 'odd-loop'?"),
        ('ignore = "odd-loop"', "ignore: expected `array`, got `str`"),
        ("ignore = [1]", "ignore[0]: expected `str`, got `int`"),
        ('fail-on = "fatal"', "fail-on: invalid enum value 'fatal'"),
        ("select = [", "not valid TOML: "),
        ('severity.od-loop = "info"', "severity: unknown rule 'od-loop'; did you mean 'odd-loop'?"),
        ('severity.LPX = "fatal"', "severity[...]: invalid enum value 'fatal'"),
        ("rule-options.odd-loop.limit = 1", "rule-options.odd-loop: unknown option 'limit'; this"),
        ("rule-options.LPX.limit = 1", "rule-options: 'LPX' stands for 2 rules; name one"),
        ('[per-file-ignores]\n"a.py" = ["od-loop"]', "per-file-ignores: unknown rule 'od-loop'"),
    ],
)
def test_mistake_in_the_file_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "convlint.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        SettingsFinder().for_directory(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "convlint.toml"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pattern_that_is_none_is_named_with_its_key(tmp_path):
    (tmp_path / "convlint.toml").write_text("[per-file-ignores]\n'b\\' = [\"LPX\"]\n")
    settings = SettingsFinder().for_directory(tmp_path)
    with pytest.raises(UserError, match=r"convlint\.toml, per-file-ignores: not a pattern: 'b"):
        settings.ignored_in(tmp_path / "a.py")


def test_extended_file_holds_where_the_nearer_one_says_nothing(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "convlint.toml").write_text(
        'select = ["LPX", "LSX"]\nignore = ["odd-loop"]\nfail-on = "error"\n'
        'exclude = ["vendored"]\nextend-exclude = ["old/"]\n'
        '[per-file-ignores]\n"a.py" = ["LSX"]\n'
    )
    (tmp_path / "convlint.toml").write_text(
        'extend = "base/convlint.toml"\nextend-select = ["optional-loss"]\n'
        'ignore = ["doubtful-loss"]\nmin-confidence = "high"\nextend-exclude = ["new/"]\n'
        '[extend-per-file-ignores]\n"a.py" = ["LPX"]\n'
    )
    settings = SettingsFinder().for_directory(tmp_path)
    assert slugs(settings) == {"broken-loop", "notable-loss", "optional-loss"}
    assert (settings.fail_on, settings.min_confidence) == (Severity.ERROR, Confidence.HIGH)
    assert settings.excludes_entry(str(tmp_path / "vendored"), "vendored", directory=True)
    assert settings.excludes(tmp_path / "new" / "a.py")
    assert settings.excludes(tmp_path / "base" / "old" / "a.py")
    assert not settings.excludes(tmp_path / "build")
    assert settings.ignored_in(tmp_path / "a.py") == {"broken-loop", "odd-loop"}
    assert [Path(file).parent.name for file in settings.files] == ["base", tmp_path.name]
    assert settings.ignored_in(tmp_path / "base" / "a.py") >= {"notable-loss"}


def test_configuration_that_extends_itself_or_nothing_is_one_line(tmp_path):
    (tmp_path / "a.toml").write_text('extend = "convlint.toml"\n')
    (tmp_path / "convlint.toml").write_text('extend = "a.toml"\n')
    with pytest.raises(UserError, match="extend goes in a circle"):
        SettingsFinder().for_directory(tmp_path)
    (tmp_path / "a.toml").write_text('extend = "gone.toml"\n')
    with pytest.raises(UserError, match=r"a\.toml: extend: .*gone\.toml: no such file"):
        SettingsFinder().for_directory(tmp_path)


def test_hidden_file_wins_over_the_plain_one_and_both_over_the_project_file(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.convlint]\nfail-on = "info"\n')
    (tmp_path / "convlint.toml").write_text('fail-on = "error"\n')
    assert SettingsFinder().for_directory(tmp_path).fail_on is Severity.ERROR
    (tmp_path / ".convlint.toml").write_text('fail-on = "warning"\n')
    assert SettingsFinder().for_directory(tmp_path).fail_on is Severity.WARNING


def test_severities_are_overridden_by_rule_and_by_path(tmp_path):
    (tmp_path / "convlint.toml").write_text(
        '[severity]\nLPX = "info"\nbroken-loop = "warning"\n'
        '[per-file-severity]\n"examples/*" = { LPX001 = "info", ALL = "error" }\n'
    )
    settings = SettingsFinder().for_directory(tmp_path)
    assert settings.severity_in(tmp_path / "a.py", "odd-loop") is Severity.INFO
    assert settings.severity_in(tmp_path / "a.py", "broken-loop") is Severity.WARNING
    assert settings.severity_in(tmp_path / "a.py", "notable-loss") is None
    example = tmp_path / "examples" / "a.py"
    assert settings.severity_in(example, "broken-loop") is Severity.INFO
    assert settings.severity_in(example, "notable-loss") is Severity.ERROR


def test_named_file_and_isolation_leave_the_nearest_file_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "convlint.toml").write_text('fail-on = "error"\n')
    (tmp_path / "other.toml").write_text('fail-on = "info"\nextend-exclude = ["old/"]\n')
    named = SettingsFinder(Overrides(file=tmp_path / "other.toml")).for_directory(tmp_path)
    assert named.fail_on is Severity.INFO
    assert named.excludes(tmp_path / "old" / "a.py")
    isolated = SettingsFinder(Overrides(isolated=True)).for_directory(tmp_path)
    assert (isolated.fail_on, isolated.files) == (Severity.WARNING, ())
    with pytest.raises(UserError, match=r"gone\.toml: no such configuration file"):
        SettingsFinder(Overrides(file=Path("gone.toml"))).for_directory(tmp_path)


def test_inline_keys_win_over_the_file_and_options_over_inline_keys(tmp_path):
    (tmp_path / "convlint.toml").write_text('fail-on = "error"\nselect = ["LPX"]\n')
    inline = (read_inline('fail-on = "info"'), read_inline('select = ["LSX"]'))
    settings = SettingsFinder(Overrides(inline=inline)).for_directory(tmp_path)
    assert settings.fail_on is Severity.INFO
    assert slugs(settings) == {"notable-loss", "doubtful-loss", "optional-loss"}
    stronger = Overrides(inline=inline, fail_on=Severity.WARNING)
    assert SettingsFinder(stronger).for_directory(tmp_path).fail_on is Severity.WARNING


def test_where_each_value_was_said_is_told(tmp_path):
    (tmp_path / "convlint.toml").write_text('fail-on = "error"\n[severity]\nLPX = "info"\n')
    overrides = Overrides(inline=(read_inline('severity.LSX = "error"'),), show_info=True)
    held = SettingsFinder(overrides).for_directory(tmp_path).held()
    assert held["fail-on"] == Setting(Severity.ERROR, str(tmp_path / "convlint.toml"))
    assert held["severity"].value == {"LPX": Severity.INFO, "LSX": Severity.ERROR}
    assert held["show-info"] == Setting(True, "the command line")
    assert held["min-confidence"] == Setting(Confidence.MEDIUM, "default")


def test_lists_that_hold_beside_one_another_are_told_together(tmp_path):
    (tmp_path / "base.toml").write_text(
        'extend-exclude = ["old"]\nignore = ["LPX"]\nselect = ["LSX"]\n'
        'per-file-ignores = {"a.py" = ["LSX"]}\n'
    )
    (tmp_path / "convlint.toml").write_text(
        'extend = "base.toml"\nextend-exclude = ["new"]\nselect = ["LPX"]\n'
        'per-file-ignores = {"b.py" = ["LPX"]}\n'
    )
    held = SettingsFinder().for_directory(tmp_path).held()
    base, nearest = str(tmp_path / "base.toml"), str(tmp_path / "convlint.toml")
    assert held["extend-exclude"] == Setting(("old", "new"), f"{base} and {nearest}")
    assert held["ignore"] == Setting(("LPX",), base)
    assert held["select"] == Setting(("LPX",), nearest)
    assert held["per-file-ignores"] == Setting({"b.py": ("LPX",)}, nearest)


def test_project_file_that_is_broken_elsewhere_is_none_of_our_business(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.other\n")
    assert SettingsFinder().for_directory(tmp_path).fail_on is Severity.WARNING


def test_tool_convlint_must_be_a_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nconvlint = 3\n")
    with pytest.raises(UserError, match=r"tool\.convlint must be a table"):
        SettingsFinder().for_directory(tmp_path)
