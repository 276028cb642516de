"""No configuration makes convlint fail otherwise than by one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convlint.config import SettingsFinder
from convlint.configuration import KEYS, read_inline
from convlint.errors import UserError
from convlint.findings import Severity
from convlint.settings import Overrides

NAMES = st.sampled_from(
    ["LOP", "LOP001", "zero-grad-missing", "loop", "ALL", "", "nothing", "*", "adaptive-lr-high"]
)
PATTERNS = st.sampled_from(
    ["*.py", "a/", "/a", "!a", "**", "[", "a[", "\\", "", " ", "#", "a/**/b", "!", "***", "?"]
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    NAMES,
    PATTERNS,
    st.sampled_from(["error", "warning", "info", "never", "high", "low", "limit"]),
)
TABLE_KEYS = st.one_of(NAMES, PATTERNS, st.sampled_from(["limit", "error-from"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TABLE_KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
WELL_SHAPED = {
    "select": st.lists(NAMES, max_size=3),
    "ignore": st.lists(NAMES, max_size=3),
    "exclude": st.lists(PATTERNS, max_size=3),
    "extend-exclude": st.lists(PATTERNS, max_size=3),
    "severity": st.dictionaries(NAMES, st.sampled_from(["error", "info"]), max_size=3),
    "per-file-ignores": st.dictionaries(PATTERNS, st.lists(NAMES, max_size=2), max_size=3),
    "per-file-severity": st.dictionaries(
        PATTERNS, st.dictionaries(NAMES, st.sampled_from(["error", "info"])), max_size=2
    ),
    "rule-options": st.dictionaries(
        st.sampled_from(["adaptive-lr-high", "LOP"]), st.dictionaries(TABLE_KEYS, SCALARS)
    ),
}
CONFIGURATIONS = st.one_of(
    st.dictionaries(st.one_of(st.sampled_from(KEYS), NAMES), VALUES, max_size=4),
    st.fixed_dictionaries({}, optional=WELL_SHAPED),
)


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {as_toml(entry)}" for key, entry in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CONFIGURATIONS)
def test_any_configuration_is_accepted_or_refused_in_one_line(table):
    text = "\n".join(f"{json.dumps(key)} = {as_toml(value)}" for key, value in table.items())
    try:
        inline = read_inline(text)
        found = SettingsFinder(Overrides(inline=(inline,), isolated=True)).for_directory(Path())
        for path in (Path("a/b.py"), Path("c.py"), Path("/elsewhere/a.py")):
            found.excludes(path)
            found.excludes_entry(str(path), path.name, directory=False)
            found.ignored_in(path)
            assert found.severity_in(path, "zero-grad-missing") in (None, *Severity)
        found.held()
    except UserError as error:
        assert str(error)
        assert "\n" not in str(error)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_mistake(text):
    try:
        read_inline(text)
    except UserError as error:
        assert "\n" not in str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_in_a_file_are_a_configuration_or_a_mistake(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "any-bytes"
    folder.mkdir(exist_ok=True)
    file = folder / "convlint.toml"
    file.write_bytes(data)
    finder = SettingsFinder(Overrides(file=file))
    try:
        finder.for_directory(Path())
    except UserError as error:
        assert "\n" not in str(error)
    else:
        with pytest.raises(UserError, match="no such configuration file"):
            SettingsFinder(Overrides(file=file.with_name("gone.toml"))).for_directory(Path())
