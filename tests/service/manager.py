"""The other side of sd_notify: a datagram socket that remembers what came, and when."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class FakeManager:
    """Listens as systemd does. `environment` is what a service gets from it."""

    def __init__(self, path: Path, watchdog_s: float | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path)}
        if watchdog_s:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        self.heard: list[tuple[float, dict[str, str]]] = []
        """Moments (monotonic seconds) and the assignments of each datagram, in order."""

    def listen(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Reads until the condition holds or the time is over; whether it holds."""
        ends_at = time.monotonic() + timeout_s
        while not until() and (left_s := ends_at - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                datagram = self._socket.recv(4096)
            except TimeoutError:
                break
            lines = datagram.decode().splitlines()
            self.heard.append((time.monotonic(), dict(line.split("=", 1) for line in lines)))
        return until()

    def drain(self) -> None:
        """Reads what has come already, for what is to come to be seen alone."""
        self.listen(lambda: False, 0.05)

    def values(self, name: str) -> list[str]:
        return [found[name] for _, found in self.heard if name in found]

    def moments(self, name: str) -> list[float]:
        return [moment for moment, found in self.heard if name in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
