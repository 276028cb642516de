"""Training curves: reading logs, noise, trend and convergence class of a loss series, criteria.

The facts (``convlint.curves.facts``) need nothing; everything that computes needs numpy and is
loaded when asked for. ``convlint check`` never imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlint.curves.classify import convergence

__all__ = ["convergence"]


def __getattr__(name: str) -> Any:
    if name == "convergence":
        from convlint.curves.classify import convergence

        return convergence
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
