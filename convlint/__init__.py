"""convlint says whether a training run will converge, and what to change if not, before the run.

Importing this package is cheap: it loads no parser, no facts, no torch and no numpy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlint.api import check
    from convlint.curves.monitor import ConvergenceMonitor
    from convlint.gpu_probes.attach.in_process import probe

__all__ = ["ConvergenceMonitor", "__version__", "check", "probe"]

__version__ = "0.1.0"

_CHECKOUT = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - pathlib costs start-up time
if not os.path.exists(os.path.join(os.path.dirname(__file__), "rules")):  # noqa: PTH110, PTH118, PTH120
    # Imported from a checkout, where rules/ and gpu_probes/ stand beside this folder; the build
    # (pyproject.toml) moves them inside.
    __path__.append(_CHECKOUT)


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext convlint``: the magics ``%audit`` and ``%%audit``."""
    from convlint.magics import load

    load(ipython)


def __getattr__(name: str) -> Any:
    if name == "check":
        from convlint.api import check

        return check
    if name == "ConvergenceMonitor":
        from convlint.curves.monitor import ConvergenceMonitor

        return ConvergenceMonitor
    if name == "probe":
        from convlint.gpu_probes.attach.in_process import probe

        return probe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
