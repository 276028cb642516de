from __future__ import annotations

import importlib
import pkgutil
import re
from typing import TYPE_CHECKING

import pytest

import convlint.program
import convlint.rules
from convlint import comment_edits, custom_rules, fixes, patterns, sources, suppressions
from convlint.lazy_regex import _LazyPattern, lazy_regex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def test_is_compiled_at_its_first_use_and_matches_like_any_other():
    pattern = lazy_regex(r"(\d+)[AB]", re.IGNORECASE)
    assert pattern.findall("1a 2B 3c") == ["1", "2"]
    assert pattern.sub("-", "1a!") == "-!"
    assert pattern.fullmatch("12b").group(1) == "12"


def test_mistake_shows_at_the_first_use():
    pattern = lazy_regex("(")
    with pytest.raises(re.error):
        pattern.search("")


def with_patterns() -> Iterator[ModuleType]:
    yield from (comment_edits, custom_rules, fixes, patterns, sources, suppressions)
    for package in (convlint.program, convlint.rules):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def test_every_one_compiles():
    lazy = [
        value
        for module in with_patterns()
        for value in vars(module).values()
        if isinstance(value, _LazyPattern)
    ]
    assert len(lazy) > 50
    assert all(isinstance(pattern.pattern, str | bytes) for pattern in lazy)
