"""Judges many files in several processes.

The processes are started anew (``spawn``), so that nothing depends on what the calling program has
running. Each is handed a few files at a time, neighbours together, because files of one directory
import the same modules. One that dies costs the file it was at; the next takes over the rest.
"""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from multiprocessing import connection, get_context, resource_tracker
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.judging import Complaint, FileReport, JudgedFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection

    from convlint.settings import Overrides
    from convlint.workload import Job

_LARGEST_BATCH = 16


def judge_in_processes(
    jobs: Sequence[Job],
    overrides: Overrides | None,
    processes: int,
    replaced: Mapping[str, bytes],
) -> Iterator[tuple[Job, JudgedFile]]:
    """The report on each file, in whatever order they are done.

    ``replaced`` has bytes that stand for those of files on the disk, by shown path. However this ends, no process is left behind.
    """
    processes = min(processes, len(jobs))
    size = max(1, min(_LARGEST_BATCH, len(jobs) // (4 * processes)))
    waiting = deque(list(jobs[start : start + size]) for start in range(0, len(jobs), size))
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker(overrides, replaced) for _ in range(processes))
        while waiting or any(worker.batch for worker in workers):
            for worker in workers:
                if not worker.batch and waiting:
                    worker.hand(waiting.popleft())
            busy = {worker.connection: worker for worker in workers if worker.batch}
            for ready in connection.wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                job = worker.batch[0]
                try:
                    judged = worker.take()
                except (EOFError, OSError):
                    judged = JudgedFile(FileReport(faults=(Complaint(worker.how_it_ended()),)))
                    if worker.batch[1:]:
                        waiting.appendleft(worker.batch[1:])
                    workers[workers.index(worker)] = _Worker(overrides, replaced)
                yield job, judged
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """One process and the files it was handed and has not answered for."""

    def __init__(self, overrides: Overrides | None, replaced: Mapping[str, bytes]) -> None:
        context = get_context("spawn")
        self.batch: list[Job] = []
        self.connection, theirs = context.Pipe()
        given = (theirs, overrides, dict(replaced))
        self._process = context.Process(target=_serve, args=given, daemon=True)
        with _interruptions_put_off():
            self._process.start()
        theirs.close()

    def hand(self, batch: list[Job]) -> None:
        self.batch = batch
        with contextlib.suppress(OSError):  # it has died; taking its answer will say so
            self.connection.send(batch)

    def take(self) -> JudgedFile:
        """Its next answer. Raises EOFError or OSError when it has died."""
        report, signature, digest = _decoder.decode(self.connection.recv_bytes())
        self.batch = self.batch[1:]
        return JudgedFile(report, signature, digest)

    def how_it_ended(self) -> str:
        """In a sentence."""
        self._process.join(5)
        code = self._process.exitcode
        if code is not None and code < 0:
            try:
                how = f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                how = f"was killed by signal {-code}"
        else:
            how = f"ended with exit code {code}"
        return f"not judged: the process that read it {how}"

    def stop(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def _interruptions_put_off() -> Iterator[None]:
    """Processes started meanwhile are deaf to Ctrl-C from their first instruction on.

    The terminal sends it to all of them, and one still starting would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started later, it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_Answer = tuple[FileReport, Any, bytes]
_decoder: msgspec.msgpack.Decoder[_Answer] = msgspec.msgpack.Decoder(_Answer)


def _serve(ours: Connection, overrides: Overrides | None, replaced: Mapping[str, bytes]) -> None:
    """Answer for every file of every batch until the other side is gone."""
    # The terminal sends an interruption to all; the process that asked ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from convlint.config import SettingsFinder
    from convlint.judge import Judge, collecting_between_files

    judge = Judge(SettingsFinder(overrides), replaced=replaced)
    encode = msgspec.msgpack.Encoder().encode
    with collecting_between_files(), contextlib.suppress(EOFError, OSError):
        while True:
            for path, shown in ours.recv():
                ours.send_bytes(encode(tuple(judge.judge(path, shown))))
