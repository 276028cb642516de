"""Which of the user's own source files this process has loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from convlint.gpu_probes.attach.places import is_user_code

_NOT_OF_THE_SCRIPT = frozenset({"convlint", "sitecustomize", "usercustomize"})
"""Python imports the last two by itself; systems that come with them keep them outside."""


def loaded_sources(script: str) -> tuple[str, ...]:
    """Absolute paths of the script and of every imported module that is not installed."""
    found = {script}
    for name, module in list(sys.modules.items()):
        # Modules made at run time may hold anything under this name.
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or not Path(file).is_absolute():
            continue
        if is_user_code(file) and name not in _NOT_OF_THE_SCRIPT:
            found.add(str(Path(file).resolve()))
    return tuple(sorted(found))
