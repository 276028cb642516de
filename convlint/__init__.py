"""convlint says whether a training run will converge, and what to change if not, before the run.

Importing this package is cheap: it loads neither libcst nor torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlint.api import check

__all__ = ["__version__", "check"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "check":
        from convlint.api import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
