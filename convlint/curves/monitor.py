"""The stopping criteria, live in a training loop."""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convlint.curves.criteria import (
    Answer,
    Combine,
    Converged,
    Criterion,
    combined,
    converged,
    gradient_norm,
    loss_plateau,
    no_improvement,
    no_improvement_of_losses,
    parameter_change,
    relative_improvement,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT_LOSSES = 200
LOST_IN_A_ROW = 3
"""Losses in a row that are not finite end a run; a single one may be a step that loss scaling
skips on purpose."""

CRITERIA = {
    "loss plateau": 1e-6,
    "gradient norm": 1e-5,
    "parameter change": 1e-7,
    "relative improvement": 1e-4,
}
"""The criteria with a tolerance, and its default."""


@dataclass(frozen=True)
class Decision:
    """Whether to stop, and what says so. True in a condition when the run should stop."""

    stop: bool
    holding: tuple[str, ...]
    """Names of the criteria that hold."""
    reason: str
    criteria: tuple[Criterion, ...]
    converged: Converged

    def __bool__(self) -> bool:
        return self.stop


class ConvergenceMonitor:
    """Watches a run and says when it should stop; keeps the best weights by copy.

    In a loop::

        monitor = ConvergenceMonitor(patience=5, model=model)
        for epoch in range(1000):
            ...
            monitor.update(loss=train_loss, metric=validation_loss)
            if monitor.should_stop:
                print(monitor.should_stop.reason)
                break
        monitor.restore_best()

    ``patience`` and ``min_delta`` are those of the metric, of which a lower value is better unless
    ``mode`` is ``"max"``; without a metric the loss takes its place when ``patience`` is given
    alone, and patience then ends only where its noise does not hide whether it still falls.
    ``tolerances`` switches further criteria on: names of ``CRITERIA`` with a tolerance, or
    None for the default. ``combine`` says whether one criterion is enough (``"any"``) or all
    must hold (``"all"``; patience only where there is a metric or a loss for it), and
    ``confirmations`` for how many updates in a row. Losses of mini-batches are compared by
    medians of windows; a criterion that their noise makes undecidable never stops a run. Losses
    that are not finite, three in a row, always do.

    ``model`` is anything with ``state_dict``/``load_state_dict`` (torch) or
    ``get_weights``/``set_weights`` (Keras); its weights are copied at every new best metric.

    Raises:
        ValueError: an argument makes no sense, or a criterion is not known.
    """

    def __init__(
        self,
        *,
        patience: int | None = 10,
        min_delta: float = 0.0,
        mode: str = "min",
        tolerances: dict[str, float | None] | None = None,
        combine: str = "any",
        confirmations: int = 1,
        model: Any = None,
    ) -> None:
        if tolerances is not None and not isinstance(tolerances, dict):
            raise ValueError(
                f"tolerances maps names of criteria to numbers or None, not {tolerances!r}"
            )
        unknown = [name for name in tolerances or {} if name not in CRITERIA]
        if unknown:
            raise ValueError(
                f"no criterion is called {unknown[0]!r}; there are: {', '.join(CRITERIA)}"
            )
        for name, tolerance in (tolerances or {}).items():
            if tolerance is not None and not (_is_number(tolerance) and tolerance >= 0.0):
                raise ValueError(
                    f"the tolerance of {name!r} is a number from 0 on, not {tolerance!r}"
                )
        if mode not in ("min", "max"):
            raise ValueError(f"mode is 'min' or 'max', not {mode!r}")
        if patience is not None and not _counts(patience):
            raise ValueError(f"patience is a whole number from 1 on, or None, not {patience!r}")
        if not (_is_number(min_delta) and min_delta >= 0.0):
            raise ValueError(f"min_delta is a number from 0 on, not {min_delta!r}")
        if not _counts(confirmations):
            raise ValueError(f"confirmations is a whole number from 1 on, not {confirmations!r}")
        if combine not in tuple(Combine):
            raise ValueError(f"combine is 'any' or 'all', not {combine!r}")
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.tolerances = {
            name: CRITERIA[name] if value is None else value
            for name, value in (tolerances or {}).items()
        }
        self.combine = Combine(combine)
        self.confirmations = confirmations
        self.model = model
        self.best: float | None = None
        """The best metric so far, and ``best_step`` the number of the update it came with."""
        self.best_step = 0
        self.steps = 0
        self.awaits_metric = False
        """Whether a metric is to come, so that losses never take its place."""
        self._losses: deque[float] = deque(maxlen=KEPT_LOSSES)
        self._metrics: list[float] = []
        self._gradient_norm: float | None = None
        self._parameter_change: float | None = None
        self._lost = 0
        self._agreed = 0
        self._best_weights: Any = None
        self._decision = self._decide()

    def update(
        self,
        loss: Any = None,
        *,
        metric: Any = None,
        gradient_norm: Any = None,
        parameter_change: Any = None,
        model: Any = None,
    ) -> Decision:
        """Tell what is known of one step or epoch, and get the decision.

        Numbers may be tensors of one element; each is read once (``float``), which waits for a
        GPU. ``model`` takes the place of the one given at the beginning.

        Raises:
            ValueError: a tensor has more than one element.
        """
        self.steps += 1
        if model is not None:
            self.model = model
        if loss is not None:
            value = _number(loss)
            self._lost = 0 if math.isfinite(value) else self._lost + 1
            self._losses.append(value)
        if gradient_norm is not None:
            self._gradient_norm = _number(gradient_norm)
        if parameter_change is not None:
            self._parameter_change = _number(parameter_change)
        if metric is not None:
            self._evaluated(_number(metric))
        self._decision = self._decide()
        return self._decision

    @property
    def should_stop(self) -> Decision:
        """The decision after the last update."""
        return self._decision

    @property
    def best_weights(self) -> Any:
        """A copy of the weights at the best metric; None before the first, or without a model."""
        return self._best_weights

    def restore_best(self, model: Any = None) -> bool:
        """Put the best weights back into the model; whether there were any."""
        target = model if model is not None else self.model
        if target is None or self._best_weights is None:
            return False
        if hasattr(target, "load_state_dict"):
            target.load_state_dict(self._best_weights)
        else:
            target.set_weights(self._best_weights)
        return True

    def lightning(self, metric: str | None = "val_loss", **options: Any) -> Any:
        """A callback for Lightning's ``Trainer`` (``convlint.curves.callbacks``)."""
        from convlint.curves.callbacks import lightning_callback

        return lightning_callback(self, metric, **options)

    def transformers(self, metric: str | None = "eval_loss", **options: Any) -> Any:
        """A callback for the ``Trainer`` of Hugging Face's transformers."""
        from convlint.curves.callbacks import transformers_callback

        return transformers_callback(self, metric, **options)

    def keras(self, metric: str | None = "val_loss", **options: Any) -> Any:
        """A callback for ``fit`` of Keras."""
        from convlint.curves.callbacks import keras_callback

        return keras_callback(self, metric, **options)

    def _evaluated(self, value: float) -> None:
        self._metrics.append(value)
        sign = 1.0 if self.mode == "min" else -1.0
        better = self.best is None or sign * value < sign * self.best - self.min_delta
        if math.isfinite(value) and better:
            self.best, self.best_step = value, self.steps
            if self.model is not None:
                self._best_weights = _copied_weights(self.model)

    def _decide(self) -> Decision:
        criteria = tuple(self._criteria())
        holding = tuple(criterion.name for criterion in criteria if criterion.holds)
        if self._lost >= LOST_IN_A_ROW:
            reason = f"the last {self._lost} losses are not finite"
            return Decision(True, ("diverged", *holding), reason, criteria, converged(criteria))
        agree = combined(criteria, self.combine) and not self._waits_for(criteria)
        self._agreed = self._agreed + 1 if agree else 0
        stop = self._agreed >= self.confirmations
        reason = ""
        if stop:
            reason = "; ".join(_said(c) for c in criteria if c.holds)
        return Decision(stop, holding, reason, criteria, converged(criteria))

    def _waits_for(self, criteria: Iterable[Criterion]) -> bool:
        """Whether all are to hold and one that was asked for has nothing to go by yet."""
        return self.combine is Combine.ALL and any(
            criterion.answer is Answer.UNKNOWN and criterion.name in self.tolerances
            for criterion in criteria
        )

    def _criteria(self) -> Iterable[Criterion]:
        losses = list(self._losses)
        if self.patience is not None:
            if self._metrics or self.tolerances or self.awaits_metric:
                yield no_improvement(self._metrics, self.patience, self.min_delta, self.mode)
            else:
                yield no_improvement_of_losses(losses, self.patience, self.min_delta)
        for name, tolerance in self.tolerances.items():
            if name == "loss plateau":
                yield loss_plateau(losses, tolerance)
            elif name == "relative improvement":
                yield relative_improvement(losses, tolerance)
            elif name == "gradient norm":
                yield gradient_norm(self._gradient_norm, tolerance)
            else:
                yield parameter_change(self._parameter_change, tolerance)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: Any) -> float:
    """A number, or the one element of a tensor, graph or not."""
    shape = tuple(getattr(value, "shape", ()))
    if math.prod(shape) != 1:
        raise ValueError(f"one number is wanted, not a tensor of shape {shape}; give its mean")
    return float(value.detach() if hasattr(value, "detach") else value)


def _said(criterion: Criterion) -> str:
    if criterion.name == "no improvement":
        return f"no improvement in {criterion.value:.0f} evaluations"
    return f"{criterion.name} {criterion.value:.3g} is at most {criterion.tolerance:.3g}"


def _copied_weights(model: Any) -> Any:
    """Weights that later steps do not change: a state dict of torch shares its tensors."""
    if hasattr(model, "state_dict"):
        return {
            name: value.detach().clone() if hasattr(value, "detach") else copy.deepcopy(value)
            for name, value in model.state_dict().items()
        }
    if hasattr(model, "get_weights"):
        return [copy.deepcopy(weight) for weight in model.get_weights()]
    raise TypeError(
        f"{type(model).__name__} has neither state_dict nor get_weights, so its weights cannot be kept"
    )
