"""The daemon's event streams: what changes, as it changes, and where to go on after a lost connection.

A stream is read in a thread of its own, so that its reader can also wait for a time. Sooner or later every stream ends
(a restart, a proxy, a new token): who reads one asks the daemon otherwise meanwhile, and opens it again.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from distd.cli.failures import DaemonUnreachable, ProblemAnswered

AHEAD_MAX = 16
"""Events read before they are taken; the connection then waits, and the daemon keeps them."""
FIRST_S = 10.0
"""For the first event, which a daemon sends at once: a proxy that holds it back is no use."""
AGAIN_S = 1.0
"""Between a stream that broke and the next."""
REFUSED_AGAIN_S = 15.0
"""After the daemon refused one: it has none free, or is an older one without streams."""


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    kind: str
    data: Any


class Lines(Protocol):
    """An open answer, line by line. The iteration ends, or raises DaemonUnreachable, with the connection."""

    def lines(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Opener(Protocol):
    def events(self, path: str, last_id: str, timeout_s: float) -> Lines | None:
        """None: nothing will follow. Raises DaemonUnreachable, ProblemAnswered."""


class Follower:
    """A stream that is opened anew when it breaks, after the event that came last. A context manager.

    `next` for what happens; while it `is_open` it tells everything, else the daemon has to be asked.
    """

    def __init__(self, client: Opener, path: str) -> None:
        self._client = client
        self._path = path
        self._last_id = ""
        self._open_at = 0.0
        self._lines: Lines | None = None
        self._arrived: queue.Queue[Event | None] = queue.Queue(AHEAD_MAX)
        self._has_begun = False

    @property
    def is_open(self) -> bool:
        """Whether a stream has told something since it was opened, and has not ended."""
        return self._lines is not None and self._has_begun

    def next(self, timeout_s: float) -> Event | None:
        """The next event; None after `timeout_s`, or when the stream has ended or cannot be opened."""
        if self._lines is None and not self._open():
            return None
        try:
            event = self._arrived.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if event is None:
            self._end(AGAIN_S if self._has_begun else REFUSED_AGAIN_S)
            return None
        self._has_begun = True
        self._last_id = event.id or self._last_id
        return event

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(AGAIN_S)

    def _open(self) -> bool:
        if time.monotonic() < self._open_at:
            return False
        try:
            lines = self._client.events(self._path, self._last_id, FIRST_S)
        except DaemonUnreachable:
            lines, self._open_at = None, time.monotonic() + AGAIN_S
        except ProblemAnswered:
            lines, self._open_at = None, time.monotonic() + REFUSED_AGAIN_S
        if lines is None:
            self._open_at = max(self._open_at, time.monotonic() + AGAIN_S)
            return False
        self._lines, self._has_begun, self._arrived = lines, False, queue.Queue(AHEAD_MAX)
        # A daemon thread: it waits in the kernel, where only the other side or the end of the program reaches it.
        threading.Thread(target=_read, args=(lines, self._arrived), daemon=True).start()
        return True

    def _end(self, again_s: float) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None
            self._open_at = time.monotonic() + again_s


def _read(lines: Lines, arrived: queue.Queue[Event | None]) -> None:
    try:
        for event in parsed(lines.lines()):
            arrived.put(event)
    except (DaemonUnreachable, ValueError):
        pass  # it ended, or is none: the reader asks otherwise
    arrived.put(None)


def parsed(lines: Iterator[bytes]) -> Iterator[Event]:
    """Events from their lines; comments and fields without meaning here are skipped. Raises ValueError."""
    fields: dict[str, str] = {}
    for line in lines:
        text = line.decode().rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
