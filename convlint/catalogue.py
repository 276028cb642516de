"""What every rule is called and does, known without loading the rules.

Reading some hundred files of rules takes longer than checking a tree of which everything is
remembered; choosing among rules, and reporting what they found, needs no more than their cards.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import msgspec

from convlint import rules
from convlint.findings import Confidence, Finding, Location, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable


class RuleCard(msgspec.Struct, frozen=True, array_like=True):
    """The rule's class attributes, and which ways it has to see its fault."""

    code: str
    slug: str
    severity: Severity
    confidence: Confidence
    default: bool
    category: str
    module: str
    """Where its class is, to load this rule and no other."""
    static: bool
    measured: bool
    logged: bool

    def has_static(self) -> bool:
        """Whether the rule judges source."""
        return self.static

    def has_measured(self) -> bool:
        """Whether the rule judges the probe's observations."""
        return self.measured

    def has_logged(self) -> bool:
        """Whether the rule judges training logs."""
        return self.logged

    def finding(self, location: Location, message: str, *, help: str = "") -> Finding:
        """Build a finding of the rule at ``location``."""
        return Finding(
            code=self.code,
            slug=self.slug,
            severity=self.severity,
            confidence=self.confidence,
            message=message,
            location=location,
            help=help,
        )

    def load(self) -> rules.Rule:
        """The rule itself."""
        module = importlib.import_module(self.module)
        for value in vars(module).values():
            if isinstance(value, type) and vars(value).get("code") == self.code:
                rule: rules.Rule = value()
                return rule
        found = rules.find_rule(self.slug)
        if found is None:
            raise LookupError(self.slug)
        return found


_remembered: tuple[RuleCard, ...] | None = None


def rule_cards() -> tuple[RuleCard, ...]:
    """The card of every rule, in order of code: remembered ones, or else those of the classes."""
    if _remembered is not None:
        return _remembered
    return cards_of(rules.all_rules())


def cards_of(catalogue: Iterable[rules.Rule]) -> tuple[RuleCard, ...]:
    """The cards of these rules."""
    return tuple(
        RuleCard(
            rule.code,
            rule.slug,
            rule.severity,
            rule.confidence,
            rule.default,
            rule.category(),
            type(rule).__module__,
            rule.has_static(),
            rule.has_measured(),
            rule.has_logged(),
        )
        for rule in catalogue
    )


def remember(cards: tuple[RuleCard, ...] | None) -> None:
    """Take ``cards`` for those of the rules that are installed; None looks at the rules again."""
    global _remembered
    _remembered = cards
