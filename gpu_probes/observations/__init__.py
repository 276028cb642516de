"""Observations: what one probe of one training script saw.

Plain frozen dataclasses of the standard library, because the probed interpreter needs nothing but
torch and numpy. They travel to the parent as JSON; there ``msgspec.json`` decodes them by their
annotations, so what these name is imported at run time. Each subject has its module; all names of
facts are importable from here.

Conventions: every float is finite or ``None`` (``None`` stands for NaN, infinity or "not
measured", the ``note`` tells which). Fractions are in [0, 1]. ``depth`` counts modules in order of
first use in the forward pass, 0 nearest the input. A ``Place`` is the line of the *user's* code
that created the thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from convlint.gpu_probes.observations.convergence import Convergence, Series
from convlint.gpu_probes.observations.curvature import (
    BlockTrace,
    Curvature,
    ForecastCheck,
    LossSurface,
    QuadraticForecast,
    StabilityLimit,
)
from convlint.gpu_probes.observations.experiments import (
    LearningRateRange,
    OverfitAttempt,
    OverfitOneBatch,
)
from convlint.gpu_probes.observations.gradient_noise import GradientNoise
from convlint.gpu_probes.observations.inputs import Batches, InputTensor, SampleDependence
from convlint.gpu_probes.observations.layers import (
    Activation,
    GradientFlow,
    GradientHistory,
    LayerFlow,
    ModeUse,
    Parameter,
)
from convlint.gpu_probes.observations.losses import GraphGrowth, LossFunction
from convlint.gpu_probes.observations.non_finite import NonFinite, NonFiniteOrigin
from convlint.gpu_probes.observations.optimizers import (
    OptimizerUse,
    ParameterGroup,
    ScheduleAhead,
    UpdateRatio,
)
from convlint.gpu_probes.observations.process import Device, PeakMemory, Plan
from convlint.gpu_probes.observations.ranks import Ranks
from convlint.gpu_probes.observations.remedies import Remedies, Remedy
from convlint.gpu_probes.observations.values import Measurement, Place, Skipped

__all__ = [
    "Activation",
    "Batches",
    "BlockTrace",
    "Convergence",
    "Curvature",
    "Device",
    "ForecastCheck",
    "GradientFlow",
    "GradientHistory",
    "GradientNoise",
    "GraphGrowth",
    "InputTensor",
    "LayerFlow",
    "LearningRateRange",
    "LossFunction",
    "LossSurface",
    "Measurement",
    "ModeUse",
    "NonFinite",
    "NonFiniteOrigin",
    "Observations",
    "OptimizerUse",
    "OverfitAttempt",
    "OverfitOneBatch",
    "Parameter",
    "ParameterGroup",
    "PeakMemory",
    "Place",
    "Plan",
    "QuadraticForecast",
    "Ranks",
    "Remedies",
    "Remedy",
    "SampleDependence",
    "ScheduleAhead",
    "Series",
    "Skipped",
    "StabilityLimit",
    "UpdateRatio",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Observations:
    """Everything one probe saw.

    ``stopped`` is ``steps`` (the horizon was reached), ``budget``, ``finished`` (the script ended
    by itself), ``captured`` (it goes on training in a captured CUDA graph), ``no-training`` (it
    ended without a single backward), ``crashed`` or ``exited``;
    ``error`` has the user's exception in one line when it crashed.
    """

    script: str
    arguments: tuple[str, ...]
    device: Device
    stopped: str
    held: int
    steps: int
    seconds: float
    backwards: int = 0
    schema_version: int = SCHEMA_VERSION
    error: str = ""
    error_place: Place | None = None
    batches: Batches | None = None
    inputs: tuple[InputTensor, ...] = ()
    activations: tuple[Activation, ...] = ()
    gradient_flow: tuple[GradientFlow, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    losses: tuple[LossFunction, ...] = ()
    optimizers: tuple[OptimizerUse, ...] = ()
    updates: tuple[UpdateRatio, ...] = ()
    non_finite: tuple[NonFinite, ...] = ()
    non_finite_origin: NonFiniteOrigin | None = None
    sample_dependence: tuple[SampleDependence, ...] = ()
    graph_growth: GraphGrowth | None = None
    modes: tuple[ModeUse, ...] = ()
    curvature: tuple[Curvature, ...] = ()
    schedules: tuple[ScheduleAhead, ...] = ()
    series: Series = field(default_factory=Series)
    gradient_history: GradientHistory | None = None
    plan: Plan = field(default_factory=Plan)
    peak_memory: PeakMemory = field(default_factory=PeakMemory)
    convergence: Convergence | None = None
    overfit: OverfitOneBatch | None = None
    learning_rate_range: LearningRateRange | None = None
    gradient_noise: GradientNoise | None = None
    remedies: Remedies | None = None
    baseline: Measurement | None = None
    """Loss of the constant predictor on the scale of ``series.loss``, when it is known."""
    recognised: tuple[str, ...] = ()
    """Patterns seen and therefore not judged: ``LBFGS``, ``several optimizers``,
    ``gradient accumulation``, ``GradScaler``, ``frozen parameters``, ``recurrent``,
    ``full batch``, ``moving targets`` (reinforcement learning, target networks), ``updates by hand`` (``steps`` counts them)."""
    skipped: tuple[Skipped, ...] = ()
    writes_held_back: tuple[str, ...] = ()
    loaded_files: tuple[str, ...] = ()
    """Absolute paths of the user's source files that ran (the script and the project modules it
    imported); empty when not recorded."""
    ranks: Ranks | None = None

    def _repr_html_(self) -> str:
        """What a notebook shows: the findings and the summary. Needs convlint itself."""
        from convlint.report.notebook import observations_html

        return observations_html(self)
