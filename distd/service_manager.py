"""Speaks to the service manager that started the daemon (systemd): ready, reloading, stopping, and still alive.

The protocol is datagrams of `NAME=value` lines to the unix socket that `$NOTIFY_SOCKET` names (sd_notify(3)). Without
that variable nothing is sent, and everything else is the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 10.0
"""How old the line in `systemctl status` may be."""
SEND_TIMEOUT_S = 1.0
"""For one datagram: the manager reads at once, or its queue is full and the loop must not wait for it."""


class ServiceManager:
    """`ready`, `reloading` and `stopping` may be called in any order and as often as wanted; none raises."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for Linux' abstract namespace, which a NUL begins.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environment)
        """Silence after which the manager ends the daemon; None when it does not watch."""

    def ready(self) -> None:
        """The daemon can serve, for the first time or again after `reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Call `ready` when done. The time tells the manager which of several reloads that answers."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping")

    async def report(self, status: Callable[[], Awaitable[str]]) -> None:
        """For ever: signs of life, sent by the event loop and by nothing else, and beside them one line of status.

        A loop that is held sends none, and after `watchdog_s` the manager restarts the daemon. Run it as a task
        when `ready` has been called.
        """
        if self._address:
            await asyncio.gather(self._show_life(), self._show_status(status))

    async def _show_life(self) -> None:
        while self.watchdog_s is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)  # as sd_watchdog_enabled(3) advises: one may come late

    async def _show_status(self, status: Callable[[], Awaitable[str]]) -> None:
        """Apart from the signs of life, because it looks at the disk, which may hang where the loop does not."""
        told = ""
        while True:
            text = (await status()).replace("\n", " ")
            if text != told:
                self._send(f"STATUS={text}")
            told = text
            await asyncio.sleep(STATUS_INTERVAL_S)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT_S)
                sender.connect(self._address)
                sender.send(message.encode())
        except OSError as error:
            log.warning("the service manager cannot be told %s: %s", message.split("\n")[0], error)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """The variables are inherited: only the process that `$WATCHDOG_PID` names is meant."""
    pid = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    if pid not in ("", str(os.getpid())) or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6
