"""Sends the writes of libraries that reach the disk from C or C++ to a :class:`ShadowTree`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from convlint.gpu_probes.attach.held_writes import path_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from convlint.gpu_probes.attach.shadow_tree import ShadowTree

_WRITING_NOTHING: Final = frozenset(
    {"fc-list", "ldconfig", "lscpu", "nvidia-smi", "rocm-smi", "uname"}
)
"""Programs that libraries ask about the machine: by name, whatever their directory."""


def hold_library_writes(tree: ShadowTree) -> dict[str, Callable[[ModuleType], None]]:
    """For each library, what to call with it right after it was imported."""
    return {
        "safetensors": functools.partial(_hold_safetensors, tree),
        "h5py": functools.partial(_hold_h5py, tree),
        "sqlite3": functools.partial(_hold_sqlite, tree),
        "cv2": functools.partial(_hold_opencv, tree),
        "subprocess": functools.partial(_note_programs, tree),
    }


def hold_torch_writes(tree: ShadowTree, torch: Any) -> None:
    """Replace torch's own writers and readers."""
    for owner in (torch, torch.serialization, torch.jit):
        _map_argument(owner, "save", 1, "f", functools.partial(tree.writing, keep=False))
        _map_argument(owner, "load", 0, "f", tree.reading)


def _hold_safetensors(tree: ShadowTree, module: Any) -> None:
    """What its readers and writers for torch and NumPy import from the package."""
    writing = functools.partial(tree.writing, keep=False)
    _map_argument(module, "serialize_file", 1, "filename", writing)
    _map_argument(module, "safe_open", 0, "filename", tree.reading)


def _hold_opencv(tree: ShadowTree, module: Any) -> None:
    _map_argument(module, "imwrite", 0, "filename", functools.partial(tree.writing, keep=False))
    _map_argument(module, "imread", 0, "filename", tree.reading)


def _hold_h5py(tree: ShadowTree, module: Any) -> None:
    original = module.File.__init__

    @functools.wraps(original)
    def open_file(self: Any, name: Any, mode: str = "r", *args: Any, **kwargs: Any) -> None:
        path = path_text(name)
        if path is not None and mode == "r":
            name = tree.reading(path)
        elif path is not None:
            name = tree.writing(
                path, keep=mode in ("a", "r+"), exclusive=mode in ("x", "w-"), create=mode != "r+"
            )
        original(self, name, mode, *args, **kwargs)

    module.File.__init__ = open_file


def _hold_sqlite(tree: ShadowTree, module: Any) -> None:
    def held(path: str) -> str:
        if path in ("", ":memory:"):
            return path
        scheme, colon, rest = path.rpartition("file:")
        file, mark, query = rest.partition("?") if colon else (rest, "", "")
        if not file or "mode=memory" in query or file == ":memory:":
            return path
        target = tree.writing(file, keep=True)
        return f"{scheme}{colon}{target}{mark}{query}"

    for owner in (module, module.dbapi2):
        _map_argument(owner, "connect", 0, "database", held)


def _note_programs(tree: ShadowTree, module: Any) -> None:
    """Remember the programs the script starts: what they write is beyond our reach."""
    original = module.Popen.__init__

    @functools.wraps(original)
    def start(self: Any, args: Any, *rest: Any, **kwargs: Any) -> None:
        command = args if isinstance(args, str | bytes) else next(iter(args), "")
        program = (path_text(command) or "").partition(" ")[0]
        if Path(program).name not in _WRITING_NOTHING:
            tree.programs.setdefault(program)
        original(self, args, *rest, **kwargs)

    module.Popen.__init__ = start


def _map_argument(
    owner: Any, function: str, position: int, name: str, where: Callable[[str], str]
) -> None:
    """Replace ``owner.function`` so that the path it is given becomes ``where(path)``."""
    original = getattr(owner, function)

    @functools.wraps(original)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        given = args[position] if len(args) > position else kwargs.get(name)
        path = path_text(given)
        if path is None:
            return original(*args, **kwargs)
        if len(args) > position:
            args = (*args[:position], where(path), *args[position + 1 :])
        else:
            kwargs[name] = where(path)
        return original(*args, **kwargs)

    setattr(owner, function, mapped)
