"""Changes of a run that a replay can make without touching what each step computes.

Learning rate, warm-up, clipping, momentum, decay, optimizer, scale of the initial weights: what
takes one number or one line in the script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.observations.remedies import KEEP
from convlint.gpu_probes.tape.trajectory import AS_RECORDED, Clipping, Course, Options

if TYPE_CHECKING:
    from convlint.gpu_probes.observations import LearningRateRange, Place
    from convlint.gpu_probes.tape import Tape

Rewrite = Callable[["Tape"], "Tape"]
"""Computes a recorded step otherwise; raises ``TapeUnavailable`` where that cannot be done."""

CourseOf = Callable[[int, int], Course]
"""The course of a replay in its n-th order, over so many steps."""

RATES = (1 / 30, 1 / 10, 1 / 3, 3.0, 10.0)
"""Factors of the learning rate; the ladder goes on where its last rung is the best."""

WARM_UP = 0.1
"""Part of the horizon over which a warm-up raises the rate."""

USUAL_CLIP = 1.0
ADAMW_RATE = 1e-3
"""The default of torch, with which most networks train at all."""
MOMENTUM = 0.9
SHORTER_MEMORY = 0.95
"""Second beta of Adam in most large language models."""

ADAPTIVE = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta"})


@dataclass(frozen=True)
class Candidate:
    """One change: its names for the report, and how to replay the run with it.

    ``factor`` is that of the learning rate where nothing else changes. ``rewrite`` alters what
    every step computes; with ``corrects`` it is the loss that was wrong, and all candidates are
    judged by the corrected one, named there.
    """

    kind: str
    change: str
    code: str
    predicted: str
    course: CourseOf
    rewrite: Rewrite | None = None
    corrects: str = ""
    answers: tuple[str, ...] = ()
    place: Place | None = None
    factor: float | None = None
    value: float | None = None


@dataclass(frozen=True)
class Setting:
    """What is known of the run as it is.

    ``optimizer`` is the class name, ``options`` those of each group at the first step and
    ``later_rates`` the first group's rate at every recorded step. ``gradient_norm`` is the median
    over the steps. ``weights`` are the weight matrices and kernels of the modules, ``place`` where
    the optimizer was made.
    """

    optimizer: str
    options: tuple[Options, ...]
    later_rates: tuple[float, ...]
    clippings: tuple[Clipping, ...]
    gradient_norm: float | None
    weights: tuple[torch.Tensor, ...]
    place: Place | None
    rates: LearningRateRange | None = None
    scheduler: Place | None = None

    @property
    def learning_rate(self) -> float:
        """The first group's at the first step with one, 0 when none has any."""
        return next((rate for rate in self.later_rates if rate > 0.0), 0.0)


AS_IT_IS = Course(handling=AS_RECORDED)


def keep() -> Candidate:
    """The run itself."""
    return Candidate(KEEP, "keep everything as it is", "", "", lambda _order, _steps: AS_IT_IS)


def counterfactuals(setting: Setting) -> list[Candidate]:
    """The changes of hyperparameters that are changes at all for this run."""
    found = []
    if setting.learning_rate > 0.0:
        found += [rate_times(factor, setting) for factor in RATES]
        found.append(_warm_up(setting))
    found += _constant_rate(setting)
    found += _clipping(setting)
    found += _memory(setting)
    found += _other_optimizer(setting)
    found += _initial_scale(setting)
    found += _no_decay(setting)
    return found


def rate_times(factor: float, setting: Setting) -> Candidate:
    """Every learning rate of the run times ``factor``."""
    rate = setting.learning_rate
    new = factor * rate

    def scaled(_step: int, _group: int, recorded: Options) -> Options:
        return {**recorded, "lr": recorded.get("lr", 0.0) * factor}

    scheduled = "; the schedule scales with it" if _varies(setting.later_rates) else ""
    return Candidate(
        kind="learning rate",
        change=f"learning rate {_number(rate)} → {_number(new)} (× {_number(factor)})",
        code=f"{setting.optimizer}(..., lr={_number(new)}){scheduled}",
        predicted=_first_step(rate, new, setting.rates)
        or f"every step {_number(factor)} times as long",
        course=_with_options(scaled),
        place=setting.place,
        factor=factor,
        value=factor,
    )


def _first_step(rate: float, new: float, rates: LearningRateRange | None) -> str:
    """What the range test measured of one step at either rate."""
    if rates is None:
        return ""
    now, then = (_lowered(rates, r) for r in (rate, new))
    text = ""
    if now is not None and then is not None:
        text = f"one step lowers the loss by {then:.2g} instead of {now:.2g}"
    if rates.diverges is not None and (
        new < rates.diverges <= rate or rate < rates.diverges <= new
    ):
        side = "below" if new < rates.diverges else "above"
        text += f"{'; ' if text else ''}{side} {_number(rates.diverges)}, where a step diverges"
    return text


def _lowered(rates: LearningRateRange, rate: float) -> float | None:
    tried = list(zip(rates.rates, rates.one_step, strict=False))
    if not tried or not tried[0][0] / 1.5 <= rate <= tried[-1][0] * 1.5:
        return None
    _, loss = min(tried, key=lambda pair: abs(math.log(pair[0] / rate)))
    return None if loss is None else rates.initial - loss


def _warm_up(setting: Setting) -> Candidate:
    def course(_order: int, steps: int) -> Course:
        rising = max(2, round(WARM_UP * steps))

        def warmed(step: int, _group: int, recorded: Options) -> Options:
            return {**recorded, "lr": recorded.get("lr", 0.0) * min(1.0, (step + 1) / rising)}

        return replace(AS_IT_IS, options=warmed)

    return Candidate(
        kind="warm-up",
        change=f"warm-up over {WARM_UP:.0%} of the steps tried",
        code="LinearLR(optimizer, start_factor=0.05, total_iters=...), its step() after each"
        " optimizer.step()",
        predicted="smaller first steps, while the curvature is largest",
        course=course,
        place=setting.place,
    )


def _constant_rate(setting: Setting) -> list[Candidate]:
    if not _varies(setting.later_rates):
        return []
    first = [options.get("lr") for options in setting.options]

    def constant(_step: int, group: int, recorded: Options) -> Options:
        rate = first[group] if group < len(first) else None
        return recorded if rate is None else {**recorded, "lr": max(rate, setting.learning_rate)}

    last = setting.later_rates[-1]
    return [
        Candidate(
            kind="schedule",
            change=f"no schedule: the learning rate stays at {_number(setting.learning_rate)}",
            code="leave scheduler.step() out, or call it once per epoch",
            predicted=f"the rate does not go from {_number(setting.learning_rate)} to"
            f" {_number(last)} within {len(setting.later_rates)} steps",
            course=_with_options(constant),
            place=setting.scheduler or setting.place,
        )
    ]


def _clipping(setting: Setting) -> list[Candidate]:
    if setting.clippings:
        return [
            Candidate(
                kind="clipping",
                change="no clipping of the gradients",
                code="leave clip_grad_norm_ out",
                predicted="steps as long as the gradient makes them",
                course=lambda _order, _steps: replace(AS_IT_IS, clippings=()),
                place=setting.place,
            )
        ]
    norm = setting.gradient_norm
    threshold = USUAL_CLIP if norm is None or norm >= USUAL_CLIP else float(f"{norm:.1g}")
    if threshold <= 0.0:
        return []
    often = "" if norm is None else f"; the median norm is {_number(norm)}"
    return [
        Candidate(
            kind="clipping",
            change=f"clip the gradients' norm at {_number(threshold)}",
            code=f"clip_grad_norm_(model.parameters(), {_number(threshold)}) between backward() and"
            " step()",
            predicted=f"no step follows a gradient longer than that{often}",
            value=threshold,
            course=lambda _order, _steps: replace(AS_IT_IS, clippings=(Clipping(threshold),)),
            place=setting.place,
        )
    ]


def _memory(setting: Setting) -> list[Candidate]:
    """How long the optimizer remembers: momentum of SGD, second beta of Adam."""
    options = setting.options[0]
    found = []
    if setting.optimizer == "SGD":
        momentum = 0.0 if options.get("momentum") else MOMENTUM
        effect = "shorter" if not momentum else f"up to {1 / (1 - MOMENTUM):.0f} times longer"
        found.append(
            Candidate(
                kind="momentum",
                change=f"momentum {_number(options.get('momentum', 0.0))} → {_number(momentum)}",
                code=f"SGD(..., momentum={_number(momentum)})",
                predicted=f"steps {effect} where gradients agree",
                value=momentum,
                course=_setting(momentum=momentum),
                place=setting.place,
            )
        )
    betas = options.get("betas")
    if betas is not None and len(betas) == 2 and float(betas[1]) > SHORTER_MEMORY:
        found.append(
            Candidate(
                kind="momentum",
                change=f"second beta {_number(float(betas[1]))} → {SHORTER_MEMORY}",
                code=f"{setting.optimizer}(..., betas=({_number(float(betas[0]))}, {SHORTER_MEMORY}))",
                predicted="step sizes follow the gradients' within 20 steps",
                value=SHORTER_MEMORY,
                course=_setting(betas=(betas[0], SHORTER_MEMORY)),
                place=setting.place,
            )
        )
    return found


def _other_optimizer(setting: Setting) -> list[Candidate]:
    if setting.optimizer in ADAPTIVE:
        return []
    decay = max(float(options.get("weight_decay") or 0.0) for options in setting.options)
    return [
        Candidate(
            kind="optimizer",
            change=f"AdamW at {_number(ADAMW_RATE)} instead of {setting.optimizer}",
            code=f"AdamW(..., lr={_number(ADAMW_RATE)}, weight_decay={_number(decay)})",
            predicted="steps of one size whatever the gradient's scale",
            value=ADAMW_RATE,
            course=lambda _order, _steps: replace(AS_IT_IS, optimizer=_adamw(decay)),
            place=setting.place,
        )
    ]


def _adamw(decay: float) -> Callable[[list[dict[str, Any]]], torch.optim.Optimizer]:
    return lambda groups: torch.optim.AdamW(
        [p for g in groups for p in g["params"]], lr=ADAMW_RATE, weight_decay=decay
    )


def _initial_scale(setting: Setting) -> list[Candidate]:
    if not setting.weights:
        return []
    return [
        Candidate(
            kind="initial scale",
            change=f"initial weights × {_number(gain)}",
            code=f"for layer in layers: layer.weight.data.mul_({_number(gain)})",
            predicted=f"signals {'smaller' if gain < 1 else 'larger'} by {_number(gain)} a layer",
            course=_starting(setting.weights, gain),
            value=gain,
        )
        for gain in (0.5, 2.0)
    ]


def _starting(weights: Sequence[torch.Tensor], gain: float) -> CourseOf:
    def prepare(leaves: Mapping[int, torch.Tensor]) -> None:
        with torch.no_grad():
            for weight in weights:
                if id(weight) in leaves:
                    leaves[id(weight)].mul_(gain)

    return lambda _order, _steps: replace(AS_IT_IS, prepare=prepare)


def _no_decay(setting: Setting) -> list[Candidate]:
    decay = max(float(options.get("weight_decay") or 0.0) for options in setting.options)
    if not decay:
        return []
    return [
        Candidate(
            kind="weight decay",
            change=f"weight decay {_number(decay)} → 0",
            code=f"{setting.optimizer}(..., weight_decay=0)",
            predicted="weights are not pulled to zero",
            value=0.0,
            course=_setting(weight_decay=0.0),
            place=setting.place,
        )
    ]


def _setting(**changed: Any) -> CourseOf:
    return _with_options(lambda _step, _group, recorded: {**recorded, **changed})


def _with_options(options: Callable[[int, int, Options], Options]) -> CourseOf:
    return lambda _order, _steps: replace(AS_IT_IS, options=options)


def _varies(rates: Sequence[float]) -> bool:
    return bool(rates) and max(rates) > 1.05 * min(rates)


def _number(value: float) -> str:
    return f"{value:.3g}"
