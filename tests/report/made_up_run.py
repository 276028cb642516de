"""A made-up run in which everything was measured and every name is out to do harm."""

from __future__ import annotations

from convlint.audit import Decision, RunVerdict
from convlint.cost import cost_of
from convlint.findings import (
    Confidence,
    Evidence,
    Finding,
    Judgement,
    Location,
    Related,
    Severity,
    Verdict,
)
from convlint.gpu_probes.observations import (
    Activation,
    BlockTrace,
    Convergence,
    Curvature,
    Device,
    ForecastCheck,
    GradientFlow,
    GradientHistory,
    GradientNoise,
    LayerFlow,
    LearningRateRange,
    LossSurface,
    Measurement,
    Observations,
    OverfitAttempt,
    OverfitOneBatch,
    PeakMemory,
    Plan,
    QuadraticForecast,
    ScheduleAhead,
    Series,
    Skipped,
    StabilityLimit,
    UpdateRatio,
)
from convlint.gpu_probes.observations.remedies import Remedies, Remedy
from convlint.report.run import RunReport

HOSTILE = "<img src=x onerror=window.harmed=1>"
LAYER = f"</title></svg><script>window.harmed=1</script>\"'{HOSTILE}"
SCRIPT = f"{HOSTILE}.py"
STEPS = 60


def _m(value: float, **rest: object) -> Measurement:
    return Measurement(value, n=8, **rest)  # type: ignore[arg-type]


def hostile_observations() -> Observations:
    """Everything was measured, with values that a run might give."""
    losses = tuple(0.3 + 2.0 * 0.95**k for k in range(STEPS))
    layers = tuple(
        LayerFlow(f"{LAYER}.{k}", "Linear", k, 1.0 / (k + 1), 10.0 ** (k - 8), 0.1, 1e-3)
        for k in range(8)
    )
    return Observations(
        script=SCRIPT,
        arguments=("--name", HOSTILE),
        device=Device("cpu", HOSTILE, "2.13.0", "3.11", "torch"),
        stopped="steps",
        held=8,
        steps=STEPS,
        seconds=12.5,
        backwards=STEPS + 8,
        activations=tuple(
            Activation(f"{LAYER}.{k}", "ReLU", "relu", k, 64, 512, k / 10, 1 - k / 10, 0.1, 0.2)
            for k in range(6)
        ),
        gradient_flow=(GradientFlow(HOSTILE, layers, _m(-2.3), _m(1e-7)),),
        updates=tuple(
            UpdateRatio(f"{LAYER}.{k}.weight", (8, 8), _m(10.0 ** (k - 6)), None, 0)
            for k in range(5)
        ),
        curvature=(
            Curvature(
                phase="start",
                method="exact",
                parameters=100,
                largest=_m(40.0, ci=(39.0, 41.0)),
                smallest=_m(-1.0),
                gradient_condition=None,
                gradient_norm=1.0,
                consistency=1e-5,
                products=20,
                density=((40.0, 1e-4), *((k - 1.0, 0.5**k) for k in range(1, 20))),
                density_runs=(10, 9),
                moments=(_m(0.9, ci=(0.8, 1.0)),),
                limits=(StabilityLimit(0, "SGD", 0.1, False, _m(0.05), _m(0.5)),),
                trace=_m(80.0, ci=(70.0, 90.0)),
                blocks=tuple(BlockTrace(f"{LAYER}.{k}", 10, _m(k - 1.0)) for k in range(5)),
                forecast=QuadraticForecast(
                    2.3,
                    5,
                    (0.01, 0.02, 0.05),
                    (2.2, 2.1, None),
                    (ForecastCheck(0.01, 1, 2.28, 2.28), ForecastCheck(0.01, 5, 2.2, 2.21)),
                    0.01,
                ),
                surface=LossSurface(
                    "gradient",
                    HOSTILE,
                    (-1.0, 0.0, 1.0),
                    (-1.0, 0.0, 1.0),
                    ((3.0, 2.5, 2.0), (2.6, 2.3, 1.9), (None, None, None)),
                    8.0,
                ),
            ),
        ),
        schedules=(
            ScheduleAhead("StepLR", 0, 100, True, "epoch", tuple(0.1 * 0.8**k for k in range(40))),
        ),
        series=Series(
            loss=(*losses[:-3], None, *losses[-2:]),
            gradient_norm=tuple(0.1 + 50.0 * 0.9**k for k in range(STEPS)),
            learning_rate=tuple(0.1 * 0.99**k for k in range(STEPS)),
            seconds=(0.01,) * STEPS,
        ),
        gradient_noise=GradientNoise(
            _m(400.0, unit="samples", ci=(300.0, 550.0)),
            at_least=False,
            batch_size=8,
            step_size=16,
            gradients=32,
            optimizer=0,
            cls=HOSTILE,
            best_rate=_m(0.02),
            rate_in_use=0.1,
        ),
        gradient_history=GradientHistory(
            tuple(f"{LAYER}.{k}" for k in range(6)),
            tuple(range(0, STEPS, 2)),
            tuple(
                tuple(None if k == step == 2 else 10.0 ** (k - step / 20) for step in range(30))
                for k in range(6)
            ),
        ),
        convergence=Convergence(
            "converging",
            "linear",
            _m(0.95, ci=(0.94, 0.96)),
            0.01,
            2.3,
            0.4,
            limit=_m(0.3),
            steps=STEPS,
        ),
        baseline=_m(2.31),
        remedies=Remedies(
            tried=(
                Remedy(
                    kind="learning rate",
                    change=f"learning rate of {LAYER}",
                    code=f"SGD(..., name='{HOSTILE}')",
                    predicted=LAYER,
                    outcome="better",
                    effect=_m(0.3, ci=(0.2, 0.4)),
                    share=0.15,
                    p=0.001,
                    loss=0.4,
                    course=(1.0, 0.8, 0.6, 0.4),
                    orders=6,
                ),
                Remedy("keep", "keep", "", "", "", None, None, None, 0.7, (0.7,), 6),
            ),
            initial=2.3,
            untrained=2.3,
            horizon=200,
            checkpoints=(50, 100, 150, 200),
            batches=100,
            held_out=6,
            orders=6,
        ),
        plan=Plan(epochs=10, batches_per_epoch=100),
        peak_memory=PeakMemory(host=2**30),
        overfit=OverfitOneBatch(
            (
                OverfitAttempt(
                    *(LAYER, 0.1, 200, 2.3, 0.01, 0.004, False, True),
                    curve=tuple((2 * k, 2.3 * 0.95**k) for k in range(100)),
                ),
            ),
            0.0,
            200,
            "fits",
        ),
        learning_rate_range=LearningRateRange(
            in_use=0.1,
            rates=tuple(10.0 ** (k / 4 - 5) for k in range(28)),
            initial=2.3,
            bound=9.2,
            one_step=tuple(2.3 - k / 40 for k in range(20)) + (None,) * 8,
            sweep=(*(2.3 - k / 20 for k in range(24)), 1e9),
            best=0.3,
            steepest=0.2,
            diverges=2.0,
        ),
        recognised=("recurrent",),
        skipped=(Skipped(f"density {HOSTILE}", f"no time {LAYER}"),),
        writes_held_back=(f"/{HOSTILE}/model.pt",),
    )


def hostile_run() -> RunReport:
    """The report on such a run, with a confirmed and a refuted finding."""
    place = Location(SCRIPT, 3, 1, 3, 16)
    findings = [
        Finding(
            code="LOP001",
            slug="zero-grad-missing",
            severity=severity,
            confidence=Confidence.HIGH,
            message=f"never cleared {LAYER}",
            location=place,
            evidence=(Evidence("measured", f"carried {LAYER}", "carried", 12.0, "steps", "none"),),
            related=(Related(place, f"here {LAYER}"),),
            help=f"clear them {LAYER}",
            judgement=Judgement(verdict, f"because {LAYER}"),
        )
        for severity, verdict in (
            (Severity.ERROR, Verdict.CONFIRMED),
            (Severity.INFO, Verdict.REFUTED),
        )
    ]
    return RunReport(
        shown=SCRIPT,
        findings=findings,
        problems=[],
        texts={SCRIPT: f"import torch\n# {LAYER}\nloss.backward()\n# {'long ' * 80}\n"},
        seen=hostile_observations(),
        verdict=RunVerdict(
            decision=Decision.NO_GO, reason=f"diverges {LAYER}", confirmed=1, refuted=1
        ),
        hidden=2,
        cost=cost_of(hostile_observations(), price_per_hour=3.0),
    )
