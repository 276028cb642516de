"""The modules of a project: what they are made of, how they are trained and switched."""

from __future__ import annotations

import msgspec

from convlint.findings import Location


class Model(msgspec.Struct, frozen=True):
    """A torch.nn.Module of the project, or a bare Sequential, with what its forward does.

    ``object`` is the instance; ``layers`` are the library modules in it, in registration order,
    submodules included. ``inputs`` are the flows of forward's arguments and ``outputs`` the flows
    it returns, when the forward was analysed (``forward_known``). ``recurrent`` and other
    judgements are the rules' business: they read ``cls`` of the layers.
    ``plain_lists`` are module-holding lists / dicts / tuples assigned to an attribute without
    ModuleList: their attribute name and place. ``complete`` is false when a base class, a layer
    or a call in the class could not be resolved.
    """

    object: int
    cls: str
    location: Location
    layers: tuple[int, ...]
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    forward_known: bool = False
    complete: bool = True
    bases: tuple[str, ...] = ()
    plain_lists: tuple[PlainList, ...] = ()
    standalone: bool = False


class PlainList(msgspec.Struct, frozen=True):
    """Modules (or Parameters) kept in a plain list, dict or tuple attribute of a module."""

    attribute: str
    container: str
    """``list``, ``tuple`` or ``dict``."""
    holds: str
    """``modules`` or ``parameters``."""
    location: Location
    layers: tuple[int, ...]
    registered_later: bool = False


class GradientSwitch(msgspec.Struct, frozen=True):
    """``p.requires_grad = False`` and its relatives, in program order.

    ``name`` is what was written: ``requires_grad``, ``requires_grad_``, or what resembles them.
    ``on`` is ``parameters``, ``module`` or ``tensor``; ``modules`` are all modules concerned,
    submodules registered by then included. ``trainable`` is the value, None when not known.
    ``whole`` is false when only some of their parameters are concerned, or not always.
    ``called`` is true for a method call.
    """

    location: Location
    name: str
    modules: tuple[int, ...] = ()
    on: str = "parameters"
    trainable: bool | None = None
    whole: bool = True
    called: bool = False
    in_loop: bool = False


class Exhausted(msgspec.Struct, frozen=True):
    """A generator of parameters walked a second time, by ``name``, when it is empty."""

    first: Location
    second: Location
    name: str


class ModeOverride(msgspec.Struct, frozen=True):
    """A method ``train(self, mode)`` of a module that does not do what ``Module.train`` does.

    ``fault`` is ``self passed`` or ``mode dropped`` for a ``super().train(...)`` at ``location`` that
    does not get the mode, ``mode ignored`` where nothing reads the mode and the part named at
    ``location`` is put in training mode, and ``self not returned``, with the last statement's
    ``location``. ``used`` says that the file uses what ``train`` or ``eval`` of an instance returns.
    """

    owner: str
    location: Location
    mode: str
    fault: str
    used: bool = False
