"""Where the first NaN or infinity showed, and the operation it came from."""

from __future__ import annotations

from dataclasses import dataclass

from convlint.gpu_probes.observations.values import Place


@dataclass(frozen=True)
class NonFinite:
    """The first NaN or infinity: ``what`` is ``input``, ``activation``, ``loss``, ``gradient`` or
    ``weight``; ``name`` the tensor or module; ``phase`` ``hold`` or ``run``."""

    what: str
    name: str
    phase: str
    step: int
    kind: str
    place: Place | None = None


@dataclass(frozen=True)
class NonFiniteOrigin:
    """The operation of a training step that turned finite numbers into NaN or infinity (M4).

    ``operation`` is its name in PyTorch (``log``, ``sqrt``, ``div``), empty when what the step
    was given was not finite before; ``backward`` when its derivative did it. ``cause`` is
    ``domain error`` (not finite in float64 either), ``overflow`` (finite in float64), ``infinite
    derivative`` or ``not finite before the step``.
    """

    operation: str
    module: str
    cls: str
    backward: bool
    cause: str
    phase: str
    step: int
    dtype: str = ""
    place: Place | None = None
