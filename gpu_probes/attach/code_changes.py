"""What can be put right in the code of a run, by what its tapes and steps show."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from convlint.gpu_probes.horizon import rewritten_steps
from convlint.gpu_probes.horizon.counterfactuals import AS_IT_IS, Candidate, Setting
from convlint.gpu_probes.tape.trajectory import Course, Handling, RecordedStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from convlint.gpu_probes.attach.observer import Observer
    from convlint.gpu_probes.horizon.counterfactuals import CourseOf, Rewrite
    from convlint.gpu_probes.tape import Tape
    from convlint.gpu_probes.tape.trajectory import Start

_OFFSET, _RATIO = 3.0, 3.0
"""Inputs nearer to mean 0 and deviation 1 than this have nothing to gain from being standardised."""
_OFF_BY = 2.0
"""Factor between the spread of a weight and that of torch's own initialisation, from which on
drawing it anew is a change."""

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

_FAINT = "at the start the gradient of the first layers is faint"


def code_changes(
    observer: Observer,
    start: Start,
    training: Sequence[RecordedStep],
    held_out: Sequence[RecordedStep],
    setting: Setting,
) -> list[Candidate]:
    """The changes of the code that are changes at all, those nearest to the loss first."""
    tape = training[0].tapes[0]
    found = [*_loss_changes(tape), *_gradient_handling(training)]
    found += _all_parameters(start, setting)
    found += _wiring_changes(tape)
    tapes = [tape for step in (*training, *held_out) for tape in step.tapes]
    found += _inputs(tapes, observer.taped.input_numbers())
    found += _initialisation(observer)
    found += _architecture(tape)
    return found


def _loss_changes(tape: Tape) -> Iterator[Candidate]:
    yield from _code(
        rewritten_steps.without_output_softmax(tape),
        "no softmax before the cross entropy, which applies one itself",
        "return the scores: delete the model's last softmax",
        "the smallest loss becomes 0 instead of about 0.9 to 1.5, and gradients no longer fade",
        ("softmax-into-cross-entropy",),
        corrects="the cross entropy of the scores, without the second softmax",
    )
    yield from _code(
        rewritten_steps.without_output_sigmoid(tape),
        "no sigmoid before the binary cross entropy on logits",
        "return the logits: delete the model's last sigmoid",
        "the smallest loss becomes 0 instead of 0.31 to 0.69",
        ("sigmoid-into-bce-logits",),
        corrects="the cross entropy of the logits, without the second sigmoid",
    )
    yield from _code(
        rewritten_steps.log_probabilities(tape),
        "log-probabilities into the negative log likelihood",
        "F.cross_entropy(scores, target), or log_softmax as the model's last layer",
        "the loss becomes the cross entropy: its gradient no longer fades where it is wrong",
        ("nll-needs-log-probs",),
        corrects="the negative log likelihood of log-probabilities",
    )
    yield from _code(
        rewritten_steps.matching_shapes(tape),
        "prediction and target of one shape",
        "criterion(prediction.squeeze(1), target)",
        "each prediction is compared with its own target instead of with all of them",
        ("mse-shape-broadcast",),
        corrects="the error of each prediction against its own target",
    )


def _wiring_changes(tape: Tape) -> Iterator[Candidate]:
    yield from _code(
        rewritten_steps.in_training_mode(tape),
        "the model in training mode",
        "model.train() before the training loop of every epoch",
        "batch normalisation uses the statistics of the batch",
        ("eval-mode-in-training",),
    )
    attached = rewritten_steps.attached(tape)
    if attached is not None and _without_gradient(tape) > _without_gradient(attached(tape)):
        yield from _code(
            attached,
            "no detach in the forward pass",
            "delete .detach(), .data or no_grad() between the layers",
            f"{_without_gradient(tape)} parameters get a gradient",
            ("parameter-without-gradient", "graph-cut-in-forward"),
        )


def _without_gradient(tape: Tape) -> int:
    return sum(gradient is None for gradient in tape.gradients()[1])


def _gradient_handling(steps: Sequence[RecordedStep]) -> Iterator[Candidate]:
    seen = Handling(0)
    for step in steps:
        seen |= step.handling
    if Handling.CARRIED & seen:
        yield _handled(
            Handling.CARRIED,
            "gradients cleared before every backward pass",
            "optimizer.zero_grad() before loss.backward()",
            "each step follows its own gradient instead of the sum of all so far",
            ("zero-grad-missing",),
        )
    if Handling.CLEARED & seen:
        yield _handled(
            Handling.CLEARED,
            "gradients cleared after the step instead of before it",
            "optimizer.zero_grad() before loss.backward(), not between it and optimizer.step()",
            "the optimizer has a gradient to follow",
            ("zero-grad-kills-gradient",),
        )
    if Handling.CLIPPED_SCALED & seen:
        yield _handled(
            Handling.CLIPPED_SCALED,
            "gradients clipped after the scaler's factor is taken out",
            "scaler.unscale_(optimizer) before clip_grad_norm_",
            f"steps are not {steps[0].loss_scale:.3g} times too small",
            ("clip-without-unscale",),
        )


def _handled(
    fault: Handling, change: str, code: str, predicted: str, answers: tuple[str, ...]
) -> Candidate:
    course = replace(AS_IT_IS, handling=AS_IT_IS.handling & ~fault)
    return Candidate("code", change, code, predicted, lambda *_: course, answers=answers)


def _all_parameters(start: Start, setting: Setting) -> Iterator[Candidate]:
    missing = len(start.originals) - start.optimized
    if missing > 0:
        course = replace(AS_IT_IS, everything=True)
        yield Candidate(
            "code",
            f"the {missing} parameters the optimizer lacks are given to it",
            f"{setting.optimizer}(model.parameters(), ...)",
            "all layers learn",
            lambda *_: course,
            answers=("parameter-not-optimized", "modules-in-plain-list", "unregistered-parameter"),
            place=setting.place,
        )


def _inputs(tapes: Sequence[Tape], numbers: Sequence[int]) -> Iterator[Candidate]:
    yield from _code(
        rewritten_steps.standardised(tapes, numbers, _OFFSET, _RATIO),
        "standardised inputs",
        "x = (x - mean) / std, of each feature over the training set",
        "the curvature along each feature becomes alike",
        ("unnormalized-input", "image-no-normalize", "initial-loss-off"),
    )


def _architecture(tape: Tape) -> Iterator[Candidate]:
    faint = ("vanishing-gradient", "deep-saturating-stack", "saturated-activations")
    yield from _code(
        rewritten_steps.rectified(tape),
        "ReLU instead of the squashing activations",
        "nn.ReLU()",
        _FAINT,
        faint,
    )
    yield from _code(
        rewritten_steps.normalised(tape),
        "a normalisation before every activation",
        "nn.BatchNorm1d / nn.LayerNorm between each layer and its activation",
        "signals and gradients keep their size through the layers",
        (*faint, "exploding-gradient", "deep-plain-network", "deep-plain-default-init"),
    )


def _initialisation(observer: Observer) -> Iterator[Candidate]:
    off = [
        w
        for w in kernels(observer).values()
        if not 1 / _OFF_BY <= _spread(w) / _usual(w) <= _OFF_BY
    ]
    if not off:
        return
    answers = (
        "symmetric-init",
        "constant-weight-init",
        "normal-init-too-wide",
        "unscaled-randn-parameter",
        "uninitialised-parameter",
        "uniform-init-nonneg",
        "initial-loss-off",
        "vanishing-gradient",
        "exploding-gradient",
        "saturated-activations",
        "dead-units",
        "deep-saturating-stack",
        "deep-plain-network",
        "init-never-applied",
    )
    yield Candidate(
        "code",
        "weights drawn as torch draws them",
        "delete the initialisation; nn.Linear and nn.Conv2d draw U(-1/√fan_in, 1/√fan_in)",
        "signals keep their size through the layers",
        _drawn_anew(observer, math.sqrt(1 / 3)),
        answers=answers,
    )
    yield Candidate(
        "code",
        "weights drawn for ReLU (Kaiming)",
        "nn.init.kaiming_normal_(layer.weight); nn.init.zeros_(layer.bias)",
        "signals keep their size through layers with ReLU",
        _drawn_anew(observer, math.sqrt(2.0)),
        answers=answers,
    )


def _drawn_anew(observer: Observer, gain: float) -> CourseOf:
    """Normal weights of deviation ``gain`` / √fan_in, other ones in every order; biases 0."""
    weights = list(kernels(observer).values())
    biases = [module.bias for module in _weighted(observer) if module.bias is not None]

    def course(order: int, _steps: int) -> Course:
        def prepare(leaves: Mapping[int, torch.Tensor]) -> None:
            draw = torch.Generator().manual_seed(order)
            with torch.no_grad():
                for weight in weights:
                    if id(weight) in leaves:
                        leaf = leaves[id(weight)]
                        drawn = torch.randn(weight.shape, generator=draw) * gain
                        leaf.copy_(drawn / math.sqrt(_fan_in(weight)))
                for bias in biases:
                    if id(bias) in leaves:
                        leaves[id(bias)].zero_()

        return replace(AS_IT_IS, prepare=prepare)

    return course


def _weighted(observer: Observer) -> list[Weighted]:
    return [
        module
        for model in observer.models.models
        for module in model.root.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]


def kernels(observer: Observer) -> dict[int, torch.Tensor]:
    """The weights of linear and convolutional modules, by identity."""
    return {id(module.weight): module.weight for module in _weighted(observer)}


def _fan_in(weight: torch.Tensor) -> int:
    return max(1, weight[0].numel())


def _spread(weight: torch.Tensor) -> float:
    return float(weight.detach().float().square().mean().sqrt())


def _usual(weight: torch.Tensor) -> float:
    """The deviation of torch's default: uniform within ±1/√fan_in."""
    return 1.0 / math.sqrt(3.0 * _fan_in(weight))


def _code(
    rewrite: Rewrite | None,
    change: str,
    code: str,
    predicted: str,
    answers: tuple[str, ...],
    corrects: str = "",
) -> Iterator[Candidate]:
    """The change of what a step computes, where the step has what is to be changed."""
    if rewrite is not None:
        yield Candidate(
            "code",
            change,
            code,
            predicted,
            lambda *_: AS_IT_IS,
            rewrite=rewrite,
            corrects=corrects,
            answers=answers,
        )
