"""What the build ships: every package of the tree under its name in ``convlint``."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAPPED = {"convlint": "convlint", "rules": "convlint.rules", "gpu_probes": "convlint.gpu_probes"}


def test_every_package_of_the_tree_is_built() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {
        ".".join((name, *init.parent.relative_to(ROOT / top).parts))
        for top, name in MAPPED.items()
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert present == set(listed)


def test_a_checkout_on_the_path_is_the_whole_package() -> None:
    """``python -c`` in the repository finds ./convlint first, where rules/ is not inside."""
    program = "import convlint.rules, convlint.gpu_probes.observations as o; print(o.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = Path(run.stdout.strip()).resolve()
    assert found == (ROOT / "gpu_probes" / "observations" / "__init__.py").resolve()
