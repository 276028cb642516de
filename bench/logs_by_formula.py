"""Training logs by formula whose verdict is known, for ``bench/curve_verdicts.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convlint.report.logged import HEALTHY, UNDETERMINED

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Series = NDArray[np.float64]
    Table = dict[str, Series]


def columns(**values: Series) -> Table:
    """A table by column."""
    return values


def healthy_epochs(random: Generator) -> Table:
    k = np.arange(40.0)
    loss = 0.1 + 2.0 * 0.9**k
    return columns(
        epoch=k,
        loss=loss + 0.01 * random.normal(size=40),
        val_loss=loss + 0.1 + 0.02 * random.normal(size=40),
    )


def healthy_power_law(random: Generator) -> Table:
    k = np.arange(2000.0)
    return columns(
        step=10 * k, loss=1.7 + 8.0 * (k + 3.0) ** -0.5 + 0.05 * random.normal(size=2000)
    )


def healthy_noisy_batches(random: Generator) -> Table:
    k = np.arange(3000.0)
    level = 0.3 + 2.0 * np.exp(-k / 700.0)
    return columns(step=k, train_loss=level * random.gamma(16.0, 1.0 / 16.0, size=3000))


def healthy_steps_of_rate(random: Generator) -> Table:
    k = np.arange(90.0)
    loss = np.where(
        k < 30,
        1.0 + 1.3 * 0.8**k,
        np.where(k < 60, 0.5 + 0.3 * 0.8 ** (k - 30), 0.35 + 0.1 * 0.8 ** (k - 60)),
    )
    rate = np.where(k < 30, 0.1, np.where(k < 60, 0.01, 0.001))
    return columns(
        epoch=k,
        loss=loss + 0.02 * random.normal(size=90),
        val_loss=loss + 0.15 + 0.03 * random.normal(size=90),
        lr=rate,
    )


def healthy_warm_restarts(random: Generator) -> Table:
    k = np.arange(300.0)
    phase = (k % 60) / 60
    rate = 0.1 * 0.5 * (1 + np.cos(np.pi * phase)) + 1e-4
    base = 0.3 + 2.0 * np.exp(-k / 80.0)
    return columns(step=k, loss=base * (1.0 + 4.0 * rate) + 0.01 * random.normal(size=300), lr=rate)


def healthy_adversarial(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(
        step=k,
        loss_d=0.7 + 0.3 * np.sin(k / 15.0) + 0.1 * random.normal(size=400),
        loss_g=1.0 + k / 150.0 + 0.2 * random.normal(size=400),
    )


def healthy_reinforcement(random: Generator) -> Table:
    k = np.arange(300.0)
    return columns(
        step=k,
        loss=0.1 + k / 300.0 + 0.1 * random.normal(size=300),
        policy_loss=0.05 * random.normal(size=300),
        mean_reward=200.0 * (1 - np.exp(-k / 80.0)) + 10 * random.normal(size=300),
    )


def healthy_fine_tuning(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(step=k, loss=2.1 + 0.12 * np.exp(-k / 60.0) + 0.1 * random.normal(size=400))


def healthy_one_spike(random: Generator) -> Table:
    k = np.arange(600.0)
    loss = 0.5 + 2.5 * 0.99**k + 0.02 * random.normal(size=600)
    loss[300] += 2.0
    return columns(step=k, loss=loss)


def healthy_early_stopped(random: Generator) -> Table:
    k = np.arange(45.0)
    loss = 0.1 + 2.0 * 0.9**k
    return columns(
        epoch=k,
        loss=loss + 0.005 * random.normal(size=45),
        val_loss=loss + 0.2 + 0.012 * np.maximum(0.0, k - 37) + 0.01 * random.normal(size=45),
    )


def healthy_score_still_improves(random: Generator) -> Table:
    k = np.arange(40.0)
    loss = 0.02 + 2.0 * 0.85**k
    return columns(
        epoch=k,
        loss=loss + 0.003 * random.normal(size=40),
        val_loss=loss + 0.3 + 0.012 * np.maximum(0.0, k - 15) + 0.005 * random.normal(size=40),
        val_accuracy=0.9 - 0.5 * 0.93**k + 0.001 * random.normal(size=40),
    )


def healthy_skipped_steps(random: Generator) -> Table:
    k = np.arange(500.0)
    loss = 0.4 + 2.0 * 0.99**k + 0.05 * random.normal(size=500)
    loss[[3, 90, 210]] = np.nan
    return columns(step=k, loss=loss)


def healthy_resumed(random: Generator) -> Table:
    k = np.concatenate([np.arange(300.0), np.arange(280.0, 600.0)])
    return columns(step=k, loss=0.4 + 2.0 * 0.99**k + 0.03 * random.normal(size=k.size))


def healthy_likelihood(random: Generator) -> Table:
    k = np.arange(300.0)
    return columns(step=k, nll_loss=-40.0 + 60.0 * 0.98**k + 0.5 * random.normal(size=300))


def healthy_small_errors(random: Generator) -> Table:
    k = np.arange(200.0)
    mse = 1e-6 + 1e-3 * 0.96**k
    return columns(epoch=k, mse=mse * random.gamma(100.0, 0.01, size=200), val_mse=mse * 1.2)


def healthy_validation_noise(random: Generator) -> Table:
    k = np.arange(20.0)
    loss = 0.5 + 1.5 * 0.85**k
    return columns(
        epoch=k,
        train_loss=loss,
        valid_loss=loss + 0.1 + 0.08 * random.normal(size=20),
    )


def healthy_alternating_tasks(random: Generator) -> Table:
    k = np.arange(300.0)
    first = 0.5 + 2.0 * np.exp(-k / 80.0) + 0.05 * random.normal(size=300)
    second = 0.1 + 0.8 * np.exp(-k / 60.0) + 0.02 * random.normal(size=300)
    return columns(step=k, loss=np.where(k % 2 == 0, first, second))


def undetermined_levels(random: Generator) -> Table:
    k = np.arange(150.0)
    return columns(step=k, loss=2.0 + 0.7 * (-1.0) ** k + 0.1 * random.normal(size=150))


def overfitting_steadily(random: Generator) -> Table:
    k = np.arange(60.0)
    loss = 2.0 * 0.92**k
    return columns(
        epoch=k,
        loss=loss + 0.005 * random.normal(size=60),
        val_loss=0.4
        + 1.6 * 0.8**k
        + 0.02 * np.maximum(0.0, k - 12)
        + 0.02 * random.normal(size=60),
    )


def overfitting_soon(random: Generator) -> Table:
    k = np.arange(12.0)
    return columns(
        epoch=k,
        train_loss=1.5 * 0.6**k + 0.002 * random.normal(size=12),
        val_loss=np.array([1.2, 0.95, 0.85, 0.9, 0.98, 1.07, 1.18, 1.29, 1.4, 1.52, 1.66, 1.8])
        + 0.01 * random.normal(size=12),
    )


def overfitting_by_steps(random: Generator) -> Table:
    k = np.arange(3000.0)
    loss = 0.05 + 2.5 * np.exp(-k / 500.0)
    validation = 0.9 + 1.6 * np.exp(-k / 300.0) + 0.4 * np.maximum(0.0, k - 900) / 1000
    return columns(
        step=k,
        train_loss=loss * random.gamma(25.0, 0.04, size=3000),
        eval_loss=np.where(k % 100 == 99, validation + 0.02 * random.normal(size=3000), np.inf),
    )


def diverged_to_nan(random: Generator) -> Table:
    k = np.arange(200.0)
    loss = 2.3 * 0.99**k + 0.05 * random.normal(size=200)
    loss[120:] = np.nan
    return columns(step=k, loss=loss)


def diverged_exponentially(random: Generator) -> Table:
    k = np.arange(80.0)
    return columns(step=k, loss=2.0 * 1.08**k * random.gamma(100.0, 0.01, size=80))


def diverged_thrown(random: Generator) -> Table:
    k = np.arange(200.0)
    loss = np.where(k < 5, 2.3, 8.0 + 12.0 * np.exp(-(k - 5) / 60.0))
    return columns(step=k, train_loss=loss + 0.3 * random.normal(size=200))


def diverged_late(random: Generator) -> Table:
    k = np.arange(400.0)
    loss = np.where(k < 200, 0.5 + 2.0 * 0.98**k, 0.55 + 0.02 * (k - 200))
    return columns(step=k, loss=loss + 0.03 * random.normal(size=400))


def underfitting_by_score(random: Generator) -> Table:
    k = np.arange(100.0)
    return columns(
        epoch=k,
        loss=2.303 + 0.004 * random.normal(size=100),
        accuracy=0.1 + 0.004 * random.normal(size=100),
    )


def underfitting_two_classes(random: Generator) -> Table:
    k = np.arange(60.0)
    return columns(
        epoch=k,
        loss=0.694 + 0.01 * 0.8**k + 0.001 * random.normal(size=60),
        val_loss=0.695 + 0.002 * random.normal(size=60),
        val_acc=0.5 + 0.01 * random.normal(size=60),
    )


def oscillating_in_twos(random: Generator) -> Table:
    k = np.arange(150.0)
    # Steps that are too long by little: the bounce grows until the curve holds it.
    swing = 0.7 * np.minimum(k / 15.0, 1.0) * (-1.0) ** k
    return columns(step=k, loss=2.0 + swing + 0.1 * random.normal(size=150))


def oscillating_slowly(random: Generator) -> Table:
    k = np.arange(300.0)
    return columns(
        step=k, train_loss=1.5 + 0.8 * np.sin(2 * np.pi * k / 12.5) + 0.1 * random.normal(size=300)
    )


def oscillating_erratically(random: Generator) -> Table:
    k = np.arange(200.0)
    return columns(step=k, loss=random.uniform(0.3, 6.0, size=200))


def too_slow(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(step=k, loss=2.3 * 0.99992**k + 0.002 * random.normal(size=400))


def spiky_thrice(random: Generator) -> Table:
    k = np.arange(800.0)
    loss = 0.4 + 2.0 * 0.99**k + 0.02 * random.normal(size=800)
    for at in (300, 420, 560, 700):
        loss[at : at + 6] += 2.5 * 0.6 ** np.arange(6.0)
    return columns(step=k, loss=loss)


def spiky_and_slow_to_heal(random: Generator) -> Table:
    k = np.arange(800.0)
    loss = 0.4 + 2.0 * 0.99**k + 0.02 * random.normal(size=800)
    loss[400:] += 2.5 * 0.97 ** np.arange(400.0)
    return columns(step=k, loss=loss)


def plateaued_for_long(random: Generator) -> Table:
    k = np.arange(400.0)
    return columns(step=k, loss=0.3 + 2.0 * 0.95**k + 0.01 * random.normal(size=400))


def plateaued_with_validation(random: Generator) -> Table:
    k = np.arange(120.0)
    loss = 0.25 + 1.8 * 0.88**k
    return columns(
        epoch=k,
        loss=loss + 0.01 * random.normal(size=120),
        val_loss=loss + 0.1 + 0.01 * random.normal(size=120),
    )


BY_FORMULA: dict[str, tuple[str, Callable[[Generator], Table], dict[str, float]]] = {
    maker.__name__: (truth, maker, known)
    for truth, known, makers in (
        (
            HEALTHY,
            {},
            (
                healthy_epochs, healthy_power_law, healthy_noisy_batches, healthy_steps_of_rate,
                healthy_warm_restarts, healthy_fine_tuning, healthy_one_spike,
                healthy_early_stopped,
                healthy_score_still_improves, healthy_skipped_steps, healthy_resumed,
                healthy_likelihood, healthy_small_errors, healthy_validation_noise,
            ),
        ),
        # Losses of a game, or against moving targets, say nothing.
        (UNDETERMINED, {}, (healthy_adversarial, healthy_reinforcement)),
        ("overfitting", {}, (overfitting_steadily, overfitting_soon, overfitting_by_steps)),
        (
            "diverged",
            {},
            (diverged_to_nan, diverged_exponentially, diverged_thrown, diverged_late),
        ),
        ("underfitting", {}, (underfitting_by_score, underfitting_two_classes)),
        (
            "oscillating",
            {},
            (oscillating_in_twos, oscillating_slowly, oscillating_erratically),
        ),
        ("too slow", {"planned_steps": 1000.0}, (too_slow,)),
        ("spiky", {}, (spiky_thrice, spiky_and_slow_to_heal)),
        ("plateaued", {}, (plateaued_for_long, plateaued_with_validation)),
        (HEALTHY, {}, (healthy_alternating_tasks,)),
        # Two losses under one name, or one that bounces: from the first value on they look the same.
        (UNDETERMINED, {}, (undetermined_levels,)),
    )
    for maker in makers
}  # fmt: skip
