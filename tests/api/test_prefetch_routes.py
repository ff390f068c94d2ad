"""Prefetch over HTTP, and the service among colleagues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import aiohttp

from distd.config.sections import PrefetchEntry
from distd.core.prefetch import Told
from distd.prefetch import LEFT_S, PrefetchService, id_of
from tests.api.memory import COMMIT, MONDAY, MemoryDaemon, MemoryPrefetchTable

Client = aiohttp.ClientSession


async def test_entries_are_listed_added_run_and_removed(client: Client) -> None:
    async with client.get("/v1/prefetch") as response:
        (declared,) = (await response.json())["items"]
    assert (declared["repo"], declared["declared"], declared["why"]) == ("acme/declared", True, "scheduled")
    assert declared["next_run_at"].startswith("2026-03-03T03:0")
    async with client.post("/v1/prefetch", json={"repo": "acme/tiny", "zone": "rack-4"}) as response:
        assert response.status == 201
        added = await response.json()
        assert response.headers["Location"] == f"/v1/prefetch/{added['id']}"
    async with client.get("/v1/prefetch?limit=1") as response:
        page = await response.json()
    async with client.get("/v1/prefetch", params={"cursor": page["next"]}) as response:
        assert len((await response.json())["items"]) == 1
    async with client.post(f"/v1/prefetch/{added['id']}/run") as response:
        assert (response.status, (await response.json())["running"]) == (202, True)
    async with client.delete(f"/v1/prefetch/{added['id']}") as response:
        assert response.status == 200
    for method, path, status in [
        ("DELETE", f"/v1/prefetch/{declared['id']}", 409),
        ("DELETE", "/v1/prefetch/none", 404),
        ("POST", "/v1/prefetch/none/run", 404),
    ]:
        async with client.request(method, path) as response:
            assert response.status == status


class Others:
    """One other member, which says what it is told to say and comes first where `leads`."""

    me = "gpu-01"
    zone = ""

    def __init__(self, told: Told, *, leads: bool) -> None:
        self._told = told
        self._leads = leads

    async def ask(self, key: str) -> Mapping[str, Told]:
        return {"gpu-02": self._told}

    def order(self, key: str, members: Iterable[str]) -> Sequence[str]:
        return sorted(members, reverse=self._leads)

    def answer(self, told: Callable[[str], Told | None]) -> None: ...


ENTRY = PrefetchEntry(repo="acme/tiny")


async def looked_at(daemon: MemoryDaemon, others: Others) -> PrefetchService:
    """A service that has looked once."""
    service = PrefetchService(
        (ENTRY,), MemoryPrefetchTable(), daemon.pulls, daemon.models, others, wall=lambda: MONDAY
    )
    await service.open()
    service.look()
    await asyncio.sleep(0.05)
    return service


async def test_what_another_member_runs_is_left_to_it_for_a_while(daemon: MemoryDaemon) -> None:
    service = await looked_at(daemon, Others(Told(0.0), leads=True))
    (view,) = service.list()
    assert view.why == "gpu-02 runs it for all members that declare it"
    assert view.next_run_at == f"2026-03-02T09:00:{LEFT_S:.0f}.000Z"
    assert daemon.pulls.page(frozenset(), None, 10)[0] == []
    await service.close()


async def test_a_member_that_comes_first_pulls_for_all(daemon: MemoryDaemon) -> None:
    service = await looked_at(daemon, Others(Told(0.0), leads=False))
    (pull,) = daemon.pulls.page(frozenset(), None, 10)[0]
    assert daemon.pulls.requests[-1].nodes == ("gpu-01", "gpu-02")
    (view,) = service.list()
    assert (view.running, view.why) == (True, f"running as pull {pull.id}")
    await service.close()


async def test_a_member_that_was_away_pulls_for_itself_what_the_others_have(daemon: MemoryDaemon) -> None:
    service = await looked_at(daemon, Others(Told(MONDAY, COMMIT), leads=True))
    assert [request.nodes for request in daemon.pulls.requests] == [()]
    await service.close()


def test_members_agree_on_an_entry_but_for_its_pin() -> None:
    assert id_of(ENTRY) == id_of(PrefetchEntry(repo="acme/tiny", pin=True))
    assert id_of(ENTRY) != id_of(PrefetchEntry(repo="acme/tiny", revision="v1"))
