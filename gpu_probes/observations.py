"""Observations: what one probe of one training script saw.

Plain frozen dataclasses of the standard library, because the probed interpreter needs nothing but
torch and numpy. They travel to the parent as JSON; there ``msgspec.json`` decodes them.

Conventions: every float is finite or ``None`` (``None`` stands for NaN, infinity or "not
measured", the ``note`` tells which). Fractions are in [0, 1]. ``depth`` counts modules in order of
first use in the forward pass, 0 nearest the input. A ``Place`` is the line of the *user's* code
that created the thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from convlint.gpu_probes.gradient_noise import GradientNoise as GradientNoise
from convlint.gpu_probes.observed_remedies import Remedies as Remedies
from convlint.gpu_probes.values import Measurement as Measurement
from convlint.gpu_probes.values import Place as Place

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Skipped:
    """A measurement that was not made, and why."""

    measurement: str
    reason: str


@dataclass(frozen=True)
class Device:
    """Where the script's tensors lived and what measured them.

    ``statistics_backend`` is ``cupy`` or ``torch``.
    """

    kind: str
    name: str
    torch_version: str
    python_version: str
    statistics_backend: str
    threads: int = 0


@dataclass(frozen=True)
class InputTensor:
    """A floating or integer tensor the root module received, over the held batches.

    ``kind`` is ``image`` (4 or 5 dimensions, channels at dimension 1), ``tabular`` (2 dimensions),
    ``sequence`` (3 dimensions), ``tokens`` (integers), or ``other``. A *feature* is a channel of
    an image, a column of a table, the last dimension of a sequence. ``scale_ratio`` is the largest
    over the smallest positive standard deviation among features; ``offset`` the largest
    \\|mean\\| / std among non-constant features. ``covariance_condition`` is the condition number
    of the feature covariance about the origin (uncentred second moments), which is what multiplies
    the curvature of the first layer.
    """

    name: str
    model: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    samples: int
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    features: int = 0
    constant_features: int = 0
    scale_ratio: Measurement | None = None
    offset: Measurement | None = None
    covariance_condition: Measurement | None = None
    non_finite: int = 0
    normalized_inside: str = ""
    """Class of the first weight-bearing module reached when it normalises (BatchNorm, LayerNorm,
    Embedding), else empty."""
    place: Place | None = None


@dataclass(frozen=True)
class Batches:
    """The held batches compared with each other. ``identical`` counts pairs of equal batches."""

    count: int
    size: int | None
    identical: int
    compared: int


@dataclass(frozen=True)
class Activation:
    """The output of one activation module (or the input and output of a functional activation).

    ``kind`` is ``relu``, ``leaky_relu``, ``sigmoid``, ``tanh``, ``softmax``, ``gelu``, ``silu``,
    ``elu``, ``selu`` ...; ``dead_fraction`` is the share of units that are exactly zero on every
    held sample (position), ``saturated_fraction`` the share of units whose mean derivative is
    below 5 % of the activation's largest. ``samples`` is the number of samples x positions per
    unit. ``inside`` names an enclosing recurrent or attention module.
    """

    module: str
    cls: str
    kind: str
    depth: int
    units: int
    samples: int
    dead_fraction: float | None
    saturated_fraction: float | None
    mean: float | None
    rms: float | None
    non_finite: int = 0
    inside: str = ""
    place: Place | None = None


@dataclass(frozen=True)
class LayerFlow:
    """Signal at one weight-bearing module at the initial parameters, over the held batches.

    ``output_rms`` is the forward signal; ``output_grad_rms`` that of dL/d(output);
    ``weight_grad_rms`` and ``weight_rms`` belong to the module's weight.
    """

    module: str
    cls: str
    depth: int
    output_rms: float | None
    output_grad_rms: float | None
    weight_rms: float | None
    weight_grad_rms: float | None
    place: Place | None = None


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow through depth (PROBES.md M1).

    ``slope`` is d ln rms(dL/d output) / d layer toward the *input* (negative: the gradient
    shrinks on its way to the input), by least squares over the layers of the largest same-kind
    chain; ``end_to_end`` is rms at the first layer over rms at the last.
    """

    model: str
    layers: tuple[LayerFlow, ...]
    slope: Measurement
    end_to_end: Measurement
    forward_end_to_end: Measurement | None = None
    """rms of the last layer's output over that of the first."""


@dataclass(frozen=True)
class Parameter:
    """One parameter tensor over the held batches.

    ``missing`` is true when its gradient was None in every batch that reached backward, and
    ``zero`` when it was exactly zero in all of them. ``registered`` is false for leaves that
    autograd reaches but ``parameters()`` of the root module does not list. ``symmetric`` is true
    when all rows (output units) of a weight are identical and so are their gradients.
    """

    name: str
    module: str
    cls: str
    shape: tuple[int, ...]
    requires_grad: bool
    weight_rms: float | None
    grad_rms: float | None
    missing: bool
    zero: bool
    registered: bool
    optimized: bool
    symmetric: bool
    reached: bool = True
    """Whether autograd reached it from the loss (the leaves of the backward graph)."""
    depth: int = -1
    batches: int = 0
    place: Place | None = None


@dataclass(frozen=True)
class LossFunction:
    """One loss function that took part in the training loss, at one call site.

    ``function`` is ``cross_entropy``, ``nll_loss``, ``binary_cross_entropy``,
    ``binary_cross_entropy_with_logits``, ``mse_loss`` ... ``initial`` is the mean per-element loss
    at the initial parameters; ``uninformed`` the loss of the best constant predictor on the same
    targets (entropy of the label marginal, variance); ``uniform`` ln C or ln 2. The ``rows_*`` and
    ``values_*`` fractions are over the observed input rows. ``broadcast`` is the shape the two
    arguments broadcast to when it is larger than either.
    """

    function: str
    calls: int
    initial: Measurement
    uninformed: Measurement
    uniform: Measurement | None
    classes: int | None
    reduction: str
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    broadcast: tuple[int, ...] | None
    rows_sum_to_one: float | None
    values_in_unit_interval: float | None
    rows_log_probabilities: float | None
    label_smoothing: float = 0.0
    back_propagated: bool = True
    made_by: str = ""
    """The operation whose result entered, as autograd names it (``Sigmoid``, ``Addmm``), empty when
    not known; operations that only reshape or select are looked through."""
    place: Place | None = None


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
class NonFinite:
    """The first NaN or infinity: ``what`` is ``input``, ``activation``, ``loss``, ``gradient`` or
    ``weight``; ``name`` the tensor or module; ``phase`` ``hold`` or ``run``."""

    what: str
    name: str
    phase: str
    step: int
    kind: str
    place: Place | None = None


@dataclass(frozen=True)
class NonFiniteOrigin:
    """The operation of a training step that turned finite numbers into NaN or infinity (M4).

    ``operation`` is its name in PyTorch (``log``, ``sqrt``, ``div``), empty when what the step
    was given was not finite before; ``backward`` when its derivative did it. ``cause`` is
    ``domain error`` (not finite in float64 either), ``overflow`` (finite in float64), ``infinite
    derivative`` or ``not finite before the step``.
    """

    operation: str
    module: str
    cls: str
    backward: bool
    cause: str
    phase: str
    step: int
    dtype: str = ""
    place: Place | None = None


@dataclass(frozen=True)
class SampleDependence:
    """What the output of a model depends on, asked of one recorded forward pass (M0).

    ``input_response`` is the relative change of the output when the samples of the batch are
    exchanged for each other. ``leak`` is the change of the other samples' output over that of the
    sample that was replaced, along ``dimension``, None where it is not known which dimension holds
    the samples. ``batch_statistics`` names a module that mixes samples by design.
    """

    model: str
    input_response: Measurement
    leak: Measurement | None
    dimension: int | None
    batch_size: int | None
    batch_statistics: str = ""
    place: Place | None = None


@dataclass(frozen=True)
class GraphGrowth:
    """The autograd graphs of the back-propagated losses, one entry per backward pass.

    ``alive`` counts the graphs of earlier losses the script can still reach; ``nodes`` the nodes of
    each loss's own graph, for the passes whose graph was walked; ``place`` is that of the last.
    """

    alive: tuple[int, ...]
    nodes: tuple[int, ...]
    place: Place | None = None


@dataclass(frozen=True)
class ModeUse:
    """A mode-sensitive module (dropout, batch norm ...) in training forwards.

    ``eval_share`` is the share of back-propagated forwards it spent in eval mode."""

    module: str
    cls: str
    forwards: int
    eval_share: float
    trainable: bool
    place: Place | None = None


@dataclass(frozen=True)
class StabilityLimit:
    """The largest stable learning rate of one optimizer at the measured curvature (M7).

    ``limit`` is in units of the learning rate; ``headroom`` is limit / learning rate in use
    (below 1 the quadratic model diverges).
    """

    optimizer: int
    cls: str
    learning_rate: float | None
    preconditioned: bool
    limit: Measurement
    headroom: Measurement
    place: Place | None = None


@dataclass(frozen=True)
class ForecastCheck:
    """A foretold loss after ``steps`` plain gradient steps at ``rate``, and the real one."""

    rate: float
    steps: int
    predicted: float
    measured: float


@dataclass(frozen=True)
class QuadraticForecast:
    """The loss after ``steps`` plain gradient steps on one batch, foretold by its curvature (M7).

    Entry k of ``predicted`` belongs to ``rates[k]`` (None where it overflows); ``loss`` is where
    the steps begin. ``checks`` are steps really taken; the forecast holds up to the rate
    ``valid_up_to``, at which one and several steps lowered the loss as foretold to 10 %, None where
    it failed at the first.
    """

    loss: float
    steps: int
    rates: tuple[float, ...]
    predicted: tuple[float | None, ...]
    checks: tuple[ForecastCheck, ...]
    valid_up_to: float | None


@dataclass(frozen=True)
class LossSurface:
    """The loss of one batch over a plane through the present parameters (M7).

    ``losses[j][i]`` is the loss at θ + x[i]·u + y[j]·v for orthonormal directions u (``x_axis``)
    and v (``y_axis``): distances in parameter space, beside the ``norm`` of all parameters. None
    where the loss is not finite or the time was used up. ``gradient`` is the negative gradient,
    ``top eigenvector`` that of the Hessian, ``random`` one that is filter-normalised.
    """

    x_axis: str
    y_axis: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    losses: tuple[tuple[float | None, ...], ...]
    norm: float


@dataclass(frozen=True)
class BlockTrace:
    """Trace of the Hessian's diagonal block of one parameter tensor, over ``parameters`` elements."""

    name: str
    parameters: int
    trace: Measurement


@dataclass(frozen=True)
class Curvature:
    """Extreme curvature of the training loss on one held batch (M7).

    ``phase`` is ``start`` or ``end`` (of the run). ``largest`` and ``smallest`` are Hessian
    eigenvalues with their Ritz residual intervals; ``gradient_condition`` the gradient-weighted
    condition number; ``products`` the Hessian-vector products spent; ``consistency`` the relative
    difference from a finite-difference product (above 1e-2 the Hessian is not to be trusted).
    """

    phase: str
    method: str
    parameters: int
    largest: Measurement
    smallest: Measurement
    gradient_condition: Measurement | None
    gradient_norm: float | None
    consistency: float | None
    products: int
    limits: tuple[StabilityLimit, ...] = ()
    density: tuple[tuple[float, float], ...] = ()
    """Spectral density by stochastic Lanczos quadrature with one random vector: pairs of an
    eigenvalue and the share of all eigenvalues it stands for; the shares add up to one."""
    forecast: QuadraticForecast | None = None
    surface: LossSurface | None = None
    trace: Measurement | None = None
    """Sum of all eigenvalues (Hutchinson) with its standard error as interval."""
    blocks: tuple[BlockTrace, ...] = ()


@dataclass(frozen=True)
class Convergence:
    """What the loss series of the short run says (M8), filled in by ``convlint.curves``.

    ``kind`` is ``diverging``, ``oscillating``, ``stalled``, ``slow``, ``converging`` or
    ``undetermined``; ``rate`` the fitted rate: ``linear`` with its factor per step, ``sublinear``
    with its exponent. ``noise`` is the standard deviation of the step-to-step noise.
    """

    kind: str
    rate_class: str
    rate: Measurement | None
    noise: float | None
    first: float | None
    last: float | None
    limit: Measurement | None = None
    steps: int = 0
    note: str = ""
    standing: str = ""
    """What kind of standing still the end is: ``moving``, ``at a trivial predictor``, ``at a
    saddle``, ``stopped by the learning rate``, ``converged`` or ``on a plateau``."""
    noise_floor: Measurement | None = None
    """Excess loss at which SGD at its constant rate stays, from the gradient noise: at most."""


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


@dataclass(frozen=True)
class Plan:
    """How long the script means to train, as its own variables and its loader tell it.

    ``epochs`` and ``steps`` are integers under such names in the frames that train, None where
    there is none or several differ; ``batches_per_epoch`` is the length of the loader that was
    iterated when the first step came.
    """

    epochs: int | None = None
    steps: int | None = None
    batches_per_epoch: int | None = None


@dataclass(frozen=True)
class PeakMemory:
    """Most memory the script's process held, in bytes, with what the probe itself kept in it.

    ``host`` is its resident set (workers apart), ``device`` what Torch's allocator gave out on the
    GPU in use. None where it is not known.
    """

    host: int | None = None
    device: int | None = None


@dataclass(frozen=True)
class Series:
    """Per-step telemetry of the real steps, aligned: entry i belongs to step i.

    ``loss`` is the back-propagated loss (unscaled, accumulation summed), ``gradient_norm`` the
    global norm just before the step, ``seconds`` wall time of the step without the probe's own.
    """

    loss: tuple[float | None, ...] = ()
    gradient_norm: tuple[float | None, ...] = ()
    learning_rate: tuple[float | None, ...] = ()
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class GradientHistory:
    """Gradients over the real steps, for the eye: both axes may be thinned.

    ``rms[m][k]`` is the root mean square of the gradient of ``modules[m]`` (all its own parameters)
    just before real step ``steps[k]`` (from 0), None where it had none or it was not finite.
    Modules come in the order in which the optimizer holds them.
    """

    modules: tuple[str, ...]
    steps: tuple[int, ...]
    rms: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class OverfitAttempt:
    """One try at learning a single batch by heart (PROBES.md M9).

    ``excess`` is the share of the first loss's distance to the smallest possible one that was
    left at the lowest loss; ``falling`` whether the loss was still going down at the end.
    ``curve`` pairs steps (from 0) with the loss before them, thinned.
    """

    optimizer: str
    learning_rate: float | None
    steps: int
    first: float | None
    lowest: float | None
    excess: float
    falling: bool
    finite: bool
    curve: tuple[tuple[int, float | None], ...] = ()


@dataclass(frozen=True)
class OverfitOneBatch:
    """Training on one batch alone (M9): the script's own optimizer first, then Adam.

    ``outcome`` is ``fits``, ``fits with another optimizer``, ``does not fit`` or
    ``undetermined`` (cut short, or still falling). ``floor`` is the smallest value the loss can
    take; ``parameters`` the trainable elements and ``targets`` the elements to be learnt.
    ``without_inputs`` is the lowest loss of a batch that fits, trained on again with its inputs at
    zero, and ``constant`` the smallest loss one answer for all its samples can have; None where
    that was not tried or is not known.
    """

    attempts: tuple[OverfitAttempt, ...]
    floor: float
    planned: int
    outcome: str
    parameters: int | None = None
    targets: int | None = None
    without_inputs: float | None = None
    constant: float | None = None


@dataclass(frozen=True)
class LearningRateRange:
    """The learning-rate range test on recorded batches (M10), from the initial parameters.

    Entry k of ``one_step`` is the held-out loss after one step at ``rates[k]``, of ``sweep`` the
    loss when the rising rate reached it; both may end early. ``initial`` is the held-out loss at
    the start, ``bound`` the loss above which a sweep has left. ``best`` lowers the held-out loss
    most in one step, None when none does or not all rates were tried, ``steepest`` is where the sweep falls fastest, ``diverges`` is the
    smaller of where the rise begins that carries the sweep over the bound, and of where a single
    step begins to raise the held-out loss.
    """

    in_use: float
    rates: tuple[float, ...]
    initial: float
    bound: float
    one_step: tuple[float | None, ...]
    sweep: tuple[float | None, ...]
    best: float | None
    steepest: float | None
    diverges: float | None


@dataclass(frozen=True)
class Ranks:
    """The processes of a distributed run compared, as far as they ``answered``.

    Everything else in the observations is what the first of the ``count`` ranks saw. After the
    first real step ``compared`` tensors are whole on every rank, and ``sharded`` ones are held in
    parts and not compared. ``parameters_differ`` and ``gradients_differ`` name the first that are
    not the same bits everywhere: after the step, and just before it. ``same_batches`` says whether
    the ranks trained on the very same first ``batches_compared`` batches. ``step_seconds`` is the
    median of each rank; ``own_seconds`` its least time from a step to the next backward pass: the
    batch and the forward pass, in which data-parallel ranks do not wait for each other.
    """

    count: int
    answered: int
    compared: int
    sharded: int
    parameters_differ: tuple[str, ...]
    gradients_differ: tuple[str, ...]
    same_batches: bool | None
    step_seconds: tuple[float | None, ...]
    batches_compared: int = 0
    own_seconds: tuple[float | None, ...] = ()
    timed_steps: int = 0
    """The fewest steps behind any of ``own_seconds``."""


@dataclass(frozen=True)
class Observations:
    """Everything one probe saw.

    ``stopped`` is ``steps`` (the horizon was reached), ``budget``, ``finished`` (the script ended
    by itself), ``no-training`` (it ended without a single backward), ``crashed`` or ``exited``;
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
