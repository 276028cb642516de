"""Which of the user's own source files this process has loaded."""

from __future__ import annotations

import sys
from pathlib import Path

from convlint.gpu_probes.attach.places import is_user_code


def loaded_sources(script: str) -> tuple[str, ...]:
    """Absolute paths of the script and of every imported module that is not installed."""
    found = {script}
    for name, module in list(sys.modules.items()):
        # Modules made at run time may hold anything under this name.
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or not Path(file).is_absolute():
            continue
        if is_user_code(file) and name != "convlint":
            found.add(str(Path(file).resolve()))
    return tuple(sorted(found))
