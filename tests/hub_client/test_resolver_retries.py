"""What is asked again, for how long, and that waits are obeyed."""

from __future__ import annotations

import asyncio
import time

import pytest

from distd.core.refs import parse_ref
from distd.errors import HubUnreachable, RateLimited
from tests.hub import HubServer
from tests.hub_client.conftest import MakeResolver
from tests.hub_client.helpers import eventually

TINY = parse_ref("acme/tiny")


@pytest.mark.parametrize("where", ["*/revision/*", "*/tree/*"])
@pytest.mark.parametrize("status", [408, 500, 503])
async def test_server_errors_of_every_call_are_asked_again(
    hub: HubServer, make_resolver: MakeResolver, status: int, where: str
) -> None:
    rule = hub.faults.add("status", on="api", path=where, status=status, times=1)
    assert len((await make_resolver(give_up_after_s=10).resolve(TINY)).files) == 4
    assert rule.hits == 1


@pytest.mark.parametrize("where", ["*/revision/*", "*/tree/*"])
async def test_dropped_connections_are_asked_again(
    hub: HubServer, make_resolver: MakeResolver, where: str
) -> None:
    rule = hub.faults.add("refuse", on="api", path=where, times=2)
    assert len((await make_resolver(give_up_after_s=10).resolve(TINY)).files) == 4
    assert rule.hits == 2


async def test_a_page_in_the_middle_is_asked_again_alone(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.settings.page_size = 1
    hub.faults.add("status", on="api", path="*/tree/*", status=503, skip=2, times=1)
    assert len((await make_resolver(give_up_after_s=10).resolve(TINY)).files) == 4
    assert hub.counters.count("api", "*/tree/*", 503) == 1
    assert hub.counters.count("api", "*/tree/*", 200) == len(
        {r.target for r in hub.counters.find("api", "*/tree/*", 200)}
    )


@pytest.mark.parametrize("retry_after", [False, True])
async def test_a_told_wait_is_obeyed_and_then_it_works(
    hub: HubServer, make_resolver: MakeResolver, retry_after: bool
) -> None:
    hub.faults.add("rate_limited", on="api", path="*/revision/*", retry_s=1, retry_after=retry_after)
    before = time.monotonic()
    await make_resolver(give_up_after_s=10).resolve(TINY)
    assert 1.0 <= time.monotonic() - before < 4.0
    assert hub.counters.count("api", "*/revision/*") == 2


@pytest.mark.parametrize("retry_after", [False, True])
async def test_a_wait_longer_than_ours_is_reported_at_once(
    hub: HubServer, make_resolver: MakeResolver, retry_after: bool
) -> None:
    hub.faults.add("rate_limited", on="api", retry_s=240, retry_after=retry_after, times=None)
    before = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        await make_resolver(give_up_after_s=10).resolve(TINY)
    assert caught.value.retry_after_s == 240
    assert time.monotonic() - before < 2
    assert hub.counters.count("api") == 1


async def test_a_hub_that_stays_down_is_given_up_in_time(hub: HubServer, make_resolver: MakeResolver) -> None:
    resolver = make_resolver(give_up_after_s=1)
    await resolver.resolve(TINY)
    await hub.go_away()
    before = time.monotonic()
    with pytest.raises(HubUnreachable) as caught:
        await resolver.resolve(TINY)
    assert time.monotonic() - before < 3
    assert hub.url == caught.value.endpoint
    await hub.come_back()
    assert len((await resolver.resolve(TINY)).files) == 4


async def test_refusals_are_not_asked_again(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.faults.add("status", on="api", status=418, times=None)
    with pytest.raises(HubUnreachable, match="418"):
        await make_resolver(give_up_after_s=10).resolve(TINY)
    assert hub.counters.count("api") == 1


async def test_closing_ends_a_wait_at_once(hub: HubServer, make_resolver: MakeResolver) -> None:
    rule = hub.faults.add("rate_limited", on="api", retry_s=8, times=None)
    resolver = make_resolver(give_up_after_s=30)
    question = asyncio.create_task(resolver.resolve(TINY))
    await eventually(lambda: rule.hits > 0)
    before = time.monotonic()
    await resolver.close()
    with pytest.raises((RateLimited, HubUnreachable)):
        await question
    assert time.monotonic() - before < 1
    with pytest.raises(HubUnreachable, match="closed"):
        await resolver.resolve(TINY)


async def test_several_questions_at_once_do_not_mix(hub: HubServer, make_resolver: MakeResolver) -> None:
    for number in range(8):
        hub.add_repo(f"acme/r{number}", {f"file{number}.txt": b"x"})
    one, other = make_resolver(), make_resolver(None)
    refs = [parse_ref(f"acme/r{number}") for number in range(8)]
    manifests = await asyncio.gather(*(resolver.resolve(ref) for ref in refs for resolver in (one, other)))
    assert [m.files[0].path for m in manifests] == [f"file{n}.txt" for n in range(8) for _ in "12"]
    assert {r.authenticated for r in hub.counters.find("api")} == {True, False}
