"""What can be measured, what each measurement needs and costs, and which of it a run can pay for.

A tier says how much is wanted, the budget how much there is; the :class:`Plan` of a run holds both
against the needs and costs declared here. Costs are in gradient evaluations (one forward and one
backward pass of the script's own batch) on top of the steps the script makes anyway.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "CURVATURE",
    "DEEP",
    "MEASUREMENTS",
    "QUICK",
    "REMEDIES",
    "STANDARD",
    "SURFACE",
    "TIERS",
    "Declared",
    "Need",
    "Plan",
    "TierSize",
    "budget_of",
    "steps_of",
]


class Need(enum.Enum):
    """What must be watched or kept while the script runs."""

    HELD_BATCHES = "batches at the initial parameters"
    STEPS = "real steps"
    GRADIENTS = "gradients"
    TAPE = "a recorded batch"
    TAPES = "recorded steps"


@dataclass(frozen=True)
class TierSize:
    """How far a tier goes: the defaults of ``--steps``, ``--hold`` and ``--budget``, the steps
    recorded for experiments, and the effort of each iteration."""

    steps: int
    hold: int
    budget: float
    recorded_steps: int
    lanczos_iterations: int
    density_vectors: int
    rates: int
    overfit_steps: int


QUICK, STANDARD, DEEP = "quick", "standard", "deep"

TIERS = {
    QUICK: TierSize(30, 8, 30.0, 0, 0, 0, 0, 0),
    STANDARD: TierSize(100, 8, 60.0, 24, 20, 3, 60, 200),
    DEEP: TierSize(200, 16, 300.0, 48, 40, 6, 120, 400),
}
"""How thoroughly to measure, cheapest first; a tier makes every measurement of those before it."""

REMEDIES = "remedies"

REMEDY_STEPS = 100
"""Steps recorded to try changes on: shorter horizons favour learning rates that are too small (Wu
et al., "Understanding Short-Horizon Bias in Stochastic Meta-Optimization", ICLR 2018)."""

REMEDY_SECONDS = 120.0
"""Added to the budget of a tier that does not try changes by itself, when it is asked to."""


def budget_of(tier: str, remedies: bool) -> float:
    """The seconds a run of ``tier`` takes at most, when nobody says, with remedies or without."""
    return TIERS[tier].budget + (REMEDY_SECONDS if remedies and tier != DEEP else 0.0)


def steps_of(tier: str, remedies: bool) -> int:
    """The real steps a run of ``tier`` takes, when nobody says, with remedies or without."""
    return max(TIERS[tier].steps, REMEDY_STEPS if remedies else 0)


@dataclass(frozen=True)
class Declared:
    """One measurement: the cheapest ``tier`` that makes it, its needs and its cost.

    ``cost`` is the price of all of it, ``least`` of the smallest part worth reporting, both in
    gradient evaluations at tier standard; ``share`` is the part of the whole budget it may take.
    Measurements made beside the steps cost no evaluation of their own. One ``on_request`` is not
    missed where nobody asked for it.
    """

    name: str
    tier: str
    needs: frozenset[Need]
    cost: float = 0.0
    least: float = 0.0
    share: float = 1.0
    on_request: bool = False


def _beside(name: str, *needs: Need) -> Declared:
    return Declared(name, QUICK, frozenset(needs))


CURVATURE = ("curvature at the start", "curvature at the end")
SURFACE = "loss surface"

MEASUREMENTS = {
    declared.name: declared
    for declared in (
        _beside("inputs", Need.HELD_BATCHES),
        _beside("batches", Need.HELD_BATCHES),
        _beside("activations", Need.HELD_BATCHES),
        _beside("gradient flow", Need.HELD_BATCHES, Need.GRADIENTS),
        _beside("initial loss", Need.HELD_BATCHES),
        _beside("parameters", Need.HELD_BATCHES, Need.GRADIENTS),
        _beside("optimizers", Need.STEPS),
        _beside("modes", Need.STEPS),
        _beside("non-finite values", Need.STEPS),
        _beside("graph growth", Need.STEPS),
        # Four forward passes.
        Declared(
            "sample dependence", QUICK, frozenset({Need.TAPE}), cost=1.4, least=1.4, share=0.1
        ),
        # Three evaluations where something is not finite; none where nothing is.
        Declared("origin of non-finite values", QUICK, frozenset({Need.TAPE}), 1.7, 1.7, share=0.2),
        _beside("gradient norm", Need.STEPS, Need.GRADIENTS),
        _beside("update ratio", Need.STEPS),
        _beside("schedule ahead", Need.STEPS),
        # 20 products of 2.15 evaluations each, twice where the optimizer rescales, 10 for the trace,
        # 30 for the density and 18 gradients for the forecast; the first four say something.
        *(
            Declared(
                name,
                STANDARD,
                frozenset({Need.HELD_BATCHES if name == CURVATURE[0] else Need.STEPS}),
                cost=190.0,
                least=9.0,
                share=0.2,
            )
            for name in CURVATURE
        ),
        # 121 forward passes, at the end of the run; three rows of 11 show a valley.
        Declared(SURFACE, STANDARD, frozenset({Need.STEPS}), cost=41.0, least=11.0, share=0.1),
        # The gradients of 8 held batches and 24 recorded steps, and 8 products of four evaluations.
        Declared(
            "gradient noise",
            STANDARD,
            frozenset({Need.TAPES}),
            cost=64.0,
            least=8.0,
            share=0.1,
        ),
        # A step and three evaluations at each of 60 rates, and a sweep over them.
        Declared(
            "learning-rate range",
            STANDARD,
            frozenset({Need.TAPES}),
            cost=180.0,
            least=20.0,
            share=0.1,
        ),
        # Four optimizers of 200 steps where none succeeds.
        Declared(
            "overfit one batch",
            STANDARD,
            frozenset({Need.TAPES}),
            cost=800.0,
            least=50.0,
            share=0.15,
        ),
        # Some twenty changes over a hundred steps, a few over two hundred in six orders. Replayed
        # steps are timed before the comparison begins, which says what can be afforded.
        Declared(
            REMEDIES,
            DEEP,
            frozenset({Need.TAPES}),
            cost=12_000.0,
            least=100.0,
            share=0.6,
            on_request=True,
        ),
    )
}


class Plan:
    """What one run measures, and for how long.

    Every measurement asks before it begins; what the tier leaves out or the budget cannot pay is
    answered with the reason, in the words the user reads.
    """

    def __init__(
        self,
        tier: str,
        budget: float,
        without: frozenset[str] = frozenset(),
        also: frozenset[str] = frozenset(),
    ) -> None:
        self.tier = tier
        self.size = TIERS[tier]
        self.budget = budget
        self._without = without
        self._also = also

    @property
    def recorded_steps(self) -> int:
        """The real steps of which tapes are kept."""
        least = REMEDY_STEPS if self.wanted(REMEDIES) else 0
        return max(self.size.recorded_steps, least)

    def wanted(self, name: str) -> bool:
        """Whether the tier makes this measurement."""
        declared = MEASUREMENTS[name]
        order = list(TIERS)
        included = name in self._also or order.index(declared.tier) <= order.index(self.tier)
        return included and name not in self._without

    def needs(self, need: Need) -> bool:
        """Whether any measurement wanted needs this."""
        return any(
            need in declared.needs for name, declared in MEASUREMENTS.items() if self.wanted(name)
        )

    def left_out(self) -> dict[str, str]:
        """The measurements this tier does not make, each with the reason."""
        return {
            name: (
                "switched off"
                if name in self._without
                else f"not part of --tier {self.tier}; --tier {declared.tier} measures it"
            )
            for name, declared in MEASUREMENTS.items()
            if not self.wanted(name) and (name in self._without or not declared.on_request)
        }

    def seconds_for(self, name: str, spent: float) -> float:
        """Seconds ``name`` may take when ``spent`` seconds of the budget are gone."""
        return max(0.0, min(MEASUREMENTS[name].share * self.budget, self.budget - spent))

    def refusal(self, name: str, spent: float, evaluation: float) -> str | None:
        """Why ``name`` is not affordable, None when it is.

        ``evaluation`` is what one gradient evaluation takes, in seconds.
        """
        declared = MEASUREMENTS[name]
        there_is = self.seconds_for(name, spent)
        least = declared.least * evaluation
        if least <= there_is and there_is > 0.0:
            return None
        if there_is <= 0.0:
            return "the budget was used up"
        return (
            f"takes at least {least:.0f} s ({declared.least:g} gradient evaluations of "
            f"{evaluation:.2g} s) and has {there_is:.0f} s of the --budget of {self.budget:g} s"
        )
