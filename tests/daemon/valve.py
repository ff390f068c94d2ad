"""A way to a daemon that stops in the middle: passes on so many bytes, then nothing until it is opened."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PART_BYTES = 1 << 16


class Valve:
    """A context manager. `held` is set when the bytes have passed; `url` is the daemon's, through it. One connection.

    Open it once an end has left: what that had sent lies before the news of it.
    """

    def __init__(self, url: str, pass_bytes: int) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._pass_bytes = pass_bytes
        self.held, self._opened = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()
        self._listener.close()
        self._thread.join()

    def open(self) -> None:
        self._opened.set()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            here, _ = self._listener.accept()
            with here, socket.create_connection(self._target) as there:
                self._pass(here, there)

    def _pass(self, here: socket.socket, there: socket.socket) -> None:
        """Until one of them has left; a half-closed connection is of no use to HTTP."""
        passed = 0
        while True:
            for source in select.select([here, there], [], [])[0]:
                data = source.recv(PART_BYTES)
                if not data:
                    return
                (there if source is here else here).sendall(data)
                passed += len(data)
                if passed >= self._pass_bytes:
                    self.held.set()
                    self._opened.wait()
