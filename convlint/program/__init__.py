"""Static extraction: libcst syntax trees to ``TrainingProgram`` facts.

Importing this package, or its facts, does not load libcst; asking for ``extract_program`` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlint.program.extract import extract_program
    from convlint.program.index import ProjectIndex, SourceSyntaxError

__all__ = ["ProjectIndex", "SourceSyntaxError", "extract_program"]

_HOME = {
    "ProjectIndex": "convlint.program.index",
    "SourceSyntaxError": "convlint.program.index",
    "extract_program": "convlint.program.extract",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
