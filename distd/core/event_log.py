"""The last events, numbered, so that a listener whose connection broke goes on where it was, or learns that it cannot.

Bounded in number and in size: the oldest are forgotten first. An id is the log's own name and a number, so that one
from before a restart is told apart from one of now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ResetReason = Literal["start", "gap", "restart"]
"""Why a listener begins anew: it named no event; what follows its event is forgotten; its event is of another run."""

EVENTS_MAX = 2048
"""A minute of thirty pulls that change every second: longer than a browser takes to connect again."""
CHARACTERS_MAX = 4 * 1024 * 1024
"""Of all events together: a pull on hundreds of nodes has a hundred kilobytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """`data` is one line of JSON, `subject` the id of the pull that it is about, `is_last` that no other will follow."""

    seq: int
    kind: str
    subject: str
    data: str
    is_last: bool


class EventLog:
    """`append` as things happen; listeners hold the number of the last event they had, and ask for the `next`."""

    def __init__(
        self, name: str, *, events_max: int = EVENTS_MAX, characters_max: int = CHARACTERS_MAX
    ) -> None:
        self._name = name
        self._events_max = events_max
        self._characters_max = characters_max
        self._events: dict[int, Event] = {}
        self._characters = 0
        self._forgotten = 0
        self.last_seq = 0
        """Number of the latest event; 0 before the first."""

    def __len__(self) -> int:
        return len(self._events)

    def append(self, kind: str, subject: str, data: str, *, is_last: bool = False) -> None:
        """One that alone is larger than the bound is forgotten at once: to listeners that is a gap."""
        self.last_seq += 1
        self._events[self.last_seq] = Event(self.last_seq, kind, subject, data, is_last)
        self._characters += len(data)
        while self._events and (
            len(self._events) > self._events_max or self._characters > self._characters_max
        ):
            self._forget_oldest()

    def break_off(self) -> None:
        """From here on events were not recorded: whoever had one of those before has missed some."""
        while self._events:
            self._forget_oldest()
        self.last_seq += 1
        self._forgotten = self.last_seq

    def next(self, seq: int, subject: str | None = None) -> Event | None:
        """The first event after `seq`, about `subject` where one is named; None when there is none yet.

        Raises LookupError when what followed `seq` is forgotten.
        """
        if seq < self._forgotten:
            raise LookupError(seq)
        for number in range(seq + 1, self.last_seq + 1):
            event = self._events[number]
            if subject is None or event.subject == subject:
                return event
        return None

    def id_of(self, seq: int) -> str:
        """What a client is told, and tells when it comes back."""
        return f"{self._name}-{seq}"

    def seq_of(self, event_id: str | None) -> int | ResetReason:
        """The number in a client's id, or why it has to begin anew. Any text may be asked about."""
        if not event_id:
            return "start"
        name, _, number = event_id.rpartition("-")
        if name != self._name or not (number.isascii() and number.isdecimal() and len(number) <= 18):
            return "restart"
        seq = int(number)
        if seq > self.last_seq:
            return "restart"
        return "gap" if seq < self._forgotten else seq

    def _forget_oldest(self) -> None:
        self._forgotten = next(iter(self._events))
        self._characters -= len(self._events.pop(self._forgotten).data)
