"""A daemon in memory behind real listeners in another thread, and the real `distctl` against it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from distd.api.schema import PullRequest
from distd.api.server import serve
from tests.api.memory import MemoryDaemon

WAIT_S = 10.0


class ServedDaemon:
    """`memory` is what it knows; `stop` and `start` restart it on the same socket and with the same pulls."""

    def __init__(self, directory: Path, token: str = "") -> None:
        self.memory = MemoryDaemon()
        self.socket = str(directory / "distd.sock")
        self.url = ""
        self._token = token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack: AsyncExitStack | None = None
        self.start()

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(WAIT_S)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(WAIT_S)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    def submitted(self, repo: str) -> str:
        """A pull's id."""
        asked = self.memory.pulls.submit(PullRequest(repo=repo))
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(WAIT_S).id

    def later(self, after_s: float, call: Callable[[], object]) -> None:
        """On the daemon's own loop."""
        self._loop.call_soon_threadsafe(self._loop.call_later, after_s, call)

    async def _start(self) -> None:
        ports = self.memory
        app = ports.app(writable=True, token=self._token)
        self._stack = AsyncExitStack()
        listen = self.url.removeprefix("http://") or "127.0.0.1:0"
        bound = await self._stack.enter_async_context(serve(app, listen, self.socket))
        watching = asyncio.create_task(ports.changes.watch())
        self._stack.callback(watching.cancel)
        self.url = bound.url

    async def _stop(self) -> None:
        if self._stack is not None:
            await self._stack.aclose()
            self._stack = None


def environment(daemon: ServedDaemon | None, **more: str) -> dict[str, str]:
    """What `distctl` needs and nothing of the developer's own."""
    base = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "dumb"}
    return base | ({"DISTD_SOCKET": daemon.socket} if daemon else {}) | more


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "distd.cli", *args]


def distctl(
    daemon: ServedDaemon | None, *args: str, env: Mapping[str, str] | None = None, input: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, with nothing on a terminal."""
    return subprocess.run(
        command(*args),
        env=environment(daemon, **(env or {})),
        input=input,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits for a condition, bounded."""
    give_up_at = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < give_up_at, f"waited in vain for {what}"
        time.sleep(0.01)
