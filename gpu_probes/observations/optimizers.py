"""The optimizers that stepped, what their steps changed, and the schedule of their rates."""

from __future__ import annotations

from dataclasses import dataclass, field

from convlint.gpu_probes.observations.values import Measurement, Place


@dataclass(frozen=True)
class ParameterGroup:
    """Hyperparameters of one parameter group at the first step."""

    learning_rate: float | None
    parameters: int
    elements: int
    options: dict[str, float | bool | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerUse:
    """One optimizer that stepped.

    ``steps`` are real (not withheld) steps. ``carried_gradient_steps`` counts backward passes
    that found a non-zero gradient left by a backward *before the previous step* (never cleared).
    ``events`` is the recorded order in the first steps, e.g. ``("zero_grad", "backward", "clip",
    "step", "scheduler_step")``. ``accumulation`` is the number of backward passes per step.
    ``found_gradients`` says whether any step found a gradient, whatever put it there.
    """

    id: int
    cls: str
    groups: tuple[ParameterGroup, ...]
    steps: int
    accumulation: float | None
    carried_gradient_steps: int
    compared_steps: int
    clipped: bool
    uses_closure: bool
    events: tuple[str, ...]
    place: Place | None = None
    found_gradients: bool | None = None


@dataclass(frozen=True)
class UpdateRatio:
    """Update-to-weight ratio of one parameter tensor (PROBES.md M5), over the real steps.

    ``ratio`` is the median of the norm of the step over the norm of the weight, ``largest``
    the largest over a run of five consecutive steps (their minimum).
    """

    name: str
    shape: tuple[int, ...]
    ratio: Measurement
    largest: float | None
    optimizer: int
    zero_initialised: bool = False
    place: Place | None = None


@dataclass(frozen=True)
class ScheduleAhead:
    """A learning-rate scheduler stepped ahead on a copy.

    ``learning_rates`` samples the rate at evenly spaced calls over ``calls`` scheduler steps;
    ``calls`` is the planned number when it could be told (``planned``), else a guess.
    """

    cls: str
    optimizer: int
    calls: int
    planned: bool
    per: str
    """``step`` or ``epoch``: how often the script called it, ``unknown`` when it did not yet."""
    learning_rates: tuple[float, ...]
    place: Place | None = None
    course: str = ""
    """``constant``, ``power``, ``geometric``, ``ends`` (at zero) or ``undetermined``."""
    robbins_monro: bool | None = None
    """Whether the rates, carried on as they go, have an infinite sum and a finite one of squares."""
