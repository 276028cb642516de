"""Curvature measured inside a training step, and what it leaves untouched."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlint.gpu_probes.curvature.measure import measure_curvature
from convlint.gpu_probes.curvature.operator import CurvatureUnavailable, RetainedGraphHessian


def far():
    return time.monotonic() + 60.0


def small_cnn(dtype=torch.float32, extra=()):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), *extra, nn.Flatten(), nn.Linear(54, 10)
    ).to(dtype)


def batch(size=48, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(size, 1, 8, 8, generator=generator, dtype=torch.float64).to(dtype)
    return images, torch.randint(0, 10, (size,), generator=generator)


def dense_spectrum(loss, parameters):
    hessian = RetainedGraphHessian(loss, parameters)
    rows = [hessian(row) for row in torch.eye(hessian.dimension, dtype=torch.float64)]
    return torch.linalg.eigvalsh(torch.stack(rows))


def test_the_density_is_a_quadrature_of_the_whole_spectrum():
    model, (images, labels) = small_cnn(torch.float64), batch(dtype=torch.float64)
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(images), labels)
    seen = measure_curvature(loss, parameters, [], phase="start", deadline=far(), iterations=30)
    spectrum = dense_spectrum(F.cross_entropy(model(images), labels), parameters)
    values = torch.tensor([value for value, _ in seen.density], dtype=torch.float64)
    shares = torch.tensor([share for _, share in seen.density], dtype=torch.float64)
    assert shares.min() >= 0.0
    assert shares.sum().item() == pytest.approx(1.0, abs=1e-9)
    # One random vector estimates a mean over the spectrum to within its relative spread over the
    # square root of half the number of eigenvalues.
    for power in (1, 2):
        true = (spectrum**power).mean().item()
        error = (2.0 * (spectrum ** (2 * power)).mean().item() / len(spectrum)) ** 0.5
        assert (shares * values**power).sum().item() == pytest.approx(true, abs=3.0 * error)


@pytest.mark.parametrize("trained_steps", [0, 40])
def test_small_cnn_is_within_one_percent_of_the_explicit_hessian(trained_steps):
    model, (images, labels) = small_cnn(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(trained_steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    loss = F.cross_entropy(model(images), labels)
    seen = measure_curvature(
        loss, list(model.parameters()), [optimizer], phase="start", deadline=far()
    )
    reference_model = small_cnn(torch.float64)
    reference_model.load_state_dict(model.state_dict())
    reference_loss = F.cross_entropy(reference_model(images.double()), labels)
    spectrum = dense_spectrum(reference_loss, list(reference_model.parameters()))
    assert seen.largest.value == pytest.approx(float(spectrum[-1]), rel=1e-2)
    # The lower end crowds near zero; its interval is what is promised.
    low, high = seen.smallest.ci
    assert low <= float(spectrum[0]) + 1e-2 * float(spectrum[-1])
    assert float(spectrum[0]) <= high
    assert seen.limits[0].limit.value == pytest.approx(3.8 / float(spectrum[-1]), rel=1e-2)


def train(steps, measure):
    """Losses and final parameters of a run with dropout and batch norm."""
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 5)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    buffers = list(model.buffers())
    losses = []
    for _ in range(steps):
        x, y = torch.randn(16, 20), torch.randint(0, 5, (16,))
        state = torch.get_rng_state()
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        if measure:

            def again(x=x, y=y, state=state):
                torch.set_rng_state(state)
                return F.cross_entropy(model(x), y)

            before = [p.grad for p in model.parameters()]
            seen = measure_curvature(
                loss,
                list(model.parameters()),
                [optimizer],
                phase="start",
                deadline=far(),
                closure=again,
                buffers=buffers,
            )
            assert [p.grad for p in model.parameters()] == before
            assert seen.consistency is None or seen.consistency < 1e-2
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [t.clone() for t in model.state_dict().values()]


def test_training_is_bit_identical_with_and_without_the_measurement():
    plain_losses, plain_state = train(4, measure=False)
    losses, state = train(4, measure=True)
    assert losses == plain_losses
    assert all(torch.equal(a, b) for a, b in zip(state, plain_state, strict=True))


def test_loss_scale_is_divided_out():
    model, (images, labels) = small_cnn(), batch()
    parameters = list(model.parameters())
    loss = F.cross_entropy(model(images), labels)
    plain = measure_curvature(loss, parameters, [], phase="start", deadline=far())
    scaled = measure_curvature(
        1024.0 * F.cross_entropy(model(images), labels),
        parameters,
        [],
        phase="start",
        deadline=far(),
        loss_scale=1024.0,
    )
    assert scaled.largest.value == pytest.approx(plain.largest.value, rel=1e-4)
    assert scaled.gradient_norm == pytest.approx(plain.gradient_norm, rel=1e-4)


def test_double_backward_agrees_with_finite_differences_of_a_smooth_loss():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, y = torch.randn(32, 6, dtype=torch.float64), torch.randint(0, 3, (32,))
    loss = F.cross_entropy(model(x), y)
    seen = measure_curvature(
        loss,
        list(model.parameters()),
        [],
        phase="start",
        deadline=far(),
        closure=lambda: F.cross_entropy(model(x), y),
    )
    # Central differences in float64 at the chosen step are good to about 1e-8.
    assert seen.consistency is not None and seen.consistency < 1e-6


class StraightThrough(torch.autograd.Function):
    """Squares forward, twice the identity backward: the gradient of nothing."""

    @staticmethod
    def forward(ctx, x):
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return 2.0 * gradient


def test_straight_through_estimator_is_inconsistent():
    torch.manual_seed(4)
    first, second = nn.Linear(6, 8).double(), nn.Linear(8, 3).double()
    x, y = torch.randn(32, 6, dtype=torch.float64), torch.randint(0, 3, (32,))

    def loss():
        return F.cross_entropy(second(StraightThrough.apply(torch.tanh(first(x)))), y)

    seen = measure_curvature(
        loss(),
        [*first.parameters(), *second.parameters()],
        [],
        phase="start",
        deadline=far(),
        closure=loss,
    )
    assert seen.consistency is not None and seen.consistency > 1e-2


class Attention(nn.Module):
    """One fused attention over a short sequence."""

    def __init__(self):
        super().__init__()
        self.inward, self.outward = nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, x):
        q, k, v = self.inward(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.outward(mixed.transpose(1, 2).flatten(2)).mean(1)


def attention_problem():
    torch.manual_seed(5)
    model, x, y = Attention(), torch.randn(12, 6, 8), torch.randint(0, 4, (12,))
    return model, lambda: F.cross_entropy(model(x), y)


def test_fused_attention_without_a_closure_is_unavailable_with_the_reason():
    model, loss = attention_problem()
    with pytest.raises(CurvatureUnavailable, match="second derivative"):
        measure_curvature(loss(), list(model.parameters()), [], phase="start", deadline=far())


def test_fused_attention_is_measured_on_a_differentiable_re_run():
    model, loss = attention_problem()
    seen = measure_curvature(
        loss(), list(model.parameters()), [], phase="start", deadline=far(), closure=loss
    )
    assert "differentiable kernels" in seen.method
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = measure_curvature(
            loss(), list(model.parameters()), [], phase="start", deadline=far()
        )
    assert seen.largest.value == pytest.approx(expected.largest.value, rel=1e-4)


class OnceOnly(torch.autograd.Function):
    """A cube whose backward cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3.0 * x**2 * gradient


def test_finite_differences_serve_where_nothing_is_twice_differentiable():
    theta = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    kept = theta.detach().clone()

    def loss():
        return OnceOnly.apply(theta).sum() + (theta**2).sum()

    at_hand = loss()
    seen = measure_curvature(at_hand, [theta], [], phase="start", deadline=far(), closure=loss)
    assert seen.method == "finite differences of gradients"
    # H = diag(6θ + 2)
    assert seen.largest.value == pytest.approx(14.0, rel=1e-6)
    assert seen.smallest.value == pytest.approx(-4.0, rel=1e-6)
    assert torch.equal(theta.detach(), kept)
    at_hand.backward()
    assert torch.allclose(theta.grad, 3.0 * kept**2 + 2.0 * kept)


@pytest.mark.parametrize(
    ("make_loss", "reason"),
    [
        (lambda w: (w * float("nan")).sum(), "not finite"),
        (lambda w: w.detach().sum(), "does not require grad"),
        (lambda w: w * 2.0, "not a scalar"),
        (lambda w: (3.0 * w).sum(), "piecewise linear"),
    ],
)
def test_unusable_losses_are_refused_with_the_reason(make_loss, reason):
    weight = torch.ones(3, requires_grad=True)
    with pytest.raises(CurvatureUnavailable, match=reason):
        measure_curvature(make_loss(weight), [weight], [], phase="start", deadline=far())


def test_parameters_the_loss_does_not_reach_are_left_out():
    used = torch.ones(2, requires_grad=True)
    unused = torch.ones(5, requires_grad=True)
    seen = measure_curvature((used**4).sum(), [used, unused], [], phase="start", deadline=far())
    assert seen.parameters == 2
    assert seen.largest.value == pytest.approx(12.0, rel=1e-6)


def test_what_the_gradient_is_blind_to_is_found_from_a_random_start():
    """At a minimum along the steepest direction, and along one that curves downwards."""
    spectrum = torch.tensor([50.0, -20.0, 3.0, 1.0, 0.5, 0.1], dtype=torch.float64)
    theta = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    seen = measure_curvature(
        0.5 * (spectrum * theta**2).sum(), [theta], [], phase="start", deadline=far()
    )
    # Lanczos stops at a residual of 1e-2, which is an error of its square.
    assert seen.largest.value == pytest.approx(50.0, rel=1e-4)
    assert seen.smallest.value == pytest.approx(-20.0, rel=1e-3)
    # The gradient's own condition number knows nothing of them: most of it lies along 3.
    assert seen.gradient_condition.value == pytest.approx(1.0, rel=1e-4)


def test_gradient_condition_weighs_curvature_by_the_gradient():
    spectrum = torch.tensor([100.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    theta = torch.tensor([0.001, 1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    seen = measure_curvature(
        0.5 * (spectrum * theta**2).sum(), [theta], [], phase="start", deadline=far()
    )
    # Nearly all of the gradient lies along curvature 1.
    assert seen.gradient_condition.value == pytest.approx(100.0, rel=1e-6)


def test_passed_deadline_still_answers_and_says_that_it_did_not_converge():
    model, (images, labels) = small_cnn(), batch()
    seen = measure_curvature(
        F.cross_entropy(model(images), labels),
        list(model.parameters()),
        [torch.optim.Adam(model.parameters())],
        phase="start",
        deadline=time.monotonic(),
    )
    assert not seen.largest.converged
    assert seen.products <= 4
