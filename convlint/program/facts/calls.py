"""Calls: of losses, of initialisations, of other library functions."""

from __future__ import annotations

import msgspec

from convlint.findings import Location
from convlint.program.facts.values import UNKNOWN, Value


class LossCall(msgspec.Struct, frozen=True):
    """A loss function applied: ``criterion(output, target)`` or ``F.cross_entropy(...)``.

    ``name`` is canonical: the functional's short name (``cross_entropy``,
    ``binary_cross_entropy_with_logits``, ``nll_loss``, ``mse_loss`` ...) for both forms.
    """

    name: str
    location: Location
    input: int | None
    target: int | None
    args: dict[str, Value] = {}
    object: int | None = None
    flow: int | None = None
    context: tuple[str, ...] = ()
    loops: tuple[int, ...] = ()
    function: str = ""
    """The function it stands in, empty at module level."""
    overwritten: Location | None = None
    """Where the name that holds it is assigned anew in the same block, with no use in between."""


class Initialisation(msgspec.Struct, frozen=True):
    """A call that sets initial weights: ``torch.nn.init.xavier_uniform_(m.weight)``.

    ``layers`` are the modules whose tensor is initialised, when resolved; ``classes`` the
    isinstance guards in force (``torch.nn.Linear``) when the function was analysed on its own.
    ``parameter`` is ``weight``, ``bias``, another attribute name or "" when unknown.
    ``order`` grows with program order.
    """

    name: str
    location: Location
    layers: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    parameter: str = ""
    args: dict[str, Value] = {}
    order: int = 0
    within: tuple[str, ...] = ()
    """The project functions in progress, outermost first; methods as ``Class.method``."""


class Call(msgspec.Struct, frozen=True):
    """A call of a library function or class whose name was resolved."""

    name: str
    location: Location
    args: dict[str, Value] = {}
    result: Value = UNKNOWN
    receiver: int | None = None
    context: tuple[str, ...] = ()
    loops: tuple[int, ...] = ()
    function: str = ""
    conditional: bool = False
    """Whether a branch decides if it happens."""
    within: tuple[str, ...] = ()
    """The project functions in progress, outermost first; methods as ``Class.method``."""
    conditions: tuple[str, ...] = ()
    """Source text of the tests in force, outermost first; ``not (...)`` on the other side of a
    test, and after one whose true side leaves the block."""


class Unused(msgspec.Struct, frozen=True):
    """An expression statement whose value nothing uses: ``optimizer.step`` without a call
    (``called`` is false), ``x.to(device)`` on a tensor (``called`` is true).

    ``receiver`` is the object the method belongs to, ``flow`` the tensor.
    """

    location: Location
    name: str
    called: bool = False
    receiver: int | None = None
    flow: int | None = None
