"""The largest stable learning rate of the optimizer in use, on the local quadratic model.

Along an eigendirection with curvature λ every optimizer here is a linear recurrence in (parameter,
momentum); it is stable while η·λ stays below a critical value that depends on its coefficients
alone. With M the 2×2 iteration matrix the binding condition is 1 + tr M + det M > 0 (an eigenvalue
reaching −1; Polyak 1964 for heavy ball). Solved for η·λ:

==================================  ==========================
plain gradient descent               2
momentum β                           2 + 2β
momentum β with dampening d          (2 + 2β) / (1 − d)
Nesterov momentum β                  2 (1 + β) / (1 + 2β)
exponential average β (Adam)         (2 + 2β) / (1 − β)
Nesterov on an average (NAdam, μ)    2 (1 + β) / (1 + β − 2μβ)
plain, gradients τ steps old         2 sin(π / (4τ + 2))
==================================  ==========================

Adaptive optimizers are taken with their second moments frozen: λ is then an eigenvalue of
P^{-1/2} H P^{-1/2} with their diagonal P, bias corrections included (Cohen et al. 2022, "Adaptive
Gradient Methods at the Edge of Stability"). L2 weight decay adds to the curvature before
the preconditioner, decoupled decay acts on the parameters directly. Everything folds into one
operator D^{1/2} H D^{1/2} + S, linear in the learning rates, that is stable while its largest
eigenvalue is below 1.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.observations import Measurement, StabilityLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convlint.gpu_probes.curvature.lanczos import RitzValues
    from convlint.gpu_probes.observations import Place

FIRST_STEP_NOTE = (
    "the optimizer has no state yet: its second moments are taken to be those after a first step "
    "with the present gradient"
)


def critical_product(
    momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False
) -> float:
    """Critical learning rate times curvature of ``torch.optim.SGD``.

    ``momentum`` in [0, 1), ``dampening`` in [0, 1). PyTorch allows Nesterov without dampening only.
    """
    if nesterov:
        return 2.0 * (1.0 + momentum) / (1.0 + 2.0 * momentum)
    if momentum == 0.0:
        # torch.optim.SGD applies dampening to the momentum buffer, which is absent here.
        return 2.0
    return 2.0 * (1.0 + momentum) / (1.0 - dampening)


def critical_product_of_average(beta: float, lookahead: float = 0.0) -> float:
    """The same for an exponential average of gradients with factor ``beta``.

    ``lookahead`` is NAdam's μ, the weight of the average against the present gradient's 1 − μ;
    0 stands for Adam, which steps along the average alone.
    """
    if lookahead == 0.0:
        return 2.0 * (1.0 + beta) / (1.0 - beta)
    return 2.0 * (1.0 + beta) / (1.0 + beta - 2.0 * lookahead * beta)


def critical_product_of_delay(delay: int) -> float:
    """The same for plain gradient descent along gradients that are ``delay`` steps old.

    θ_{t+1} = θ_t − ηλ θ_{t−τ}, the recurrence of asynchronous training and of pipelines that step
    before their gradients are back: 2 without delay, 1 at one step, about π / (2τ + 1) at many.
    Here the binding eigenvalues are a complex pair. No probe reports it: how old the gradients
    are when they arrive is not to be seen in the process that sends them. A measured limit of plain
    descent times half this number is the limit at a delay that is known.

    Raises:
        ValueError: ``delay`` is negative.

    Levin and May, "A note on difference-delay equations", Theoretical Population Biology 9, 1976;
    for training, with momentum, Giladi et al., "At Stability's Edge", ICLR 2020.
    """
    if delay < 0:
        raise ValueError(f"a delay of {delay} steps: it must be 0 or more")
    return 2.0 * math.sin(math.pi / (4 * delay + 2))


@dataclass(frozen=True)
class UpdateRule:
    """An optimizer's step as a diagonal rescaling of the Hessian (see the module's docstring).

    ``scale`` is D and ``shift`` is S, flat over the operator's parameters, at learning rates
    divided by ``learning_rate``, the largest of the groups (equal rates when all are zero), so
    that the step is stable while learning_rate · λmax(D^{1/2} H D^{1/2} + S) < 1. ``uniform`` is
    set when D and S are multiples of the identity; ``sign`` is −1 for an optimizer that maximizes.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    uniform: bool
    learning_rate: float
    preconditioned: bool
    sign: float
    note: str


def update_rule(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.Tensor],
    gradient: torch.Tensor,
) -> UpdateRule | None:
    """The update rule of ``optimizer`` over ``parameters``, at its present state.

    ``gradient`` is the flat present gradient, used where the state is still empty. None for an
    optimizer whose recurrence is not in the table, or that owns none of the parameters.
    """
    family = _family(optimizer)
    if family is None:
        return None
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    owned = [group_of[id(p)] for p in parameters if id(p) in group_of]
    if not owned:
        return None
    rates = [float(group["lr"]) for group in owned]
    reference = max(rates)
    notes: list[str] = []
    if reference <= 0.0:
        notes.append("the learning rate is 0 at present; the limit stands for equal rates")
    scale = torch.zeros_like(gradient)
    shift = torch.zeros_like(gradient)
    offset = 0
    for parameter in parameters:
        block = slice(offset, offset + parameter.numel())
        offset = block.stop
        group = group_of.get(id(parameter))
        if group is None:
            continue
        relative_rate = float(group["lr"]) / reference if reference > 0.0 else 1.0
        step = _StepOfParameter(family, group, optimizer.state.get(parameter, {}))
        inverse = step.inverse_preconditioner(gradient[block])
        weight_decay = float(group.get("weight_decay") or 0.0)
        scale[block] = relative_rate * inverse / step.critical
        if step.decoupled_decay:
            shift[block] = relative_rate * weight_decay / 2.0
        else:
            shift[block] = scale[block] * weight_decay
        if step.fresh and FIRST_STEP_NOTE not in notes:
            notes.append(FIRST_STEP_NOTE)
    uniform = bool((scale == scale[0]).all()) and bool((shift == shift[0]).all())
    return UpdateRule(
        scale=scale,
        shift=shift,
        uniform=uniform,
        learning_rate=reference,
        preconditioned=family != "SGD",
        sign=-1.0 if owned[0].get("maximize") else 1.0,
        note="; ".join(notes),
    )


def rescaled_spectrum(rule: UpdateRule, spectrum: RitzValues) -> RitzValues:
    """The Ritz values of H carried over to the rescaled Hessian of a uniform rule."""
    scale, shift = float(rule.scale[0]), float(rule.shift[0])
    order = slice(None, None, -1) if rule.sign < 0 else slice(None)
    return replace(
        spectrum,
        values=(rule.sign * scale * spectrum.values + shift)[order],
        residuals=(scale * spectrum.residuals)[order],
        weights=spectrum.weights[order],
        upper_converged=spectrum.converged if rule.sign < 0 else spectrum.upper_converged,
    )


def stability_limit(
    rule: UpdateRule,
    spectrum: RitzValues,
    *,
    optimizer: int,
    cls: str,
    place: Place | None = None,
) -> StabilityLimit:
    """The limit that follows from the top of the rescaled spectrum.

    ``spectrum`` is that of sign · D^{1/2} H D^{1/2} + S: of its own Lanczos run, or by
    ``rescaled_spectrum`` where the rule is uniform. Intervals are those of the Ritz residual.
    """
    value = spectrum.largest
    residual = float(spectrum.residuals[-1])
    note = rule.note
    rate = rule.learning_rate
    if value <= 0.0:
        note = "; ".join(filter(None, (note, "no positive curvature was found: no limit")))
        nothing = Measurement(None, n=spectrum.steps, converged=False, note=note)
        return StabilityLimit(optimizer, cls, rate, rule.preconditioned, nothing, nothing, place)
    limit = 1.0 / value
    interval = (1.0 / (value + residual), 1.0 / (value - residual)) if residual < value else None
    in_use = rate if rate > 0.0 else None
    return StabilityLimit(
        optimizer=optimizer,
        cls=cls,
        learning_rate=rate,
        preconditioned=rule.preconditioned,
        limit=Measurement(
            limit,
            unit="learning rate",
            n=spectrum.steps,
            ci=interval,
            converged=spectrum.upper_converged,
            note=note,
        ),
        headroom=Measurement(
            limit / in_use if in_use else None,
            n=spectrum.steps,
            ci=(interval[0] / in_use, interval[1] / in_use) if interval and in_use else None,
            converged=spectrum.upper_converged,
            note=note,
        ),
        place=place,
    )


_FAMILIES = (
    "AdamW",
    "NAdam",
    "RAdam",
    "Adamax",
    "Adam",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "SGD",
)


def _family(optimizer: torch.optim.Optimizer) -> str | None:
    """The optimizer of torch whose recurrence this one follows, by class; wrappers keep theirs.

    A subclass defined elsewhere may step differently, so only the classes of torch.optim count.
    """
    for cls in type(optimizer).__mro__:
        if not issubclass(cls, torch.optim.Optimizer) or cls.__name__ not in _FAMILIES:
            continue
        if cls.__module__.startswith("torch.optim"):
            # torch wraps `step` of every class it instantiates, hence the unwrapping.
            same_step = inspect.unwrap(type(optimizer).step) is inspect.unwrap(cls.step)
            return cls.__name__ if same_step else None
    return None


@dataclass(frozen=True)
class _StepOfParameter:
    """How one parameter is stepped: its family, group options and optimizer state."""

    family: str
    group: dict[str, Any]
    state: dict[str, Any]

    @property
    def fresh(self) -> bool:
        """Whether second moments are needed and not yet there."""
        return self.family != "SGD" and self.taken == 0

    @property
    def taken(self) -> int:
        """Steps taken so far."""
        return int(self.state.get("step", 0))

    @property
    def step(self) -> int:
        """The step the state belongs to; the first when nothing has been taken yet."""
        return max(self.taken, 1)

    @property
    def decoupled_decay(self) -> bool:
        """Whether weight decay acts on the parameter and not through the gradient."""
        return self.family == "AdamW" or bool(self.group.get("decoupled_weight_decay", False))

    @property
    def critical(self) -> float:
        """Critical learning rate times preconditioned curvature."""
        if self.family == "SGD":
            return critical_product(
                float(self.group.get("momentum") or 0.0),
                float(self.group.get("dampening") or 0.0),
                bool(self.group.get("nesterov")),
            )
        if self.family == "RMSprop":
            return critical_product(float(self.group.get("momentum") or 0.0))
        if self.family in ("Adagrad", "Adadelta"):
            return critical_product()
        beta = float(self.group["betas"][0])
        if self.family == "NAdam":
            return critical_product_of_average(beta, self._nadam_mu(beta))
        return critical_product_of_average(beta)

    def _nadam_mu(self, beta: float) -> float:
        decay = float(self.group.get("momentum_decay", 4e-3))
        return beta * (1.0 - 0.5 * float(0.96 ** (self.step * decay)))

    def inverse_preconditioner(self, gradient: torch.Tensor) -> torch.Tensor:
        """P^{-1} of one flat parameter block, in the dtype of ``gradient``."""
        if self.family == "SGD":
            return torch.ones_like(gradient)
        epsilon = float(self.group.get("eps", 1e-8))
        if self.family == "Adadelta":
            rho = float(self.group["rho"])
            squares = self._moment("square_avg", gradient, (1.0 - rho) * gradient.square())
            deltas = self._moment("acc_delta", gradient, torch.zeros_like(gradient))
            return (deltas + epsilon).sqrt() / (squares + epsilon).sqrt()
        if self.family == "Adagrad":
            total = self._moment("sum", gradient, torch.zeros_like(gradient))
            if self.fresh:
                total = total + gradient.square()
            slowdown = 1.0 + (self.step - 1) * float(self.group.get("lr_decay", 0.0))
            return 1.0 / ((total.sqrt() + epsilon) * slowdown)
        if self.family == "RMSprop":
            alpha = float(self.group["alpha"])
            squares = self._moment("square_avg", gradient, (1.0 - alpha) * gradient.square())
            if self.group.get("centered"):
                mean = self._moment("grad_avg", gradient, (1.0 - alpha) * gradient)
                squares = (squares - mean.square()).clamp_min(0.0)
            return 1.0 / (squares.sqrt() + epsilon)
        return self._inverse_of_adam(gradient, epsilon)

    def _inverse_of_adam(self, gradient: torch.Tensor, epsilon: float) -> torch.Tensor:
        first, second = (float(b) for b in self.group["betas"])
        first_correction = 1.0 - first**self.step
        second_correction = 1.0 - second**self.step
        if self.family == "Adamax":
            largest = self._moment("exp_inf", gradient, gradient.abs() + epsilon)
            return 1.0 / (first_correction * largest)
        name = "max_exp_avg_sq" if self.group.get("amsgrad") else "exp_avg_sq"
        squares = self._moment(name, gradient, (1.0 - second) * gradient.square())
        root = (squares / second_correction).sqrt() + epsilon
        if self.family == "NAdam":
            # Its own products of μ correct the average, and they are close to 1 after a few steps.
            return 1.0 / root
        if self.family == "RAdam":
            rectification = self._rectification(second)
            if rectification is None:
                return torch.full_like(gradient, 1.0 / first_correction)
            return rectification / (first_correction * root)
        return 1.0 / (first_correction * root)

    def _rectification(self, second: float) -> float | None:
        """RAdam's variance rectification r_t (Liu et al. 2020, algorithm 2).

        None in the first steps, where the variance is intractable and RAdam does not precondition.
        """
        infinite = 2.0 / (1.0 - second) - 1.0
        power = second**self.step
        length = infinite - 2.0 * self.step * power / (1.0 - power)
        if length <= 5.0:
            return None
        numerator = (length - 4.0) * (length - 2.0) * infinite
        return float((numerator / ((infinite - 4.0) * (infinite - 2.0) * length)) ** 0.5)

    def _moment(
        self, name: str, gradient: torch.Tensor, after_first_step: torch.Tensor
    ) -> torch.Tensor:
        moment = self.state.get(name)
        if moment is None or (self.taken == 0 and name != "sum"):
            return after_first_step
        return moment.detach().reshape(-1).to(gradient)  # type: ignore[no-any-return]
