"""The file the user's interpreter starts: ``python child.py SETTINGS CONVLINT GPU_PROBES``.

With more arguments it becomes this interpreter run with those: a launcher, which starts this file
again once for each of its processes.

convlint need not be installed in that interpreter. The two directories are registered under
their package names and nothing else is made importable.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def register_package(name: str, directory: str) -> None:
    """Make ``directory`` the package ``name``, whatever the import path holds."""
    spec = importlib.util.spec_from_file_location(
        name, Path(directory) / "__init__.py", submodule_search_locations=[directory]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package at {directory}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def main() -> None:
    """Register the packages, then hand over to :func:`convlint.gpu_probes.attach.run_script.run`."""
    settings_path, convlint_directory, probes_directory, *launcher = sys.argv[1:]
    register_package("convlint", convlint_directory)
    register_package("convlint.gpu_probes", probes_directory)
    if launcher:
        from convlint.gpu_probes.attach.launcher import launch

        launch(settings_path, launcher)
    from convlint.gpu_probes.attach.run_script import run

    run(settings_path)


if __name__ == "__main__":
    main()
