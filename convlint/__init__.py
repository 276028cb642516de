"""convlint says whether a training run will converge, and what to change if not, before the run.

Importing this package is cheap: it loads neither libcst nor torch nor numpy.
"""

__version__ = "0.1.0"
