"""Rates and estimates over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

Client = aiohttp.ClientSession


async def asked(client: Client, path: str) -> tuple[int, Any]:
    async with client.get(path) as response:
        return response.status, await response.json(content_type=None)


async def test_an_estimate_has_what_was_measured_and_what_links_would_take(client: Client) -> None:
    status, found = await asked(client, "/v1/estimate?repo=acme/tiny")
    assert status == 200
    assert (found["eta_s"], found["eta_low_s"], found["eta_high_s"], found["limited_by"]) == (
        60.0,
        50.0,
        90.0,
        "hub",
    )
    rates = [link["rate_bytes_per_s"] for link in found["links"]]
    assert rates == [12_500_000, 125_000_000, 1_250_000_000]
    assert all(
        link["all_s"] == pytest.approx(found["bytes_total"] / link["rate_bytes_per_s"])
        for link in found["links"]
    )


async def test_links_may_be_named(client: Client) -> None:
    _, found = await asked(
        client, f"/v1/estimate?repo=acme/tiny&link={quote('2 Gbit/s')}&link={quote('10 MB/s')}"
    )
    assert [link["rate_bytes_per_s"] for link in found["links"]] == [250_000_000, 10_000_000]


@pytest.mark.parametrize("link", ["fast", "0", "-1", "1 Gbit/s&link=" * 25])
async def test_a_link_that_is_none_is_refused(client: Client, link: str) -> None:
    status, problem = await asked(client, f"/v1/estimate?repo=acme/tiny&link={link.replace(' ', '%20')}")
    assert (status, problem["code"]) == (422, "invalid_request")


async def test_rates_are_listed_per_source_and_of_one_member(client: Client) -> None:
    status, page = await asked(client, "/v1/rates?since=7d")
    assert (status, page["next"]) == (200, None)
    assert [(each["source"], each["peer"]) for each in page["items"]] == [("hub", None), ("peer", "gpu-02")]
    _, page = await asked(client, "/v1/rates?peer=gpu-02&since=2026-01-31T22:00:00Z")
    assert [each["source"] for each in page["items"]] == ["peer"]


@pytest.mark.parametrize("since", ["yesterday", "", "1e999s"])
async def test_a_beginning_that_is_none_is_refused(client: Client, since: str) -> None:
    status, problem = await asked(client, f"/v1/rates?since={since}")
    assert (status, problem["code"]) == (422, "invalid_request")
