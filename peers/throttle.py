"""What the swarm engine may move, so that its part of a limit is used up and not exceeded. Pure; rates are bytes per second."""

from __future__ import annotations

LINK_PER_STREAM = 1.04
"""Bytes that cross a link for one of a connection's stream: 52 of TCP and IP in a packet of 1,500. Limits are of the link."""


def engine_rate(limit_bytes_per_s: int) -> int:
    """What the engine's connections may move in their streams under a limit of the link."""
    return int(limit_bytes_per_s / LINK_PER_STREAM)
