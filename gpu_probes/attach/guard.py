"""Python's audit events: the last look at writes and connections, however the script makes them.

What the replaced functions redirect never arrives here outside the probe's own directories. What
arrives has found another way to the disk (``io.FileIO``, a function imported early) and is
refused, with an error the script sees at the line that asked. Connections to other machines are
refused once training has begun: before it, data sets are fetched.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import sys
from typing import TYPE_CHECKING, Any

from convlint.gpu_probes.attach.held_writes import WRITING_FLAGS, path_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from convlint.gpu_probes.attach.shadow_tree import ShadowTree

# Positions of the paths that each event changes, each with that of the open directory the path
# is relative to, -1 for none in particular.
_CHANGES = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
}
_LOCAL_NAMES = ("", "localhost", "0.0.0.0", "::")


def guard_writes(tree: ShadowTree) -> None:
    """Refuse, from now on and for good, every write of this process outside ``tree``'s own."""

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            name, _, flags = args
            if isinstance(flags, int) and flags & WRITING_FLAGS:
                _require_exempt(name, tree)
        elif event in _CHANGES:
            for path, directory in _CHANGES[event]:
                # A directory was opened by its path, which decided where it is.
                if args[directory] == -1:
                    _require_exempt(args[path], tree)

    sys.addaudithook(look)


def guard_network(training: Callable[[], bool], refused: Callable[[str], None]) -> None:
    """Refuse connections to other machines while ``training()``; ``refused`` is told of each."""

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = args[1]
        elif event == "socket.getaddrinfo":
            address = args[:2]
        else:
            return
        if not isinstance(address, tuple) or _is_local(address[0]) or not training():
            return
        refused(str(address[0]))
        raise ConnectionRefusedError(
            errno.ECONNREFUSED,
            "convlint allows no network once training has begun (see --allow-network)",
        )

    sys.addaudithook(look)


def _require_exempt(path: object, tree: ShadowTree) -> None:
    text = path_text(path)
    if text is None or tree.is_exempt(os.path.abspath(text)):  # noqa: PTH100
        return
    raise PermissionError(
        errno.EACCES, "convlint holds writes back and cannot redirect this one", text
    )


def _is_local(host: object) -> bool:
    name = os.fsdecode(host) if isinstance(host, bytes) else host
    if name is None or name in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False
