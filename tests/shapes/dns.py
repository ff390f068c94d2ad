"""A name server for the tests' hosts: asked over UDP by the system's resolver, as in a fleet, with records that change."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.netns import Namespace

PORT = 53
A, AAAA = 1, 28
RECURSION = 0x8180
"""Flags of an answer: recursion was asked for and is to be had."""
NO_SUCH_NAME = 3
TTL_S = 1
QUESTION_BYTES_MAX = 512


class NameServer:
    """A context manager. `say` replaces all addresses of a name; a name without any does not exist."""

    def __init__(self, host: Namespace) -> None:
        self._name = host.name
        self._records: dict[str, tuple[str, ...]] = {}
        self._socket = host.call(lambda: _bound(host.address))
        self._thread = threading.Thread(target=self._serve, name="name server", daemon=True)
        self.address = host.address

    def say(self, name: str, *addresses: str) -> None:
        self._records[name] = addresses

    def wrapper(self, directory: Path) -> tuple[str, ...]:
        """The command that follows asks this server for names."""
        configuration = directory / f"{self._name}.resolv.conf"
        configuration.write_text(f"nameserver {self.address}\noptions timeout:1 attempts:2\n")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ("unshare", "--mount", "sh", "-c", script, str(configuration))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # ENOTCONN: it wakes who waits for a question all the same
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                question, client = self._socket.recvfrom(QUESTION_BYTES_MAX)
            except OSError:
                return
            if not question:
                return  # shut down
            self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name, end = ".".join(labels).lower(), at + 5
        (kind,) = struct.unpack_from("!H", question, at + 1)
        addresses = [ipaddress.ip_address(each) for each in self._records.get(name, ())]
        found = [each.packed for each in addresses if {4: A, 6: AAAA}[each.version] == kind]
        status = 0 if addresses else NO_SUCH_NAME
        head = struct.pack("!2sHHHHH", question[:2], RECURSION | status, 1, len(found), 0, 0)
        # 0xC00C: the name that the question has.
        answers = (struct.pack("!HHHIH", 0xC00C, kind, 1, TTL_S, len(each)) + each for each in found)
        return head + question[12:end] + b"".join(answers)


def _bound(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, PORT))
    return made
