from __future__ import annotations

from typing import ClassVar

import pytest

from convlint.errors import UserError
from convlint.rule_options import Option
from convlint.rules import Rule, all_rules


class Thresholds:
    slug: ClassVar[str] = "thresholds"
    limit = Option(0.5, "The most.", least=0, most=1)
    layers = Option(8, "The fewest layers.", least=1)
    strict = Option(False, "Whether doubtful cases count.")
    names = Option(("a",), "Names left alone.")

    options = classmethod(Rule.options.__func__)
    configured = Rule.configured


def test_option_has_its_default_until_another_value_is_given():
    rule = Thresholds()
    assert (rule.limit, rule.layers, rule.strict, rule.names) == (0.5, 8, False, ("a",))
    changed = rule.configured({"limit": 1, "strict": True, "names": ["b", "c"]})
    assert (changed.limit, changed.layers, changed.strict) == (1.0, 8, True)
    assert changed.names == ("b", "c")
    assert rule.limit == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limt": 1}, "unknown option 'limt'; did you mean 'limit'?"),
        ({"limit": "high"}, "limit: expected a number, got 'high'"),
        ({"limit": True}, "limit: expected a number, got True"),
        ({"limit": 2}, "limit: must be at most 1"),
        ({"limit": float("nan")}, "limit: must be at least 0"),
        ({"layers": 0}, "layers: must be at least 1"),
        ({"layers": 1.5}, "layers: expected a whole number, got 1.5"),
        ({"strict": 1}, "strict: expected true or false, got 1"),
        ({"names": [1]}, "names: expected a list of strings, got [1]"),
    ],
)
def test_mistake_in_an_option_says_what_is_expected(given, message):
    with pytest.raises(UserError) as caught:
        Thresholds().configured(given, said_in="convlint.toml")
    assert str(caught.value) == f"convlint.toml: {message}"


def test_every_option_of_the_catalogue_accepts_its_own_default():
    declared = [(rule, option) for rule in all_rules() for option in rule.options().values()]
    for rule, option in declared:
        assert option.convert(option.default, rule.slug) == option.default
        assert option.meaning.endswith("."), (rule.slug, option.name)
