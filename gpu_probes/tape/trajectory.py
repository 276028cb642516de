"""Recorded steps replayed one after another: the run as it was, or as it would have been.

The same batches, the same random draws and the same start serve every replay (common random
numbers), so that two replays differ by what was changed and by nothing else.
"""

from __future__ import annotations

import copy
import enum
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from convlint.gpu_probes.attach.measuring import kept_random_state
from convlint.gpu_probes.tape.operations import TapeUnavailable
from convlint.gpu_probes.tape.substitutions import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from convlint.gpu_probes.tape.tape import Tape

Options = dict[str, Any]
"""Hyperparameters of one parameter group: ``lr``, ``momentum``, ``betas`` ..."""


@dataclass(frozen=True)
class Clipping:
    """A clip of the gradients before the step: of their joint norm, or of every element.

    ``norm_type`` is the order of the norm, None for a clip by value; ``parameters`` are those
    clipped, None for all of the optimizer's. ``scaled`` says that the gradients still carried the
    factor of a GradScaler.
    """

    threshold: float
    norm_type: float | None = 2.0
    parameters: tuple[torch.Tensor, ...] | None = None
    scaled: bool = False


class Handling(enum.Flag):
    """What a script does to gradients that it should not; a replay can do it too."""

    CARRIED = enum.auto()
    """Gradients of earlier steps are not cleared before the backward pass."""
    CLEARED = enum.auto()
    """Gradients are cleared between the backward pass and the step."""
    CLIPPED_SCALED = enum.auto()
    """Gradients are clipped while they carry the factor of a GradScaler."""


SOUND = Handling(0)
AS_RECORDED = Handling.CARRIED | Handling.CLEARED | Handling.CLIPPED_SCALED


@dataclass(frozen=True)
class RecordedStep:
    """One optimizer step: the tapes of the backward passes before it, and what came between.

    ``loss_scale`` is the factor a GradScaler put on the loss; ``options`` are the
    hyperparameters of every group at the step; ``handling`` is what was done to its gradients.
    """

    tapes: tuple[Tape, ...]
    options: tuple[Options, ...]
    clippings: tuple[Clipping, ...] = ()
    loss_scale: float = 1.0
    handling: Handling = SOUND


@dataclass(frozen=True)
class Replay:
    """What a replay gave: the loss of every step before it was taken, and where it ended.

    ``losses`` stop at the first that is not finite, which is kept.
    """

    losses: tuple[float, ...]
    parameters: tuple[torch.Tensor, ...] = field(repr=False)

    @property
    def finite(self) -> bool:
        """Whether every loss was."""
        return all(math.isfinite(loss) for loss in self.losses)


class Start:
    """Parameters and optimizer as they are before the first recorded step.

    Raises:
        TapeUnavailable: the optimizer cannot be copied.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, others: Iterable[torch.Tensor] = ()
    ) -> None:
        originals = [p for group in optimizer.param_groups for p in group["params"]]
        known = {id(p) for p in originals}
        self.optimized = len(originals)
        """How many of ``originals`` the optimizer holds; they come first."""
        originals += [p for p in others if id(p) not in known]
        self.originals = tuple(originals)
        self.parameters = tuple(_leaf(p) for p in self.originals)
        self._optimizer = _copy_optimizer(optimizer, self.originals, self.parameters)

    def fresh(self) -> tuple[torch.optim.Optimizer, dict[int, torch.Tensor]]:
        """An optimizer over new leaves with the values of the start, by original's identity."""
        leaves = tuple(_leaf(p) for p in self.parameters)
        optimizer = _copy_optimizer(self._optimizer, self.parameters, leaves)
        return optimizer, {id(o): leaf for o, leaf in zip(self.originals, leaves, strict=True)}


@dataclass(frozen=True)
class Course:
    """How a replay departs from the recorded run; the default is the run itself.

    ``options`` gives the hyperparameters of group ``g`` at step ``k`` from the recorded ones.
    ``clippings`` replaces the recorded clips when not None. ``optimizer`` builds another optimizer
    from the parameter groups. ``change`` alters how each tape is computed. ``handling`` is what the
    replay repeats of what was done to the gradients; without it they are cleared once, before the
    backward passes of every step.
    """

    options: Callable[[int, int, Options], Options] | None = None
    clippings: tuple[Clipping, ...] | None = None
    optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] | None = None
    change: Change = field(default_factory=Change)
    prepare: Callable[[dict[int, torch.Tensor]], None] | None = None
    """Called with the fresh leaves by original's identity, to begin elsewhere."""
    handling: Handling = SOUND
    everything: bool = False
    """Give the optimizer the leaves it does not hold as well, in its first group."""


def replay(
    start: Start,
    steps: Sequence[RecordedStep],
    course: Course | None = None,
    *,
    until: Callable[[int, float], bool] | None = None,
    taken: Callable[[int, dict[int, torch.Tensor]], None] | None = None,
) -> Replay:
    """Take the recorded steps anew from ``start``.

    ``until`` is asked with the number of each step and its loss whether to end before taking it;
    ``taken`` is told after each step how many there were, with the leaves by original's identity.

    Raises:
        TapeUnavailable: a tape cannot be replayed, or uses a parameter the start lacks.
    """
    course = course or Course()
    with kept_random_state():
        optimizer, leaves = start.fresh()
        if course.prepare is not None:
            course.prepare(leaves)
        if course.everything:
            _hold_everything(optimizer, leaves)
        if course.optimizer is not None:
            optimizer = course.optimizer(
                [{**group, "params": list(group["params"])} for group in optimizer.param_groups]
            )
        losses: list[float] = []
        for number, step in enumerate(steps):
            loss = _gradients(step, leaves, course)
            losses.append(loss)
            if not math.isfinite(loss) or (until is not None and until(number, loss)):
                break
            _set_options(optimizer, step, number, course, exchanged=course.optimizer is not None)
            _take(optimizer, step, leaves, course)
            if taken is not None:
                taken(number + 1, leaves)
        return Replay(tuple(losses), tuple(leaf.detach() for leaf in leaves.values()))


def _hold_everything(optimizer: torch.optim.Optimizer, leaves: dict[int, torch.Tensor]) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [leaf for leaf in leaves.values() if id(leaf) not in held]
    optimizer.param_groups[0]["params"].extend(missing)


def _gradients(step: RecordedStep, leaves: dict[int, torch.Tensor], course: Course) -> float:
    """Put the gradients of one step into ``.grad`` of the leaves; its loss, unscaled."""
    change = course.change
    if not Handling.CARRIED & step.handling & course.handling:
        for leaf in leaves.values():
            leaf.grad = None
    total = 0.0
    for tape in step.tapes:
        used = _leaves_of(tape, leaves)
        loss, gradients = tape.gradients(used, change=change)
        total += float(loss.sum()) / step.loss_scale
        for leaf, gradient in zip(used, gradients, strict=True):
            if gradient is None:
                continue
            gradient = gradient.to(leaf.dtype)
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
    return total


def _leaves_of(tape: Tape, leaves: dict[int, torch.Tensor]) -> list[torch.Tensor]:
    used = [leaves.get(id(parameter)) for parameter in tape.parameters]
    found = [leaf for leaf in used if leaf is not None]
    if len(found) < len(used):
        raise TapeUnavailable("a recorded step uses parameters made after the first one")
    return found


def _set_options(
    optimizer: torch.optim.Optimizer,
    step: RecordedStep,
    number: int,
    course: Course,
    *,
    exchanged: bool,
) -> None:
    for position, group in enumerate(optimizer.param_groups):
        recorded = step.options[position] if position < len(step.options) else {}
        if exchanged:
            recorded = {"lr": group["lr"]}
        options = recorded
        if course.options is not None:
            options = course.options(number, position, dict(recorded))
        group.update(options)


def _take(
    optimizer: torch.optim.Optimizer,
    step: RecordedStep,
    leaves: dict[int, torch.Tensor],
    course: Course,
) -> None:
    if Handling.CLEARED & step.handling & course.handling:
        for leaf in leaves.values():
            leaf.grad = None
    own = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if step.loss_scale != 1.0:
        inverse = 1.0 / step.loss_scale
        for leaf in own:
            assert leaf.grad is not None
            leaf.grad.mul_(inverse)
        if not all(bool(torch.isfinite(p.grad).all()) for p in own if p.grad is not None):
            # A GradScaler leaves such a step out.
            return
    for clipping in step.clippings if course.clippings is None else course.clippings:
        clipped = own
        if clipping.parameters is not None:
            clipped = [leaves[id(p)] for p in clipping.parameters if id(p) in leaves]
        threshold = clipping.threshold
        if clipping.scaled and course.handling & Handling.CLIPPED_SCALED:
            threshold /= step.loss_scale
        if clipping.norm_type is None:
            torch.nn.utils.clip_grad_value_(clipped, threshold)
        else:
            torch.nn.utils.clip_grad_norm_(clipped, threshold, norm_type=clipping.norm_type)
    optimizer.step()


def _leaf(parameter: torch.Tensor) -> torch.Tensor:
    copied = torch.empty_strided(
        parameter.shape, parameter.stride(), dtype=parameter.dtype, device=parameter.device
    )
    copied.copy_(parameter.detach())
    return copied.requires_grad_(parameter.requires_grad)


def _copy_optimizer(
    optimizer: torch.optim.Optimizer,
    originals: Sequence[torch.Tensor],
    copies: Sequence[torch.Tensor],
) -> torch.optim.Optimizer:
    """The optimizer with its state, over ``copies`` instead of ``originals``."""
    memo: dict[int, Any] = {id(o): c for o, c in zip(originals, copies, strict=True)}
    try:
        return copy.deepcopy(optimizer, memo)
    except Exception as error:  # an optimizer of the user's own may hold anything
        said = str(error).strip().splitlines()
        raise TapeUnavailable(
            f"{type(optimizer).__name__} cannot be copied: {said[0] if said else error!r}"
        ) from error
