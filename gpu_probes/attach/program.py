"""The code of the script, module or notebook, and its run as ``__main__``."""

from __future__ import annotations

import importlib.util
import linecache
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convlint.gpu_probes.attach.settings import ProbeSettings


class NoProgram(Exception):
    """There is no code to run; the message is the line the user reads."""


def read_program(settings: ProbeSettings) -> Any:
    """The compiled code of a script or notebook; None for a module, which is found when it runs.

    Raises:
        NoProgram: it cannot be read or parsed.
    """
    script = settings.script
    if settings.module:
        return None
    try:
        source = Path(settings.code or script).read_bytes()
        return compile(source, str(Path(script).absolute()), "exec")
    except OSError as error:
        raise NoProgram(f"{script}: {error.strerror or error}") from None
    except SyntaxError as error:
        line, column = error.lineno or 1, max(1, error.offset or 1)
        raise NoProgram(f"{script}:{line}:{column}: cannot parse: {error.msg}") from None
    except ValueError as error:
        raise NoProgram(f"{script}: cannot parse: {error}") from None


def execute(settings: ProbeSettings, code: Any) -> None:
    """Run the program as ``__main__``, as ``python`` or a notebook's kernel would.

    Raises:
        NoProgram: there is no such module.
    """
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    if settings.module:
        _put_first_on_path(os.getcwd())  # noqa: PTH109 - as python -m does, links and all
        sys.argv = ["-m", *settings.arguments]
        spec, code = _find_module(settings.module)
        path = spec.origin or settings.module
        main.__dict__["__loader__"] = spec.loader
        main.__spec__, main.__package__ = spec, spec.parent
    else:
        path = str(Path(settings.script).absolute())
        _put_first_on_path(str(Path(path).resolve().parent))
        main.__dict__["__loader__"] = SourceFileLoader("__main__", path)
        if settings.code:
            _as_in_a_notebook(main, path, settings.code)
    main.__file__ = path
    sys.argv = [settings.script if not settings.module else path, *settings.arguments]
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _put_first_on_path(directory: str) -> None:
    """``directory`` takes the place of our own, unless Python was told to trust no directory."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = directory


def _find_module(name: str) -> tuple[ModuleSpec, Any]:
    spec = _spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name = f"{name}.__main__"
        spec = _spec(name)
    loader: Any = spec.loader if spec is not None else None
    code = loader.get_code(name) if hasattr(loader, "get_code") else None
    if spec is None or code is None:
        raise NoProgram(f"-m {name}: no such module")
    return spec, code


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError) as error:
        missing = getattr(error, "name", None)
        if missing and not f"{name}.".startswith(f"{missing}."):
            # A module of the package imports something that is not there: the script's own crash.
            raise
        return None


def _as_in_a_notebook(main: ModuleType, path: str, code: str) -> None:
    """What IPython puts into a notebook's namespace; the code's lines where tracebacks look."""
    main.__dict__["display"] = lambda *shown, **options: None
    main.__dict__["get_ipython"] = lambda: None
    text = Path(code).read_text(encoding="utf-8")
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
