"""What kind of run was observed: questions several measured rules ask before they judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convlint.rules.patterns.figures import finite, middle, surely_below

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import Observations, Parameter

__all__ = [
    "CLASSIFICATION",
    "closed_gates",
    "has_moving_objective",
    "has_several_optimizers",
    "improves",
    "is_classification",
    "is_frozen_below",
    "is_warming_up",
    "is_weight",
    "knows_already",
    "symmetric_weights",
    "uses_line_search",
]

WARM_UP_RISE = 1.5
"""A learning rate that ends the horizon this many times above where it began is being warmed up;
what the steps did says little of the run to come."""
ENDS = 3
"""Steps behind the first level of the loss: a median of three drops one odd batch."""
GAINED = 0.02
"""Share of the first loss; less is within what single batches differ by."""
KNOWS_ALREADY = 0.9
"""An initial loss below this share of the constant predictor's loss means the parameters were
trained before: an untrained network cannot know more than the label frequencies."""

CLASSIFICATION = frozenset(
    {"cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"}
)
"""Losses against fixed labels, whose uninformed value does not depend on the targets' scale."""


def has_several_optimizers(seen: Observations) -> bool:
    """Whether losses of several players alternate (GAN, actor and critic): the series is mixed."""
    return "several optimizers" in seen.recognised


def has_moving_objective(seen: Observations) -> bool:
    """Whether the level of the loss says nothing: it is several players' loss, or measured
    against targets that training moves (reinforcement learning, a target network)."""
    return has_several_optimizers(seen) or "moving targets" in seen.recognised


def uses_line_search(seen: Observations) -> bool:
    """Whether LBFGS sets its own step lengths and evaluates the loss at trial points."""
    return "LBFGS" in seen.recognised


def is_warming_up(seen: Observations) -> bool:
    """Whether the learning rate rose over the horizon."""
    rates = [rate for rate in finite(seen.series.learning_rate) if rate > 0]
    return len(rates) > 1 and rates[-1] > WARM_UP_RISE * rates[0]


def improves(seen: Observations) -> bool:
    """Whether the loss goes down: by its class, and by what it gained since the first steps.

    A loss that is thrown up and comes back to where it began converges, and has gained nothing.
    """
    losses = finite(seen.series.loss)
    if seen.convergence is None or seen.convergence.kind not in ("converging", "slow"):
        return False
    if len(losses) < 2 * ENDS:
        return True
    first = middle(losses[:ENDS])
    start = min(first, losses[0])
    return middle(losses[-max(ENDS, len(losses) // 10) :]) < start - GAINED * abs(start)


def knows_already(seen: Observations) -> bool:
    """Whether the model beat the constant predictor before its first step (it was pre-trained)."""
    return any(
        loss.back_propagated
        and loss.uninformed.value is not None
        and loss.uninformed.value > 0
        and surely_below(loss.initial, KNOWS_ALREADY * loss.uninformed.value)
        for loss in seen.losses
    )


def is_weight(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is a weight matrix or kernel: two dimensions or more.

    Biases and the scale and shift of normalisation layers live on their own scale, often start
    at zero, and are judged by no threshold on weights.
    """
    return len(shape) >= 2 and not name.endswith("bias")


def closed_gates(seen: Observations) -> tuple[Parameter, ...]:
    """Trainable scales and weights that start at zero by design and receive a gradient.

    A zero-initialised last layer, a zero residual gain, the B factor of LoRA: while they are
    zero nothing flows back through them, and they open with the first step.
    """
    return tuple(
        parameter
        for parameter in seen.parameters
        if parameter.requires_grad
        and parameter.weight_rms == 0.0
        and parameter.grad_rms
        and not parameter.missing
        and not parameter.name.rsplit(".", 1)[-1].startswith(("bias", "beta"))
    )


def is_frozen_below(depth: int, seen: Observations) -> bool:
    """Whether the layer feeding ``depth`` is frozen: a pre-trained part the run does not change."""
    frozen = [p.depth for p in seen.parameters if not p.requires_grad and p.depth >= 0]
    return bool(frozen) and depth <= max(frozen) + 1


def symmetric_weights(seen: Observations) -> tuple[Parameter, ...]:
    """Weights all of whose units are copies, in values and in gradients.

    A weight with zero gradient behind a closed gate is not judged: its gradient is equal only
    because there is none yet.
    """
    gates = closed_gates(seen)
    return tuple(
        parameter
        for parameter in seen.parameters
        if parameter.symmetric
        and parameter.requires_grad
        and not parameter.missing
        and is_weight(parameter.name, parameter.shape)
        and parameter.shape[0] >= 2
        and parameter.name.rsplit(".", 1)[-1].startswith("weight")
        and "Embedding" not in parameter.cls
        and (parameter.grad_rms or not gates)
    )


def is_classification(seen: Observations) -> bool:
    """Whether every back-propagated loss function compares with labels."""
    functions = [loss.function for loss in seen.losses if loss.back_propagated]
    return bool(functions) and all(function in CLASSIFICATION for function in functions)
