"""Bytes passed at a limited rate by all who share it: a queue in front of a token bucket, on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distd.core.pacing import TokenBucket


class Pacer:
    """One rate for many connections, which take turns. Without a limit it costs an `if`.

    `on_use` is called when the first one begins and when the last one has ended.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_use: Callable[[], None] = _nobody
        self._bucket = TokenBucket()
        self._clock = clock
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._users = 0

    @property
    def rate_bytes_per_s(self) -> float:
        """0: no limit."""
        return self._bucket.rate_bytes_per_s

    @property
    def in_use(self) -> bool:
        return self._users > 0

    def set_rate(self, rate_bytes_per_s: float) -> None:
        """Takes effect at once, for those who wait too."""
        if rate_bytes_per_s != self._bucket.rate_bytes_per_s:
            self._bucket.set_rate(rate_bytes_per_s, self._clock())
            self._changed.set()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Around a transfer, so that a limit that is shared out can tell who needs a part of it."""
        self._users += 1
        if self._users == 1:
            self._bucket.begin(self._clock())
            self.on_use()
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                self.on_use()

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Around a connection's body that may hold so much unread: it crosses the link before anybody pays, so it is paid for
        at once, and each part that is read is paid for in its place."""
        held_bytes = self._bucket.hold(size_bytes, self._clock())
        try:
            yield
        finally:
            self._bucket.release(held_bytes, self._clock())

    def part_bytes(self, most_bytes: int) -> int:
        """How much to read or send at once, of at most `most_bytes`: small enough to take turns."""
        return self._bucket.part_bytes(most_bytes)

    def ahead_bytes(self, most_bytes: int) -> int:
        """How much a connection may buffer, of at most `most_bytes`."""
        return self._bucket.ahead_bytes(most_bytes)

    async def pay(self, size_bytes: int) -> None:
        """Call it for each part, before handing it on; returns when it may go."""
        if self._bucket.rate_bytes_per_s == 0:
            return
        async with self._turn:
            while (wait_s := self._bucket.wait_s(self._clock())) > 0:
                self._changed.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                except TimeoutError:
                    pass
            self._bucket.pay(size_bytes, self._clock())


def _nobody() -> None:
    """For a pacer whose users nobody counts."""
