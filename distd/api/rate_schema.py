"""The JSON of rates and estimates, as types; see `schema.py`."""

from __future__ import annotations

from msgspec import Struct

from distd.core.refs import RepoType


class LinkView(Struct, frozen=True):
    """What a link of that rate alone would take: for all of it on an empty node, and for what is missing here."""

    rate_bytes_per_s: int
    all_s: float
    missing_s: float


class EstimateView(Struct, frozen=True, kw_only=True):
    """How long a pull would take, from what was measured; null with `unknown_reason` where nothing was."""

    repo: str
    type: RepoType
    revision: str
    commit: str
    bytes_total: int
    bytes_reused: int
    bytes_from_peers: int
    bytes_from_hub: int
    eta_s: float | None
    eta_low_s: float | None
    eta_high_s: float | None
    limited_by: str | None
    unknown_reason: str | None
    links: tuple[LinkView, ...]


class RateHourView(Struct, frozen=True):
    """An hour of a source: `busy_s` is for how long it was in use, and the rate is over that time."""

    hour: str
    bytes: int
    busy_s: float
    rate_bytes_per_s: float | None


class RateView(Struct, frozen=True):
    """A source and its rates over the last 1, 10 and 60 seconds, and by the hour, oldest first.

    `hub` and `peers`: what this node got; `cluster`: what all of it got from the Hub, as this node sees it; `peer` and
    `sent`: from and to the member `peer`; `hashing`: this node's disk and processor.
    """

    source: str
    peer: str | None
    rate_1s_bytes_per_s: float
    rate_10s_bytes_per_s: float
    rate_60s_bytes_per_s: float
    hours: tuple[RateHourView, ...]
