"""What happens when a program runs, in order: event trees of loops and branches."""

from __future__ import annotations

import enum
from typing import Union

import msgspec

from convlint.findings import Location
from convlint.program.facts.values import UNKNOWN, Value


class EventKind(enum.StrEnum):
    """What happens in a loop."""

    ZERO_GRAD = "zero_grad"
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    UNSCALE = "unscale"
    CLIP = "clip"
    STEP = "step"
    SCALER_STEP = "scaler_step"
    SCALER_UPDATE = "scaler_update"
    SCHEDULER_STEP = "scheduler_step"
    LR_WRITE = "lr_write"
    """param_group["lr"] = ..."""
    GRAD_WRITE = "grad_write"
    """p.grad = ..., p.grad.add_(...) and other hand-made gradients."""
    PARAMETER_WRITE = "parameter_write"
    """Hand-made update: p.data.add_(...), p -= lr * p.grad."""
    TRAIN_MODE = "train_mode"
    EVAL_MODE = "eval_mode"
    ACCUMULATE = "accumulate"
    """A running total takes in a loss tensor (``total += loss``)."""
    LOG = "log"
    CHECKPOINT = "checkpoint"
    UNKNOWN_CALL = "unknown_call"
    """A call that could not be resolved and received objects of the training (``escapes``)."""


class Event(msgspec.Struct, frozen=True, tag="event"):
    """One event, at ``location``, reached through the calls at ``via`` (outermost first).

    ``target`` is the object acted on: the optimizer of a step / zero_grad, the scheduler of a
    scheduler_step, the scaler of unscale, the model of train_mode / eval_mode / forward / a
    ``model.zero_grad()``, the loss object of a loss; None when it could not be resolved.
    ``optimizer`` is the optimizer an unscale or scaler_step acts on. ``over`` are the modules
    whose parameters are cleared or clipped (None when not resolved). ``flow`` is the tensor
    concerned: the loss of a backward, the output of a forward or loss, the value taken in by
    accumulate. ``name`` is the qualified name of the call. ``args`` of a scheduler_step hold the
    source of its argument as ``text``; those of an lr_write ``value``, or a ``factor`` or
    ``divisor`` of the rate there was (``read`` is then true when that rate was read back first). ``flags`` holds any of:
    ``scaled`` (backward of a scaled loss), ``closure`` (step with a closure), ``create_graph``,
    ``retain_graph``, ``accelerate``, ``hand-written``, ``value`` (clip by value),
    ``managed`` (the callee decides when it takes effect), ``conditional-expression``.
    ``context`` is the stack of enclosing contexts: ``no_grad``, ``enable_grad``, ``autocast``,
    ``accumulate``, ``no_sync``, ``dist_autograd``, ``try``.
    """

    kind: EventKind
    location: Location
    target: int | None = None
    optimizer: int | None = None
    over: tuple[int, ...] | None = None
    flow: int | None = None
    name: str = ""
    args: dict[str, Value] = {}
    flags: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    via: tuple[Location, ...] = ()
    escapes: tuple[int, ...] = ()


class Arm(msgspec.Struct, frozen=True):
    """One side of a branch. ``ends`` is how control leaves it: return, continue, break, raise or
    None when it falls through to what follows."""

    body: tuple[Node, ...] = ()
    ends: str | None = None


class Branch(msgspec.Struct, frozen=True, tag="branch"):
    """An ``if`` (or ``try``, ``match``): exactly one arm runs; an absent ``else`` is an empty arm.

    ``condition`` is the source text of the test; ``modulo`` is true when the test involves ``%``;
    ``guards`` are objects the test compares with None (``if scaler is not None``);
    ``first_iteration`` is true for tests such as ``i == 0``. ``taken`` holds the outcome of the
    test for every iteration of the loop numbered ``loop`` when it depends on its index alone.
    """

    location: Location
    arms: tuple[Arm, ...]
    condition: str = ""
    modulo: bool = False
    first_iteration: bool = False
    guards: tuple[int, ...] = ()
    taken: tuple[bool, ...] | None = None
    loop: int | None = None


class Loop(msgspec.Struct, frozen=True, tag="loop"):
    """A ``for`` or ``while`` loop and everything that happens in it, callees included.

    ``over`` is what a ``for`` iterates: a loader object, a constant range (``trips`` then holds
    the number of iterations), an optimizer's ``param_groups`` (by that name), or unknown. ``index``
    is the loop's variable, the first where it unpacks several (``fold`` in ``for fold, (a, b) in
    enumerate(splits)``). ``incomplete`` is true when something in it could not be resolved and
    received an object of the training.
    """

    id: int
    location: Location
    kind: str
    over: Value = UNKNOWN
    trips: Value = UNKNOWN
    index: str = ""
    body: tuple[Node, ...] = ()
    incomplete: bool = False
    ends: str | None = None
    """How control leaves the body where it does so in every iteration: ``break``, ``return``."""
    iterator: Location | None = None
    """Where the one-shot iterator was made that this ``for`` uses up (``iter(loader)``,
    ``enumerate(loader)``, ``zip(...)``), when that was not in the loop's own head."""
    iterator_loops: tuple[int, ...] = ()
    """The loops around the place where that iterator was made, outermost first."""
    carried: tuple[Carried, ...] = ()


class Carried(msgspec.Struct, frozen=True):
    """A name whose tensors pass from one iteration of a loop to the next.

    ``before`` are the flows it holds when an iteration begins, ``after`` those it holds when the
    iteration ends (a tuple of states has several).
    """

    name: str
    before: tuple[int, ...]
    after: tuple[int, ...]


Node = Union[Event, Branch, Loop]  # noqa: UP007 - msgspec resolves it at run time


class Entry(msgspec.Struct, frozen=True):
    """A place execution can start: the module's top level, or a function nobody here calls."""

    name: str
    location: Location
    body: tuple[Node, ...]
    standalone: bool = False
    """True for a function analysed on its own, with unknown arguments."""
