"""What a measured rule predicts that the probe sees where its fault is real."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from convlint.rules import Rule

Relation = Literal["above", "at least", "below", "equals", "is", "is not"]


class Prediction(msgspec.Struct, frozen=True):
    """``quantity`` stands in ``relation`` to ``bound`` wherever the rule's measurement fires.

    ``quantity`` is the name that the finding's evidence gives it. A number as ``bound`` is the
    least the measurement must show; words tell what depends on the run. A rule may ask for more (a
    whole confidence interval, enough samples), which its documentation says under *Measured*.
    """

    quantity: str
    relation: Relation
    bound: float | str

    def __str__(self) -> str:
        """``gradient first/last below 0.001``."""
        bound = self.bound if isinstance(self.bound, str) else f"{self.bound:g}"
        return f"{self.quantity} {self.relation} {bound}"

    def holds(self, value: float) -> bool:
        """Whether ``value`` is as predicted; a bound in words holds for every value."""
        if isinstance(self.bound, str):
            return True
        return {
            "above": value > self.bound,
            "at least": value >= self.bound,
            "below": value < self.bound,
            "equals": value == self.bound,
            "is": value == self.bound,
            "is not": value != self.bound,
        }[self.relation]


class Confirmation(msgspec.Struct, frozen=True):
    """One measurement that confirms or refutes findings of a rule.

    ``rule`` is the slug of the measured rule, often the rule itself; ``needs`` names the probe's
    measurements it rests on.
    """

    rule: str
    prediction: Prediction
    needs: tuple[str, ...]


def confirmations_of(rule: Rule) -> list[Confirmation]:
    """Every measurement that bears on a finding of ``rule`` from source; empty when none does."""
    from convlint.rules import find_rule

    if not rule.has_static():
        return []
    witnesses = [rule, *filter(None, map(find_rule, rule.confirmed_by))]
    return [
        Confirmation(witness.slug, witness.prediction, witness.measurements)
        for witness in witnesses
        if witness.has_measured() and witness.prediction is not None
    ]
