"""The worker process as the server sees it: one request at a time, ended when it takes too long."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from convlint.server.messages import Reply, decode_reply, encode

if TYPE_CHECKING:
    from convlint.server.messages import Request

LONGEST_CHECK = 30.0
"""Seconds. Files that take longer than a tenth of this are rare; one that hangs must not stay."""

PATIENCE_WITH_STALE = 0.3
"""Seconds a check nobody waits for any more may still take: about what a new worker costs."""


class Checker:
    """Runs requests in a worker process of its own, started when first needed.

    ``directory`` is what shown paths are relative to: the root of the workspace.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, request: Request) -> Reply:
        """The reply to ``request``. Cancelling it makes the worker free again soon.

        A worker that dies or takes over ``LONGEST_CHECK`` seconds becomes a fault of the reply.
        """
        async with self._one_at_a_time:
            answering = self._send(request)
            try:
                return await asyncio.wait_for(asyncio.shield(answering), LONGEST_CHECK)
            except TimeoutError:
                self.restart()
                return Reply(faults=(f"a check took over {LONGEST_CHECK:g} s and was ended",))
            except asyncio.CancelledError:
                await self._outlast(answering)
                raise

    def restart(self) -> None:
        """End the worker; the next request starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    async def _outlast(self, answering: asyncio.Future[Reply]) -> None:
        """Wait a moment for an answer nobody wants, then make an end."""
        try:
            await asyncio.wait_for(answering, PATIENCE_WITH_STALE)
        except (TimeoutError, asyncio.CancelledError):
            self.restart()

    def _send(self, request: Request) -> asyncio.Future[Reply]:
        """Have a thread wait for the answer; it ends with the worker, and never holds up an exit."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()
        process = self._running()

        def settle(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        def exchange() -> None:
            reply = _exchange(process, request)
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, reply)

        threading.Thread(target=exchange, daemon=True).start()
        return answered

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            # -P: modules of the workspace must not stand in for those of the standard library.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "convlint.server.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self._directory,
            )
        return self._process


def _exchange(process: subprocess.Popen[bytes], request: Request) -> Reply:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(encode(request))
        process.stdin.flush()
        line = process.stdout.readline()
        if line:
            return decode_reply(line)
    except (OSError, ValueError) as error:
        return Reply(faults=(f"a check ended before it was done: {error}",))
    finally:
        if process.poll() is not None:
            process.stdin.close()
            process.stdout.close()
    return Reply(faults=("a check ended before it was done",))
