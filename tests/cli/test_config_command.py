from __future__ import annotations

import json
import tomllib

import pytest

from convlint.configuration import KEYS

pytestmark = pytest.mark.usefixtures("stub_rules")


def test_settings_are_shown_with_their_origin_as_toml_that_says_the_same(convlint, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.convlint]\nselect = ["LPX"]\nfail-on = "error"\n'
        '[tool.convlint.per-file-ignores]\n"tests/*.py" = ["odd-loop"]\n'
    )
    result = convlint("config", "--min-confidence", "high")
    assert result.exit_code == 0
    shown = tomllib.loads(result.stdout)
    assert shown["select"] == ["LPX"]
    assert shown["per-file-ignores"] == {"tests/*.py": ["odd-loop"]}
    lines = result.stdout.splitlines()
    assert f'fail-on = "error"  # {tmp_path / "pyproject.toml"}' in lines
    assert 'min-confidence = "high"  # the command line' in lines
    assert "respect-gitignore = true  # default" in lines
    assert "# rules that run: 2 of 6" in lines
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "convlint.toml").write_text(result.stdout)
    again = json.loads(convlint("config", "again", "--output-format", "json").stdout)
    assert again["settings"]["fail-on"]["value"] == "error"


def test_settings_as_json_name_every_key_and_the_files_read(convlint, tmp_path):
    (tmp_path / "base.toml").write_text('ignore = ["odd-loop"]\n')
    (tmp_path / "convlint.toml").write_text('extend = "base.toml"\n')
    (tmp_path / "a.py").write_text("")
    shown = json.loads(convlint("config", "a.py", "--output-format", "json").stdout)
    assert shown["files"] == [str(tmp_path / "base.toml"), str(tmp_path / "convlint.toml")]
    assert set(shown["settings"]) == set(KEYS) - {"extend"}
    assert shown["settings"]["ignore"]["origin"] == str(tmp_path / "base.toml")
    assert "odd-loop" not in shown["rules"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone",), "gone: no such file or directory"),
        (("--config", "gone.toml"), "gone.toml: no such configuration file"),
        (("--config", "fail-on = fatal"), "--config 'fail-on = fatal': neither a file nor valid"),
        (("--config", "failon = 1"), "unknown key 'failon'; did you mean 'fail-on'?"),
        (("--config", "a.toml", "--config", "b.toml"), "--config takes one file; given: a.toml"),
        (("--per-file-ignores", "LOP"), "--per-file-ignores takes PATTERN:RULE, not 'LOP'"),
    ],
)
def test_mistake_is_one_line(convlint, arguments, message):
    result = convlint("config", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_environment_gives_defaults_that_options_override(convlint, monkeypatch):
    monkeypatch.setenv("CONVLINT_FAIL_ON", "never")
    monkeypatch.setenv("CONVLINT_CONFIG", 'min-confidence = "low"')
    shown = json.loads(convlint("config", "--output-format", "json").stdout)["settings"]
    assert shown["fail-on"]["value"] == "never"
    assert shown["min-confidence"]["value"] == "low"
    stronger = convlint("config", "--output-format", "json", "--fail-on", "info").stdout
    assert json.loads(stronger)["settings"]["fail-on"]["value"] == "info"
