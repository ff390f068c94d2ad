"""How fast this node hashes, while bytes come and after the last one."""

from __future__ import annotations

import pytest

from distd.core.hash_pace import HASHING_S, HashPace

MB = 1_000_000
LOOK_S = 0.5
PLENTY = 10_000 * MB
"""More than is hashed in a few seconds, whatever the rate."""


class Hashing:
    """One thread that hashes without a pause at `rate`, and looks at it twice a second."""

    def __init__(self) -> None:
        self.pace = HashPace()
        self.now = 0.0
        self.total_bytes = 0

    def run(self, rate: float, duration_s: float, *, arrives: bool, backlog_bytes: int = PLENTY) -> None:
        for _ in range(round(duration_s / LOOK_S)):
            self.now += LOOK_S
            self.total_bytes += int(rate * LOOK_S)
            self.pace.look(
                self.total_bytes,
                self.now,
                backlog_bytes=backlog_bytes,
                arrives=arrives,
                past=None,
                now=self.now,
            )

    @property
    def rate(self) -> float:
        speed = self.pace.speed(None)
        assert speed is not None
        return speed.rate


@pytest.fixture
def hashing() -> Hashing:
    return Hashing()


def test_nothing_hashed_ever_is_not_known_and_earlier_pulls_tell(hashing: Hashing) -> None:
    assert hashing.pace.speed(None) is None
    told = hashing.pace.speed(500.0 * MB)
    assert told is not None
    assert told.rate == 500 * MB


def test_what_it_did_while_bytes_arrived_is_forgotten_with_the_last_one(hashing: Hashing) -> None:
    # So little slower that among noise a mean since the last certain change would follow for a long time.
    hashing.run(50 * MB, 20.0, arrives=True)
    hashing.run(56 * MB, 5.0, arrives=False)
    assert hashing.rate == pytest.approx(56 * MB, rel=0.01)


def test_while_it_waits_for_bytes_the_rate_is_what_it_did_when_it_had_some(hashing: Hashing) -> None:
    hashing.run(400 * MB, 2 * HASHING_S, arrives=True, backlog_bytes=0)
    for _ in range(20):  # nothing to hash: the thread was not busy
        hashing.now += LOOK_S
        hashing.pace.look(
            hashing.total_bytes,
            2 * HASHING_S,
            backlog_bytes=0,
            arrives=True,
            past=None,
            now=hashing.now,
        )
    assert hashing.rate == pytest.approx(400 * MB, rel=0.01)


def test_a_processor_that_others_take_is_seen_within_some_seconds(hashing: Hashing) -> None:
    hashing.run(1000 * MB, 60.0, arrives=True, backlog_bytes=0)
    hashing.run(50 * MB, 3 * HASHING_S, arrives=True, backlog_bytes=0)
    assert hashing.rate == pytest.approx(50 * MB, rel=0.1)
