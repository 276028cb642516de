"""The calls of modules in progress: their keyword arguments, and the user's line inside them."""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any

from torch import nn

from convlint.gpu_probes.attach.places import owner_of_code

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType


class ModuleCalls:
    """Wraps ``nn.Module.__call__``, through which every call of a module passes.

    Every operation of a recorded step asks for its line. The frames around the call of a module
    stay the same while it runs, so they are looked through once per call, not per operation.
    """

    def __init__(self) -> None:
        self.keywords: dict[str, Any] = {}
        """Keyword arguments of the outermost call: global pre-hooks are not given them."""
        self._around: list[FrameType | None] = []
        """For each call in progress the user's frame around it, None until somebody asks."""
        self._restore: Callable[[], None] = lambda: None
        self._call: CodeType | None = None

    def follow(self) -> None:
        """Wrap the calls from here on."""
        original, around = nn.Module.__call__, self._around
        followed = threading.get_ident()

        def call(module: nn.Module, *args: Any, **keywords: Any) -> Any:
            if threading.get_ident() != followed:
                return original(module, *args, **keywords)
            if not around:
                self.keywords = keywords
            around.append(None)
            try:
                return original(module, *args, **keywords)
            finally:
                around.pop()

        self._call = call.__code__
        nn.Module.__call__ = functools.wraps(original)(call)  # type: ignore[method-assign]
        self._restore = functools.partial(setattr, nn.Module, "__call__", original)

    def leave(self) -> None:
        """Unwrap them."""
        self._restore()

    def user_frame(self) -> FrameType | None:
        """What `places.user_frame` finds for the caller, faster inside of modules."""
        around = self._around
        level = asked = len(around)
        library: FrameType | None = None
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if code is self._call and level:
                level -= 1
                if around[level] is not None:
                    frame = around[level]
                    break
            else:
                owner = owner_of_code(code)
                if owner == "user":
                    break
                if library is None and owner == "installed" and code.co_filename[0] != "<":
                    library = frame
            frame = frame.f_back
        for crossed in range(level, asked):
            around[crossed] = frame
        return frame or library
