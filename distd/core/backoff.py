"""How long to wait before trying again."""

from __future__ import annotations

from random import Random

BACKOFF_FIRST_S = 0.5
"""A connection cut by a restarting proxy is back within a second."""
BACKOFF_MAX_S = 15.0
"""Longer waits help no Hub and only delay the moment when it is back."""


def backoff_s(failures: int, rng: Random) -> float:
    """Exponential with full jitter over its upper half; `failures` counts from 1.

    The jitter keeps a fleet that failed together from returning together (AWS Architecture Blog,
    "Exponential Backoff And Jitter").
    """
    ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16))
    return ceiling * (0.5 + 0.5 * rng.random())
