"""A learning-rate scheduler stepped to its end on a copy, without its optimizer or weights."""

from __future__ import annotations

import copy
import warnings
from types import MethodType
from typing import Any

import torch

# Points of the schedule that are reported.
SAMPLES = 200
# A schedule is walked call by call; beyond this it is cut off (and the calls reported say so).
LONGEST_WALK = 200_000


def detached_copy(scheduler: Any) -> Any:
    """A copy of ``scheduler`` that drives a stand-in optimizer with the same groups and rates.

    Nothing the script holds is shared with the copy but the schedule's own functions.
    """
    original = scheduler.optimizer
    stand_in = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0)
    stand_in.param_groups = [
        {
            "params": [torch.zeros(1, requires_grad=True)],
            **{key: copy.deepcopy(value) for key, value in group.items() if key != "params"},
        }
        for group in original.param_groups
    ]
    stand_in.__dict__["_opt_called"] = True
    stand_in.defaults = dict(original.defaults)
    shared: dict[int, Any] = {id(original): stand_in}
    # A schedule that is a method would drag the script's own trainer, model and all, into the copy.
    for function in getattr(scheduler, "lr_lambdas", ()):
        if isinstance(function, MethodType):
            shared[id(function)] = function
    return copy.deepcopy(scheduler, shared)


def learning_rates_ahead(scheduler: Any, calls: int) -> tuple[int, tuple[float, ...]]:
    """Step a :func:`detached_copy` ``calls`` times and sample the first group's rate.

    Returns the number of calls that were possible and at most ``SAMPLES`` rates at evenly spaced
    calls, the first before any call. A scheduler that refuses to go on ends the walk.
    """
    rates = [_rate(scheduler)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(min(calls, LONGEST_WALK)):
            try:
                scheduler.step()
            except ValueError:
                break
            rates.append(_rate(scheduler))
    last = len(rates) - 1
    points = min(SAMPLES, len(rates))
    picked = [round(i * last / max(1, points - 1)) for i in range(points)]
    return last, tuple(rates[i] for i in picked)


def _rate(scheduler: Any) -> float:
    return float(scheduler.optimizer.param_groups[0]["lr"])
