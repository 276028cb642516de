"""Static extraction: Python's syntax trees to ``TrainingProgram`` facts.

Importing this package, or its facts, loads no extractor; asking for ``extract_program`` does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlint.program.extract import extract_program
    from convlint.program.index import ProjectIndex
    from convlint.program.parsing import SourceSyntaxError

__all__ = ["ProjectIndex", "SourceSyntaxError", "extract_program"]

_HOME = {
    "ProjectIndex": "convlint.program.index",
    "SourceSyntaxError": "convlint.program.parsing",
    "extract_program": "convlint.program.extract",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
