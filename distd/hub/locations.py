"""Where files' bytes are: signed URLs remembered until shortly before they expire. Pure; times are seconds.

Each file is asked for at the Hub once and its signed URL serves all further spans, because the Hub's quota counts
resolves, not bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

LOCATIONS_MAX = 4096
"""Files remembered: more than any fleet fetches at a time; at 2 kB a URL it is 8 MB."""

EXPIRY_MARGIN_S = 60.0
"""A URL this close to its end is not used for a new request: the request must begin before it."""

LIFETIME_S_UNTOLD = 600.0
"""For URLs that do not say when they expire: a sixth of the Hub's hour; a 403 renews them anyway."""


@dataclass(frozen=True, slots=True)
class Location:
    """`url` None: the Hub's own origin answers with the content, there is nothing to shorten."""

    url: str | None
    use_until: float


def lifetime_s(expires_unix: float | None, now_unix: float) -> float:
    """How long to use a URL that was given out at `now_unix` by its server's clock.

    Until `EXPIRY_MARGIN_S` before the end; half the life of one that is shorter than twice that.
    """
    if expires_unix is None:
        return LIFETIME_S_UNTOLD
    left_s = max(expires_unix - now_unix, 0.0)
    return max(left_s - EXPIRY_MARGIN_S, left_s / 2 if left_s < 2 * EXPIRY_MARGIN_S else 0.0)


class Locations:
    """The most recently used `LOCATIONS_MAX` locations by key. `now` is monotonic."""

    def __init__(self) -> None:
        self._locations: OrderedDict[tuple[object, ...], Location] = OrderedDict()

    def __len__(self) -> int:
        return len(self._locations)

    def find(self, key: tuple[object, ...], now: float) -> Location | None:
        """The location to use, None when there is none or its time has come."""
        location = self._locations.get(key)
        if location is None or now >= location.use_until:
            return None
        self._locations.move_to_end(key)
        return location

    def keep(self, key: tuple[object, ...], location: Location) -> None:
        self._locations[key] = location
        self._locations.move_to_end(key)
        if len(self._locations) > LOCATIONS_MAX:
            self._locations.popitem(last=False)

    def forget(self, key: tuple[object, ...], url: str) -> None:
        """Drops a URL that was refused, unless another span has renewed it since."""
        location = self._locations.get(key)
        if location is not None and location.url == url:
            del self._locations[key]
