"""Shares a few files between this process and copies of it (``fork``).

A copy has every module and rule loaded already, so that it is worth while for two files where a
process started anew would take longer to start than they take. What a copy cannot answer for,
this process judges itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from convlint.judging import FileReport, JudgedFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from convlint.judge import Judge
    from convlint.workload import Job

_WORTH_A_COPY = 4_000
"""Bytes of source that take longer to judge than a copy takes to make."""

_Answer = tuple[FileReport, Any, bytes]
_decoder = msgspec.msgpack.Decoder(list[_Answer])


def worth_copies(sizes: Sequence[int]) -> bool:
    """Whether files of these sizes in bytes are done sooner by several processes, and this one can
    be copied: it runs on Linux and has no thread that could be in the middle of something."""
    if not sys.platform.startswith("linux") or sum(sizes) - max(sizes) < _WORTH_A_COPY:
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    except OSError:
        return False


def judge_in_copies(
    jobs: Mapping[Job, int], judge: Judge, processes: int
) -> Iterator[tuple[Job, JudgedFile]]:
    """The report on each file of ``jobs``, which has their sizes in bytes.

    However this ends, no process is left behind.
    """
    own, *others = _shares(jobs, processes)
    judge.load_rules(jobs)
    copies: list[_Copy] = []
    try:
        copies.extend(_Copy(judge, share) for share in others)
        for job in own:
            yield job, judge.judge(*job)
        for copy in copies:
            answers = copy.answers()
            for job in copy.share:
                answer = next(answers, None)
                yield job, judge.judge(*job) if answer is None else JudgedFile(*answer)
    finally:
        for copy in copies:
            copy.end()


def _shares(jobs: Mapping[Job, int], processes: int) -> list[list[Job]]:
    """Shares of about the same size, none of them empty."""
    shares: list[list[Job]] = [[] for _ in range(min(processes, len(jobs)))]
    sizes = [0] * len(shares)
    for job in sorted(jobs, key=lambda job: -jobs[job]):
        least = sizes.index(min(sizes))
        shares[least].append(job)
        sizes[least] += jobs[job]
    return shares


class _Copy:
    """A copy of this process that judges ``share`` and ends."""

    def __init__(self, judge: Judge, share: Sequence[Job]) -> None:
        self.share = share
        self._reading, writing = os.pipe()
        # Both are deaf to Ctrl-C until the copy has said that it will not listen: the terminal
        # sends it to all, and this process ends its copies.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = os.fork()
            if not self._process:
                _answer(judge, share, writing)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writing)

    def answers(self) -> Iterator[_Answer]:
        """Its answers in the order of ``share``; none when it has died."""
        with open(self._reading, "rb", closefd=False) as pipe:
            data = pipe.read()
        try:
            return iter(_decoder.decode(data))
        except msgspec.DecodeError:
            return iter(())

    def end(self) -> None:
        """Let it go, done or not."""
        os.close(self._reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


def _answer(judge: Judge, share: Sequence[Job], writing: int) -> None:
    """What a copy does: judge, answer and end, without anything its original would do at the end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        answers = [tuple(judge.judge(*job)) for job in share]
        with open(writing, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(answers))
    finally:
        os._exit(0)
