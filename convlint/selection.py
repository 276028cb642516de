"""Which rules run: slugs, codes, code prefixes and categories turned into rules.

``select`` replaces the default rules, ``extend-select`` adds to them, ``ignore`` takes away. A
later layer (the command line) has the last word over an earlier one (the configuration), and
within a layer the more exact name wins: ``--select LOP001 --ignore LOP`` runs LOP001.
"""

from __future__ import annotations

from functools import cached_property

import msgspec

from convlint.catalogue import RuleCard, rule_cards
from convlint.errors import UserError, did_you_mean

EVERY_RULE = "all"


class RuleChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of choices; ``select`` is None when the layer leaves the selection as it is.

    ``said_in`` is where the user wrote it, for messages; empty for the command line.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    said_in: str = ""


class Selection(msgspec.Struct, frozen=True, dict=True):
    """The rules to run, by code, and the slugs of those a user asked for by name."""

    cards: tuple[RuleCard, ...]
    asked_for: frozenset[str] = frozenset()

    def __contains__(self, slug: object) -> bool:
        return slug in self.slugs

    @cached_property
    def slugs(self) -> frozenset[str]:
        """Of the rules to run."""
        return frozenset(card.slug for card in self.cards)


def resolve_selection(
    layers: tuple[RuleChoice, ...], catalogue: tuple[RuleCard, ...] | None = None
) -> Selection:
    """Apply ``layers`` in order to the default selection.

    ``catalogue`` has the rules to choose from, every registered one unless given.

    Raises:
        UserError: a name matches no rule.
    """
    catalogue = rule_cards() if catalogue is None else catalogue
    running = {rule.slug for rule in catalogue if rule.default}
    asked_for: set[str] = set()
    for layer in layers:
        where = layer.said_in
        added = _exactness((*(layer.select or ()), *layer.extend_select), where, catalogue)
        removed = _exactness(layer.ignore, where, catalogue)
        if layer.select is not None:
            running, asked_for = set(), set()
        for rule in catalogue:
            plus, minus = added.get(rule.slug, -1), removed.get(rule.slug, -1)
            if plus > minus:
                running.add(rule.slug)
                asked_for.add(rule.slug)
            elif minus >= 0:
                running.discard(rule.slug)
                asked_for.discard(rule.slug)
    return Selection(
        tuple(rule for rule in catalogue if rule.slug in running), frozenset(asked_for)
    )


def rules_matching(
    name: str, *, said_in: str = "", catalogue: tuple[RuleCard, ...] | None = None
) -> tuple[RuleCard, ...]:
    """The cards of the rules a slug, a code, a code prefix, a category or ``ALL`` stands for.

    Raises:
        UserError: it stands for none; the message has the nearest name.
    """
    rules = rule_cards() if catalogue is None else catalogue
    wanted = name.strip().lower()
    if wanted == EVERY_RULE:
        return rules
    matching = tuple(rule for rule in rules if wanted == rule.slug)
    if not matching and wanted:
        matching = tuple(rule for rule in rules if rule.category == wanted)
    if not matching and wanted:
        matching = tuple(rule for rule in rules if rule.code.lower().startswith(wanted))
    if not matching:
        known = [rule.slug for rule in rules] + [rule.code.lower() for rule in rules]
        known += sorted({rule.category for rule in rules})
        raise UserError(
            f"unknown rule {name!r}{_did_you_mean_rule(wanted, known, rules)}"
            " (`convlint rules` lists them)",
            path=said_in,
        )
    return matching


def _did_you_mean_rule(wanted: str, known: list[str], rules: tuple[RuleCard, ...]) -> str:
    suggestion = did_you_mean(wanted, known)
    for rule in rules:
        suggestion = suggestion.replace(f"'{rule.code.lower()}'", f"'{rule.code}'")
    return suggestion


def _exactness(
    names: tuple[str, ...], said_in: str, catalogue: tuple[RuleCard, ...]
) -> dict[str, int]:
    """For each rule spoken of, how exactly: 0 for ``ALL``, 1 for a category, the length of a
    prefix, 100 in full."""
    exactness: dict[str, int] = {}
    for name in names:
        wanted = name.strip().lower()
        for rule in rules_matching(name, said_in=said_in, catalogue=catalogue):
            if wanted == EVERY_RULE:
                degree = 0
            elif wanted in (rule.slug, rule.code.lower()):
                degree = 100
            elif wanted == rule.category:
                degree = 1
            else:
                degree = len(wanted)
            exactness[rule.slug] = max(degree, exactness.get(rule.slug, -1))
    return exactness
