"""The journal's side of its native protocol: a datagram socket, and what came as fields."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self


class FakeJournal:
    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(self.path)
        self._socket.settimeout(0.1)

    def entries(self) -> list[dict[str, str]]:
        """What has come since the last call, oldest first."""
        found = []
        while True:
            try:
                found.append(parsed(self._socket.recv(1 << 20)))
            except TimeoutError:
                return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def parsed(datagram: bytes) -> dict[str, str]:
    """As journald reads it: `NAME=value`, or `NAME`, a length and that many bytes. Fails on anything else."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        assert name.decode().isupper()
        fields[name.decode()] = value.decode()
        datagram = rest
    return fields
