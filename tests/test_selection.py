from __future__ import annotations

import pytest

from convlint.errors import UserError
from convlint.selection import RuleChoice, resolve_selection, rules_matching


def slugs(stub_rules, *layers: RuleChoice) -> set[str]:
    return {rule.slug for rule in resolve_selection(layers).cards}


DEFAULT = {"broken-loop", "odd-loop", "notable-loss", "doubtful-loss", "failing-rule"}


def test_rules_that_are_off_by_default_run_when_named(stub_rules):
    assert slugs(stub_rules) == DEFAULT
    extended = slugs(stub_rules, RuleChoice(extend_select=("optional-loss",)))
    assert extended == DEFAULT | {"optional-loss"}


@pytest.mark.parametrize("name", ["LPX", "lpx", "LPX00"])
def test_prefix_selects_its_rules_and_no_others(stub_rules, name):
    assert slugs(stub_rules, RuleChoice(select=(name,))) == {"broken-loop", "odd-loop"}


def test_all_is_every_rule(stub_rules):
    assert slugs(stub_rules, RuleChoice(select=("ALL",))) == DEFAULT | {"optional-loss"}


def test_exact_name_wins_over_a_prefix_whichever_side_it_is_on(stub_rules):
    both = RuleChoice(select=("LPX001",), ignore=("LPX",))
    assert slugs(stub_rules, both) == {"broken-loop"}
    other = RuleChoice(select=("LPX",), ignore=("broken-loop",))
    assert slugs(stub_rules, other) == {"odd-loop"}
    assert slugs(stub_rules, RuleChoice(select=("odd-loop",), ignore=("LPX002",))) == set()


def test_command_line_has_the_last_word(stub_rules):
    configured = RuleChoice(select=("LPX",), ignore=("odd-loop",))
    assert slugs(stub_rules, configured, RuleChoice(select=("odd-loop",))) == {"odd-loop"}
    more = slugs(stub_rules, configured, RuleChoice(extend_select=("odd-loop",)))
    assert more == {"broken-loop", "odd-loop"}
    assert slugs(stub_rules, configured, RuleChoice(ignore=("LPX001",))) == set()


def test_only_rules_asked_for_by_name_count_as_asked_for(stub_rules):
    assert resolve_selection((RuleChoice(),)).asked_for == frozenset()
    chosen = resolve_selection((RuleChoice(select=("LSX001",)),))
    assert chosen.asked_for == {"notable-loss"}


def test_unknown_name_gets_the_nearest_one(stub_rules):
    with pytest.raises(UserError) as caught:
        rules_matching("broken-lop", said_in="pyproject.toml")
    assert str(caught.value) == (
        "pyproject.toml: unknown rule 'broken-lop'; did you mean 'broken-loop'?"
        " (`convlint rules` lists them)"
    )
    with pytest.raises(UserError, match="did you mean 'LPX001'"):
        rules_matching("LPY001")
    with pytest.raises(UserError, match="unknown rule ''"):
        rules_matching("")
