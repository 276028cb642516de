"""Training curves: noise, trend and convergence class of a loss series.

Needs numpy. ``convlint check`` never imports it.
"""

from convlint.curves.classify import convergence

__all__ = ["convergence"]
