"""Limits over HTTP, and on a day on which a window begins."""

from __future__ import annotations

import aiohttp

from distd.config.sections import LimitsSection, LimitWindow
from distd.limits import LimitService, LoneBandwidth
from distd.pacing import Pacer
from tests.api.memory import MONDAY, MemoryDaemon, MemoryLimitTable

Client = aiohttp.ClientSession


async def test_limits_say_where_they_come_from(client: Client, daemon: MemoryDaemon) -> None:
    async with client.get("/v1/limits") as response:
        view = await response.json()
    assert view["in_force"] == {
        "hub_down": 50_000_000,
        "hub_down_cluster": 0,
        "peer_up": 10_000_000,
        "peer_down": 0,
    }
    assert set(view["sources"].values()) == {"limits"}
    assert view["windows"][0]["from"] == "00:00"
    assert (view["windows"][0]["peer_up"], view["windows"][0]["hub_down"], view["windows"][0]["holds"]) == (
        0,
        None,
        False,
    )
    assert view["next_change_at"] == "2026-03-07T00:00:00.000Z"  # Saturday


async def test_a_limit_is_set_and_taken_back(client: Client, daemon: MemoryDaemon) -> None:
    async with client.put("/v1/limits", json={"peer_up": 70_000, "for_s": 60}) as response:
        view = await response.json()
    assert view["in_force"]["peer_up"] == 70_000
    assert view["set"] == {"peer_up": {"rate_bytes_per_s": 70_000, "until": "2026-03-02T09:01:00.000Z"}}
    async with client.put("/v1/limits", json={"peer_up": None}) as response:
        assert (await response.json())["sources"]["peer_up"] == "limits"


async def test_a_window_switches_when_the_clock_says_so_and_not_before() -> None:
    clock = [MONDAY]
    hub = Pacer()
    window = LimitWindow(days=("mon",), from_time="09:30", to="10:00", hub_down=70_000)
    section = LimitsSection(hub_down=100_000, window=(window,))
    service = LimitService(section, MemoryLimitTable(), LoneBandwidth(hub), wall=lambda: clock[0])  # type: ignore[arg-type]  # a table in memory
    await service.open()
    rates = []
    for clock[0] in (MONDAY + 1799, MONDAY + 1800, MONDAY + 3599, MONDAY + 3600):
        service.look()
        rates.append(hub.rate_bytes_per_s)
    assert rates == [100_000, 70_000, 70_000, 100_000]
    service.reload(LimitsSection(hub_down=90_000))
    assert hub.rate_bytes_per_s == 90_000
