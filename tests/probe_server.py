"""Probes without the seconds every new interpreter takes to import torch and scikit-learn.

A server process imports them once and forks for every probe: each still runs in a process of its
own, by the code a user's probe runs. ``python probe_server.py CHILD CONVLINT PROBES`` reads the
paths of settings files and answers each with the process that runs it and, in the end, its status.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class ForkedProbe:
    """A probe's process as ``subprocess.Popen`` would show it; the server is its parent."""

    def __init__(self, server: subprocess.Popen[str], settings: Path) -> None:
        self._server = server
        assert server.stdin is not None
        server.stdin.write(f"{settings}\n")
        server.stdin.flush()
        self.pid = int(self._line())
        self.returncode: int | None = None

    def _line(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()

    def poll(self) -> int | None:
        assert self._server.stdout is not None
        if self.returncode is None and select.select([self._server.stdout], [], [], 0.0)[0]:
            self.returncode = int(self._line())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        assert self._server.stdout is not None
        if self.returncode is None:
            if not select.select([self._server.stdout], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("probe", timeout or 0.0)
            self.returncode = int(self._line())
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def probing_by_fork() -> Iterator[None]:
    """Within, ``convlint.launch`` starts the probes of scripts by forking the server."""
    import pytest

    import convlint
    from convlint import gpu_probes, launch

    probes = Path(gpu_probes.__path__[0]).resolve()
    command = [
        sys.executable,
        __file__,
        str(probes / "attach"),
        str(Path(convlint.__file__).resolve().parent),
        str(probes),
    ]
    server = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def start(command: list[str], directory: str, script_output: str) -> ForkedProbe:
        assert (command[0], script_output) == (sys.executable, "discard")
        return ForkedProbe(server, Path(directory) / launch.SETTINGS_FILE)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "_start", start)
            yield
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait()


def serve() -> None:
    """Fork for every line of standard input, until it ends."""
    attach, convlint_directory, probes_directory = sys.argv[1:4]
    sys.path.insert(0, attach)
    from child import register_package

    register_package("convlint", convlint_directory)
    register_package("convlint.gpu_probes", probes_directory)
    del sys.path[0]

    import sklearn.datasets
    import torch
    from sklearn import model_selection, preprocessing

    # The first optimizer of a process imports torch's compiler.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert torch.get_num_threads() == 1
    assert sklearn.datasets and model_selection and preprocessing
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _become_probe(line.strip())
        answers.write(f"{process}\n")
        answers.flush()
        _, status = os.waitpid(process, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _become_probe(settings_path: str) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    from convlint.gpu_probes.attach.run_script import run

    run(settings_path)


if __name__ == "__main__":
    serve()
