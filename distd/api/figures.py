"""What monitoring is told of a node at one moment, as plain numbers; see `metrics.py` for the names they go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distd.api.schema import CacheView
from distd.core.pull import PullState
from distd.core.tally import Tally


@dataclass(frozen=True, slots=True)
class Figures:
    """Sizes are bytes, rates bytes per second, times seconds."""

    version: str
    ready: bool
    tally: Tally
    pulls: Mapping[PullState, int]
    """This node's own pulls, finished ones as far as they are remembered. A state without any may be left out."""
    stalled_pulls: int
    eta_s: Mapping[str, float]
    """Repo -> until its pull is published, for those where it is known."""
    rates: Mapping[str, float]
    """By source: `hub` and `peers`."""
    peer_bytes: Mapping[str, tuple[int, int]]
    """Member -> what came from it and what it got from here."""
    members: Mapping[str, int]
    """By state, this node included."""
    draining_members: int
    draining: bool
    """Whether this node itself is being taken out of service."""
    cache: CacheView | None
    """None when its disk does not answer."""
    cache_max_bytes: int
    cache_reserve_bytes: int
