"""The JSON of event streams, as types; see `schema.py`."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from distd.api.schema import PullView
from distd.core.event_log import ResetReason


class EventReset(Struct, frozen=True):
    """What a stream begins with, unless it goes on where the client was: everything as it is, in place of all before.

    `reason`: `start` no event was named, `gap` what followed it is no longer kept, `restart` it is of another run.
    """

    reason: ResetReason
    pulls: tuple[PullView, ...]


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event as it is sent. `data` is one line of JSON: an `EventReset`, or for `pull` a `PullView` without files."""

    id: str
    kind: str
    data: str
