from __future__ import annotations

import pytest

from convlint.config import Overrides, SettingsFinder
from convlint.errors import UserError
from convlint.findings import Confidence, Severity
from convlint.selection import RuleChoice

pytestmark = pytest.mark.usefixtures("stub_rules")


def slugs(settings) -> set[str]:
    return {rule.slug for rule in settings.selection.rules}


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


def test_project_file_that_is_broken_elsewhere_is_none_of_our_business(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.other\n")
    assert SettingsFinder().for_directory(tmp_path).fail_on is Severity.WARNING


def test_tool_convlint_must_be_a_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nconvlint = 3\n")
    with pytest.raises(UserError, match=r"tool\.convlint must be a table"):
        SettingsFinder().for_directory(tmp_path)
