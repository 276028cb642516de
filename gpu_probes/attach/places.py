"""Which line of the user's code a call comes from."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType

from convlint.gpu_probes.observations import Place

_OURS = str(Path(__file__).resolve().parent.parent)
_INSTALLED = tuple(
    {
        str(Path(path).resolve())
        for path in (
            sysconfig.get_path("stdlib"),
            sysconfig.get_path("platstdlib"),
            sysconfig.get_path("purelib"),
            sysconfig.get_path("platlib"),
        )
        if path
    }
)
_owner: dict[str, str] = {}
_owner_of_folder: dict[str, str] = {}


def _owner_of(filename: str) -> str:
    """``ours``, ``torch``, ``installed`` (a library or Python itself) or ``user``."""
    owner = _owner.get(filename)
    if owner is None:
        # Resolving a path takes a look at each of its parts: once per folder, but for links.
        folder = str(Path(filename).parent)
        if filename.startswith("<") or Path(filename).is_symlink():
            owner = _owner_of_path(filename)
        else:
            if folder not in _owner_of_folder:
                _owner_of_folder[folder] = _owner_of_path(folder)
            owner = _owner_of_folder[folder]
        _owner[filename] = owner
    return owner


def _owner_of_path(path: str) -> str:
    resolved = "" if path.startswith("<") else str(Path(path).resolve())
    parts = Path(resolved).parts
    if resolved.startswith(_OURS):
        return "ours"
    if "site-packages" in parts or "dist-packages" in parts:
        return "torch" if "torch" in parts else "installed"
    return "installed" if not resolved or resolved.startswith(_INSTALLED) else "user"


def user_frame(created: object | None = None) -> FrameType | None:
    """The innermost frame of the user's own code, or of a library that is not torch.

    With ``created``, the constructors of that very object are stepped over, so that the frame is
    the one that asked for the object.
    """
    frame: FrameType | None = sys._getframe(1)
    library: FrameType | None = None
    while frame is not None:
        owner = _owner_of(frame.f_code.co_filename)
        if owner in ("user", "installed") and not _constructs(frame, created):
            if owner == "user":
                return frame
            if library is None and not frame.f_code.co_filename.startswith("<"):
                library = frame
        frame = frame.f_back
    return library


def owner_of_code(code: CodeType) -> str:
    """Whose code it is: ``ours``, ``torch``, ``installed`` (a library or Python) or ``user``."""
    return _owner.get(code.co_filename) or _owner_of(code.co_filename)


def user_place(created: object | None = None) -> Place | None:
    """The line of :func:`user_frame`."""
    frame = user_frame(created)
    if frame is None:
        return None
    return place_of(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def place_of(filename: str, line: int, function: str) -> Place:
    """A place with its path made absolute and the module level written as no function."""
    named = "" if function == "<module>" else function
    return Place(path=str(Path(filename).absolute()), line=line, function=named)


def is_user_code(filename: str) -> bool:
    """Whether the file is neither installed, nor Python's, nor ours."""
    return _owner_of(filename) == "user"


def _constructs(frame: FrameType, created: object | None) -> bool:
    code = frame.f_code
    if created is None or code.co_name not in ("__init__", "__new__") or not code.co_varnames:
        return False
    return frame.f_locals.get(code.co_varnames[0]) is created
