"""Rate history: what was measured is found again, by the hour, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from distd.core.rates import Meter
from distd.rates import RateHistory
from distd.state.database import Database
from distd.state.rates import HOUR_S, KEPT_DAYS, RateRow, RateTable
from distd.store.workers import WorkClock

HOUR = 491_000


class Node:
    """A node's meters, a clock to set, and a history that can be opened again."""

    def __init__(self, database: Database) -> None:
        self.table = RateTable(database)
        self.now = HOUR * HOUR_S + 60.0
        self.start()

    def start(self) -> None:
        self.hub, self.peers, self.cluster, self.peer = Meter(), Meter(), Meter(), Meter()
        self.hashed = WorkClock()
        self.history = RateHistory(
            self.table,
            {"hub": self.hub, "peers": self.peers, "cluster": self.cluster},
            self.hashed,
            lambda: {"gpu-02": (self.peer, Meter())},
            wall=lambda: self.now,
        )

    def flow(self, meter: Meter, rate: int, duration_s: int, at: float = 1000.0) -> None:
        for step in range(duration_s * 10 + 1):
            meter.add(rate // 10 if step else 0, at + step / 10)


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    return Node(await Database.open(str(tmp_path / "distd.sqlite")))


async def test_what_a_source_gave_is_known_after_a_restart(node: Node) -> None:
    assert node.history.rate("hub") is None
    node.flow(node.hub, 50_000_000, 10)
    assert node.history.rate("hub") == pytest.approx(50_000_000)
    await node.history.close()
    node.start()
    await node.history.open()
    assert node.history.rate("hub") == pytest.approx(50_000_000)
    assert node.history.rate("peers") is None


async def test_the_latest_half_minute_of_use_counts_and_nothing_counts_twice(node: Node) -> None:
    node.flow(node.hub, 10_000_000, 100)
    await node.history.save()
    node.now += HOUR_S
    node.flow(node.hub, 80_000_000, 40, at=5000.0)
    await node.history.save()
    await node.history.save()
    assert node.history.rate("hub") == pytest.approx(80_000_000)
    rows = await node.table.since(HOUR)
    assert [(row.hour, row.source, row.amount) for row in rows] == [
        (HOUR, "hub", 1_000_000_000),
        (HOUR + 1, "hub", 3_200_000_000),
    ]


async def test_a_few_bytes_say_nothing_about_a_link(node: Node) -> None:
    node.flow(node.hub, 1000, 10)
    assert node.history.rate("hub") is None


async def test_rates_are_told_by_source_and_member_and_of_one_member_alone(node: Node) -> None:
    node.flow(node.hub, 50_000_000, 10)
    node.flow(node.peer, 20_000_000, 10)
    found = {(each.source, each.peer): each for each in await node.history.views(node.now - 86400, None)}
    assert set(found) >= {
        ("hub", None),
        ("peers", None),
        ("cluster", None),
        ("peer", "gpu-02"),
        ("sent", "gpu-02"),
    }
    (hour,) = found["hub", None].hours
    assert (hour.bytes, hour.busy_s) == (500_000_000, pytest.approx(10.0))
    assert hour.rate_bytes_per_s == pytest.approx(50_000_000)
    only = await node.history.views(node.now - 86400, "gpu-02")
    assert {(each.source, each.peer) for each in only} == {("peer", "gpu-02"), ("sent", "gpu-02")}
    assert all(each.hours == () for each in await node.history.views(node.now + HOUR_S, None))


async def test_history_is_bounded_to_a_season(node: Node) -> None:
    await node.table.add(
        [RateRow(HOUR - KEPT_DAYS * 24 - 1, "hub", "", 1.0, 1.0), RateRow(HOUR, "hub", "", 2.0, 1.0)]
    )
    await node.table.add([RateRow(HOUR, "hub", "", 3.0, 2.0)])
    assert await node.table.since(0) == [RateRow(HOUR, "hub", "", 5.0, 3.0)]


async def test_how_long_starts_and_finishes_take_is_a_mean(node: Node) -> None:
    node.history.note("finish", 1, 0.2)
    node.history.note("finish", 1, 0.4)
    assert node.history.rate("finish") == pytest.approx(1 / 0.3)
