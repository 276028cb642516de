"""What the build ships: every package of the tree under its name in ``convlint``."""

from __future__ import annotations

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
