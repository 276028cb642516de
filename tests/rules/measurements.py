"""Hand-built measurements of an ordinary healthy classifier, to be spoilt one at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from observed import observations

from convlint.findings import Severity
from convlint.gpu_probes.observations import (
    Activation,
    Convergence,
    Curvature,
    GradientFlow,
    GradientNoise,
    GraphGrowth,
    LayerFlow,
    LossFunction,
    Measurement,
    Observations,
    OptimizerUse,
    OverfitAttempt,
    OverfitOneBatch,
    Parameter,
    ParameterGroup,
    Place,
    SampleDependence,
    Series,
    StabilityLimit,
    UpdateRatio,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.findings import Finding
    from convlint.rules import Rule

SCRIPT = "/project/train.py"
LN_10 = math.log(10)


def place(line: int) -> Place:
    return Place(SCRIPT, line)


def number(value: float | None, n: int = 512, margin: float = 0.0, **rest: Any) -> Measurement:
    """A measurement with a symmetric interval of ``margin`` on each side."""
    ci = None if value is None else (value - margin, value + margin)
    return Measurement(value, n=n, ci=ci, **rest)


def falling(steps: int = 100, first: float = 2.3, last: float = 0.5) -> tuple[float, ...]:
    """A geometric descent with a small deterministic wobble."""
    rate = (last / first) ** (1 / (steps - 1))
    return tuple(first * rate**i * (1 + 0.01 * math.sin(2.4 * i)) for i in range(steps))


def flat(steps: int = 100, level: float = 2.3) -> tuple[float, ...]:
    return tuple(level + 0.01 * math.sin(2.4 * i) for i in range(steps))


def course(kind: str, losses: Sequence[float | None], **rest: Any) -> dict[str, Any]:
    """The fields of Observations that a loss series fills, with the class it was given."""
    known = [loss for loss in losses if loss is not None]
    values: dict[str, Any] = {
        "rate_class": "",
        "rate": None,
        "noise": 0.02,
        "first": known[0],
        "last": known[-1],
        **rest,
    }
    steps = len(losses)
    return {
        "steps": steps,
        "series": Series(
            loss=tuple(losses),
            gradient_norm=(1.0,) * steps,
            learning_rate=(1e-3,) * steps,
            seconds=(0.01,) * steps,
        ),
        "convergence": Convergence(kind=kind, steps=steps, **values),
    }


def cross_entropy(initial: float = 2.31, **rest: Any) -> LossFunction:
    values: dict[str, Any] = {
        "function": "cross_entropy",
        "calls": 8,
        "initial": number(initial, margin=0.02),
        "uninformed": number(2.29),
        "uniform": number(LN_10),
        "classes": 10,
        "reduction": "mean",
        "input_shape": (64, 10),
        "target_shape": (64,),
        "broadcast": None,
        "rows_sum_to_one": 0.0,
        "values_in_unit_interval": 0.0,
        "rows_log_probabilities": 0.0,
        "place": place(30),
    }
    return LossFunction(**{**values, **rest})


def parameter(name: str = "fc1.weight", **rest: Any) -> Parameter:
    values: dict[str, Any] = {
        "module": name.rpartition(".")[0],
        "cls": "Linear",
        "shape": (128, 64),
        "requires_grad": True,
        "weight_rms": 0.0722,
        "grad_rms": 1e-3,
        "missing": False,
        "zero": False,
        "registered": True,
        "optimized": True,
        "symmetric": False,
        "depth": 0,
        "batches": 8,
        "place": place(12),
    }
    return Parameter(name=name, **{**values, **rest})


def activation(module: str = "relu1", **rest: Any) -> Activation:
    values: dict[str, Any] = {
        "cls": "ReLU",
        "kind": "relu",
        "depth": 1,
        "units": 128,
        "samples": 512,
        "dead_fraction": 0.02,
        "saturated_fraction": None,
        "mean": 0.4,
        "rms": 0.6,
        "place": place(13),
    }
    return Activation(module=module, **{**values, **rest})


def flow(factor: float, layers: int, *, cls: str = "Linear", margin: float = 0.02) -> GradientFlow:
    """A chain whose gradient is multiplied by ``factor`` per layer on its way to the input."""
    profile = tuple(
        LayerFlow(
            module=f"fc{i}",
            cls=cls,
            depth=i,
            output_rms=1.0,
            output_grad_rms=1e-2 * factor ** (layers - 1 - i),
            weight_rms=0.1,
            weight_grad_rms=1e-3 * factor ** (layers - 1 - i),
            place=place(10 + i),
        )
        for i in range(layers)
    )
    return GradientFlow(
        model="Net",
        layers=profile,
        slope=number(math.log(factor), n=layers, margin=margin),
        end_to_end=number(factor ** (layers - 1)),
        forward_end_to_end=number(1.0),
    )


def optimizer(cls: str = "Adam", **rest: Any) -> OptimizerUse:
    values: dict[str, Any] = {
        "id": 0,
        "groups": (ParameterGroup(1e-3, 4, 10_000),),
        "steps": 100,
        "accumulation": 1.0,
        "carried_gradient_steps": 0,
        "compared_steps": 24,
        "clipped": False,
        "uses_closure": False,
        "events": ("zero_grad", "backward", "step"),
        "place": place(20),
    }
    return OptimizerUse(cls=cls, **{**values, **rest})


def update(name: str = "fc1.weight", ratio: float = 3e-3, **rest: Any) -> UpdateRatio:
    values: dict[str, Any] = {
        "shape": (128, 64),
        "ratio": number(ratio, n=100, margin=0.1 * ratio),
        "largest": 2 * ratio,
        "optimizer": 0,
        "place": place(12),
    }
    return UpdateRatio(name=name, **{**values, **rest})


def curvature(headroom: float = 5.0, *, phase: str = "start", **rest: Any) -> Curvature:
    limit = StabilityLimit(
        optimizer=0,
        cls="SGD",
        learning_rate=0.1,
        preconditioned=rest.pop("preconditioned", False),
        limit=number(0.1 * headroom),
        headroom=number(headroom, margin=0.01 * headroom),
        place=place(20),
    )
    values: dict[str, Any] = {
        "method": "double backward",
        "parameters": 10_000,
        "largest": number(10.0),
        "smallest": number(-4.0, margin=0.1),
        "gradient_condition": number(20.0, margin=1.0),
        "gradient_norm": 1.0,
        "consistency": 1e-4,
        "products": 40,
        "limits": (limit,),
    }
    return Curvature(phase=phase, **{**values, **rest})


def dependence(response: float | None = 0.8, leak: float | None = 0.0) -> SampleDependence:
    """A model whose output moves with its input, and whose samples leak by ``leak``."""
    return SampleDependence(
        model="",
        input_response=Measurement(response, n=64),
        leak=None if leak is None else Measurement(leak, n=63),
        dimension=None if leak is None else 0,
        batch_size=64,
        place=place(8),
    )


def healthy(**changes: Any) -> Observations:
    """A digits classifier that trains well, with ``changes``."""
    values: dict[str, Any] = {
        "script": SCRIPT,
        "seconds": 3.0,
        "backwards": 108,
        "activations": (activation(),),
        "gradient_flow": (flow(0.9, 8),),
        "parameters": (
            parameter("fc1.weight"),
            parameter("fc1.bias", shape=(128,), weight_rms=0.07),
            parameter("fc2.weight", shape=(10, 128), depth=2, weight_rms=0.051),
        ),
        "losses": (cross_entropy(),),
        "optimizers": (optimizer(),),
        "updates": (update(), update("fc2.weight", shape=(10, 128))),
        "curvature": (curvature(),),
        "overfit": OverfitOneBatch(
            attempts=(OverfitAttempt("SGD", 0.1, 25, 2.3, 0.05, 0.02, True, True),),
            floor=0.0,
            planned=200,
            outcome="fits",
            parameters=9_610,
            targets=64,
        ),
        "sample_dependence": (dependence(),),
        "gradient_noise": GradientNoise(
            scale=Measurement(80.0, unit="samples", n=32, ci=(60.0, 110.0)),
            at_least=False,
            batch_size=64,
            step_size=64,
            gradients=32,
            optimizer=0,
            cls="SGD",
            rate_in_use=0.1,
            place=place(21),
        ),
        "graph_growth": GraphGrowth(alive=(0, *([1] * 107)), nodes=(12,) * 32),
        "baseline": number(2.29),
        **course("converging", falling()),
    }
    return observations(**{**values, **changes})


def found(rule: Rule, seen: Observations) -> list[Finding]:
    return list(rule.measured(seen))


def severities(rule: Rule, seen: Observations) -> list[Severity]:
    return [finding.severity for finding in rule.measured(seen)]
