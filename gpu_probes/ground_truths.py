"""Measurements whose answer is known beforehand: closed forms, certificates, exact replays.

They run with the code a probe runs, on the device a probe would use, so that a device, driver or
version of torch that computes something else is noticed before its measurements are believed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import NormalDist, mean
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.backends import multi_tensor_statistics, numpy_reference
from convlint.gpu_probes.curvature.measure import measure_curvature
from convlint.gpu_probes.horizon.noise_scale import Steps, gradient_noise
from convlint.gpu_probes.quantities.activations import ActivationRecorder
from convlint.gpu_probes.quantities.gradient_flow import GradientFlowRecorder
from convlint.gpu_probes.quantities.initial_loss import LossRecorder
from convlint.gpu_probes.quantities.non_finite_origin import backward_origin, forward_origin
from convlint.gpu_probes.quantities.updates import UpdateRecorder
from convlint.gpu_probes.quantities.wiring import sample_dependence
from convlint.gpu_probes.tape import Change, TapeRecorder
from convlint.gpu_probes.tape.trajectory import Start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from convlint.gpu_probes.tape import Tape

__all__ = ["GROUND_TRUTHS", "GroundTruth", "Outcome", "check"]

WIDTH, DEPTH, BATCH, DRAWS = 256, 20, 64, 3
SECONDS_FOR_CURVATURE = 60.0


@dataclass(frozen=True)
class GroundTruth:
    """A quantity with its ``expected`` value, the ``tolerance`` (absolute), why it is as wide, and
    how it is ``measured`` on a device."""

    name: str
    expected: float
    tolerance: float
    reason: str
    measured: Callable[[torch.device], float]


@dataclass(frozen=True)
class Outcome:
    """What came out of one ground truth; ``measured`` is None and ``error`` says why where the
    measurement itself failed."""

    truth: GroundTruth
    measured: float | None
    seconds: float
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether the measured value is the expected one, within the tolerance."""
        if self.measured is None:
            return False
        return abs(self.measured - self.truth.expected) <= self.truth.tolerance


def check(device: torch.device) -> Iterator[Outcome]:
    """Measure every ground truth on ``device``, one after another; a failure is an outcome too."""
    for truth in GROUND_TRUTHS:
        started = time.perf_counter()
        measured, error = None, ""
        try:
            measured = truth.measured(device)
        except Exception as failure:  # whatever the device does wrong is what is asked for
            said = str(failure).strip().splitlines()
            error = f"{type(failure).__name__}: {said[0] if said else ''}"
        yield Outcome(truth, measured, time.perf_counter() - started, error)


def _normal(*shape: int, device: torch.device, seed: int = 0) -> torch.Tensor:
    """The same numbers on every device."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def _statistics(device: torch.device) -> float:
    tensors = [_normal(70_001, device=device), _normal(3, 5, 7, device=device, seed=1)]
    tensors.append(torch.tensor([math.nan, math.inf, 0.0, 1e-40, 3.0], device=device))
    seen = multi_tensor_statistics(tensors).table.cpu()
    true = numpy_reference.multi_tensor_statistics(tensors).table
    known = true.isfinite()
    if not torch.equal(known, seen.isfinite()):
        return math.inf
    return float(((seen - true).abs() / true.abs().clamp(min=1.0))[known].max())


def _slope(
    scale: float, activation: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[torch.device], float]:
    def measured(device: torch.device) -> float:
        slopes = []
        for draw in range(DRAWS):
            recorder = GradientFlowRecorder()
            hidden = _normal(BATCH, WIDTH, device=device, seed=100 * draw)
            for layer in range(DEPTH):
                weight = _normal(WIDTH, WIDTH, device=device, seed=100 * draw + layer + 1)
                weight = weight * scale / math.sqrt(WIDTH)
                output = hidden @ weight.requires_grad_().T
                recorder.forward(str(layer), "Linear", layer, output, None)
                hidden = activation(output) if layer < DEPTH - 1 else output
            end = (hidden * _normal(BATCH, WIDTH, device=device, seed=100 * draw + 99)).sum()
            torch.autograd.backward(end)
            flow = recorder.results("model", {})
            slopes.append(math.nan if flow is None else flow.slope.value or math.nan)
        return mean(slopes)

    return measured


def _initial_loss(device: torch.device) -> float:
    scores = torch.zeros(512, 65, device=device, requires_grad=True)
    labels = (torch.arange(512) % 65).to(device)
    recorder = LossRecorder()
    loss = F.cross_entropy(scores, labels)
    recorder.observe("cross_entropy", scores, labels, {}, None, loss)
    (seen,) = recorder.results()
    return seen.initial.value or math.nan


def _saturated(device: torch.device) -> float:
    given = 5.0 * _normal(1, 100_000, device=device)
    recorder = ActivationRecorder()
    recorder.observe("layer", "Tanh", "tanh", 0, given, torch.tanh(given), None)
    (seen,) = recorder.results()
    return math.nan if seen.saturated_fraction is None else seen.saturated_fraction


def _dead(device: torch.device) -> float:
    given = _normal(400, 64, device=device)
    given[:, :16] -= 10.0
    recorder = ActivationRecorder()
    recorder.observe("layer", "ReLU", "relu", 0, given, torch.relu(given), None)
    (seen,) = recorder.results()
    return math.nan if seen.dead_fraction is None else seen.dead_fraction


def _adam_step(device: torch.device) -> float:
    uniform = (torch.rand(64, 300, generator=_generator()) * 2 - 1) / math.sqrt(300)
    weight = nn.Parameter(uniform.to(device))
    optimizer = torch.optim.Adam([weight], lr=1e-3)
    recorder = UpdateRecorder(lambda tensor: ("weight", None))
    torch.autograd.backward((_normal(32, 300, device=device) @ weight.T).square().mean())
    recorder.before_step(optimizer, 0)
    optimizer.step()
    recorder.after_step(optimizer)
    (seen,) = recorder.results()
    return seen.ratio.value or math.nan


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _quadratic(device: torch.device) -> tuple[nn.Parameter, Callable[[], torch.Tensor], float]:
    """Linear regression, whose Hessian is 2 / N XᵀX whatever the parameters are."""
    x = _normal(200, 12, device=device) * torch.linspace(0.5, 3.0, 12).to(device)
    y = _normal(200, device=device, seed=9)
    weight = nn.Parameter(torch.zeros(12, device=device))
    double = x.double()
    largest = float(torch.linalg.eigvalsh(2.0 / 200 * double.T @ double)[-1])
    return weight, lambda: (x @ weight - y).square().mean(), largest


def _curvature(momentum: float | None) -> Callable[[torch.device], float]:
    def measured(device: torch.device) -> float:
        weight, loss, largest = _quadratic(device)
        optimizer = torch.optim.SGD([weight], lr=0.01, momentum=momentum or 0.0)
        seen = measure_curvature(
            loss(),
            [weight],
            [optimizer],
            phase="start",
            deadline=time.monotonic() + SECONDS_FOR_CURVATURE,
        )
        if momentum is None:
            return (seen.largest.value or math.nan) / largest
        return (seen.limits[0].limit.value or math.nan) * largest

    return measured


def _network(device: torch.device) -> tuple[nn.Module, torch.Tensor]:
    model = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 3))
    for number, parameter in enumerate(model.parameters()):
        parameter.data = 0.3 * _normal(*parameter.shape, device=device, seed=number)
    return model.to(device), _normal(64, 12, device=device, seed=50)


def _replayed(device: torch.device) -> float:
    """Largest difference of the loss and its gradients to a replay of the tape."""
    model, x = _network(device)
    recorder = TapeRecorder()
    with recorder:
        loss = F.cross_entropy(model(x), x[:, :3].argmax(dim=1))
    tape = recorder.finish(loss)
    again, gradients = tape.gradients()
    true = torch.autograd.grad(loss, tape.parameters)
    differences = [(again - loss).abs()]
    differences += [
        (g - t).abs().max() for g, t in zip(gradients, true, strict=True) if g is not None
    ]
    return float(torch.stack([d.detach() for d in differences]).max())


def _replayed_in_double(device: torch.device) -> float:
    model, x = _network(device)
    recorder = TapeRecorder()
    with recorder:
        loss = F.cross_entropy(model(x), x[:, :3].argmax(dim=1))
    double = recorder.finish(loss).loss(change=Change(dtype=torch.float64))
    true = loss.detach().double()
    return float((double.detach() - true).abs() / true.abs())


def _tape(device: torch.device, compute: Callable[[torch.Tensor], torch.Tensor]) -> Tape:
    weight = nn.Parameter(torch.zeros(4, device=device))
    recorder = TapeRecorder()
    with recorder:
        loss = compute(weight)
    return recorder.finish(loss)


def _origins(device: torch.device) -> float:
    """How many of three faults are traced to their operation."""
    forward = forward_origin(_tape(device, lambda w: (0 * torch.log(w)).sum()))
    overflow = forward_origin(_tape(device, lambda w: torch.exp(w + 100).sum()))
    backward = backward_origin(_tape(device, lambda w: torch.sqrt(w.square().sum())))
    found = [
        (o.operation.name, o.cause) for o in (forward, overflow, backward) if o and o.operation
    ]
    known = [("log", "domain error"), ("exp", "overflow"), ("sqrt", "infinite derivative")]
    return float(sum((f"aten::{name}", cause) in found for name, cause in known))


def _leak(device: torch.device) -> float:
    x = _normal(6, 4, device=device)
    weight = nn.Parameter(torch.ones(1, device=device))
    recorder = TapeRecorder()
    with recorder:
        scaled = weight * x
        output = scaled - scaled.mean(dim=0)
        loss = output.square().sum()
    given, got = recorder.value_of(x), recorder.value_of(output)
    assert given is not None
    assert got is not None
    seen = sample_dependence(
        recorder.finish(loss),
        "",
        {"x": given},
        (got,),
        batch_size=6,
        batch_statistics="",
        place=None,
    )
    return math.nan if seen is None or seen.leak is None else seen.leak.value or 0.0


def _noise_scale(device: torch.device) -> float:
    """½(xᵀδ - ε)² with x ~ N(0, I₂₀), ε ~ N(0, ¼), |δ| = 1: McCandlish et al. 2018 in closed form."""
    weight = nn.Parameter(torch.zeros(20, device=device))
    weight.data[0] = 1.0
    tapes = []
    for batch in range(64):
        x = _normal(16, 20, device=device, seed=2 * batch)
        noise = 0.5 * _normal(16, device=device, seed=2 * batch + 1)
        recorder = TapeRecorder()
        with recorder:
            loss = 0.5 * (x @ weight - noise).square().mean()
        tapes.append(recorder.finish(loss))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    steps = Steps(0, "SGD", adaptive=False, rate=0.1, batch_size=16)
    deadline = time.monotonic() + SECONDS_FOR_CURVATURE
    seen = gradient_noise(Start(optimizer), tapes, steps, deadline=deadline)
    return math.nan if seen is None else seen.scale.value or math.nan


_SATURATED_TANH = 2 * NormalDist().cdf(-2.178 / 5.0)

GROUND_TRUTHS = (
    GroundTruth(
        "statistics of tensors against NumPy, relative error", 0.0, 1e-6,
        "both add in float64, in another order", _statistics,
    ),
    GroundTruth(
        "gradient flow of a linear chain, ln 0.8 a layer", math.log(0.8), 0.02,
        "three draws of width 256", _slope(0.8, lambda x: x),
    ),
    GroundTruth(
        "gradient flow of ReLU layers by He, 0 a layer", 0.0, 0.02,
        "three draws of width 256", _slope(math.sqrt(2.0), torch.relu),
    ),
    GroundTruth(
        "initial loss of equal scores for 65 classes, ln 65", math.log(65), 1e-6 * math.log(65),
        "rounding of float32", _initial_loss,
    ),
    GroundTruth(
        "tanh units of N(0, 25) in the flat tails", _SATURATED_TANH, 0.01,
        "100,000 units", _saturated,
    ),
    GroundTruth("ReLU units 10 σ below zero, 16 of 64", 0.25, 0.0, "exact", _dead),
    GroundTruth(
        "first step of Adam over the weight, lr √(3 · 300)", 1e-3 * math.sqrt(900), 6e-4,
        "2 %: the rms of 19,200 uniform weights", _adam_step,
    ),
    GroundTruth(
        "largest Hessian eigenvalue over that of 2/N XᵀX", 1.0, 1e-2,
        "Lanczos stops at this residual", _curvature(None),
    ),
    GroundTruth(
        "stable rate of SGD times the eigenvalue", 2.0, 2e-2,
        "Lanczos stops at a residual of 1 %", _curvature(0.0),
    ),
    GroundTruth(
        "stable rate of momentum 0.9 times the eigenvalue", 3.8, 3.8e-2,
        "Lanczos stops at a residual of 1 %", _curvature(0.9),
    ),
    GroundTruth(
        "gradient noise scale of linear regression, 21 + 20/4", 26.0, 4.0,
        "64 batches of 16: 98 % of the draws", _noise_scale,
    ),
    GroundTruth(
        "replay of a recorded step, loss and gradients", 0.0, 0.0, "to the bit", _replayed
    ),
    GroundTruth(
        "replay in float64, relative difference of the loss", 0.0, 1e-6,
        "rounding of float32", _replayed_in_double,
    ),
    GroundTruth("origins of NaN and infinity found, of 3", 3.0, 0.0, "exact", _origins),
    GroundTruth(
        "leak through a mean over 6 samples, 1/5", 0.2, 2e-6, "rounding of float32", _leak
    ),
)  # fmt: skip
