"""The loss functions the script calls, until a backward pass shows which of them it minimises."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from convlint.gpu_probes.attach.places import user_place
from convlint.gpu_probes.quantities.initial_loss import LossRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.autograd_graph import LossGraph
    from convlint.gpu_probes.attach.measuring import Measuring
    from convlint.gpu_probes.observations import Place

LOSS_FUNCTIONS = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "kl_div",
    "poisson_nll_loss",
    "gaussian_nll_loss",
)
# Calls remembered until a backward pass claims them, and backward passes that may miss them.
_REMEMBERED_CALLS = 64
_REMEMBERED_BACKWARDS = 3


@dataclass
class LossCall:
    """One call of a loss function: ``arguments`` beside input and target, by name."""

    function: str
    input: torch.Tensor
    target: torch.Tensor
    arguments: dict[str, Any]
    result: torch.Tensor
    place: Place | None
    missed: int = 0


class LossWatch:
    """Wraps ``torch.nn.functional``'s losses, which the ``nn.*Loss`` modules reach too."""

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
        self._calls: deque[LossCall] = deque(maxlen=_REMEMBERED_CALLS)
        self._open = True
        self._recording = True
        self._nested = False
        self.recorder = LossRecorder()

    def install(self) -> None:
        """Replace the loss functions by attribute."""
        for name in LOSS_FUNCTIONS:
            original = getattr(functional, name, None)
            if original is not None:
                setattr(functional, name, self._watched(name, original))

    def close(self) -> None:
        """Stop remembering calls."""
        self._open = False
        self._recording = False
        self._calls.clear()

    def reopen(self) -> None:
        """Remember calls again, for whoever claims them; the recorder has its sample."""
        self._open = True
        self._recording = False

    def claim(self, graph: LossGraph) -> list[LossCall]:
        """Feed the recorder with the calls that led to the back-propagated loss; those calls."""
        claimed = []
        calls, self._calls = self._calls, deque(maxlen=_REMEMBERED_CALLS)
        for call in calls:
            if not graph.contains([call.result.grad_fn]):
                call.missed += 1
                if call.missed < _REMEMBERED_BACKWARDS:
                    self._calls.append(call)
            else:
                claimed.append(call)
                if not self._recording:
                    continue
                with self._measuring.section("initial loss"):
                    self.recorder.observe(
                        call.function,
                        call.input,
                        call.target,
                        call.arguments,
                        call.place,
                        call.result,
                    )

        return claimed

    def _watched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def loss(*args: Any, **kwargs: Any) -> Any:
            if not self._open or self._nested or not self._measuring.idle:
                return original(*args, **kwargs)
            self._nested = True
            try:
                result = original(*args, **kwargs)
            finally:
                self._nested = False
            if isinstance(result, torch.Tensor) and result.grad_fn is not None:
                with self._measuring.section("initial loss"):
                    bound = signature.bind(*args, **kwargs)
                    bound.apply_defaults()
                    given = dict(bound.arguments)
                    place = user_place()
                    first, target = given.pop("input"), given.pop("target")
                    self._calls.append(LossCall(name, first, target, given, result, place))
            return result

        return loss
