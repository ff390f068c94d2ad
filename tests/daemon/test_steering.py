"""Pulls beside each other, and pulls that are paused, resumed and cancelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.daemon.daemon import FINISHED, DaemonProcess, View, until
from tests.daemon.repos import MIB, Repos, assert_nothing_published, assert_same_files
from tests.hub import HubProcess

IN_FLIGHT_MAX_BYTES = 16 * MIB
"""What may be fetched twice when transfers stop: on each of 8 connections a piece of 1 MiB begun, and as much
again in the buffers of both ends."""


@pytest.fixture
def slowly(hub: HubProcess) -> Iterator[None]:
    """16 MiB/s in all: slow enough to look at a pull in the middle."""
    hub.set(rate_bytes_per_s=16 * MIB)
    yield
    hub.set(rate_bytes_per_s=None)


def half_done(view: View) -> bool:
    return view["state"] == "downloading" and bool(view["bytes_done"] >= view["bytes_total"] // 2)


def incoming_etags(daemon: DaemonProcess) -> set[str]:
    return {path.name.removesuffix(".journal") for path in (daemon.store_dir / "incoming").iterdir()}


@pytest.mark.usefixtures("slowly")
def test_equal_requests_at_once_are_one_pull(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=8)
    words = [{"revision": "main"}, {}, {"weights": "auto"}, {"priority": 3}] * 4

    with ThreadPoolExecutor(len(words)) as pool:
        ids = {view["id"] for view in pool.map(lambda more: daemon.submit(repo.id, **more), words)}

    assert len(ids) == 1
    daemon.wait(ids.pop())
    assert repo.sent_bytes() == repo.size_bytes
    assert [pull["repo"] for pull in daemon.get("/v1/pulls")["items"]].count(repo.id) == 1


@pytest.mark.usefixtures("slowly")
def test_pulls_that_share_content_fetch_it_once(hub: HubProcess, repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=12, shards=2)
    copy = repos.add("elsewhere/twin", repo.directory)
    hub.reset_counters()

    first = daemon.submit(repo.id)
    daemon.wait(first["id"], half_done)
    pulls = [first, daemon.submit(copy.id), daemon.submit(repo.id, include=["*.safetensors"])]
    ended = [daemon.wait(pull["id"]) for pull in pulls]

    assert [view["state"] for view in ended] == ["complete"] * 3
    assert len({view["id"] for view in ended}) == 3
    assert hub.counters()["body_bytes"] == repo.size_bytes
    for view in ended[:2]:
        assert_same_files(Path(view["snapshot_path"]), repo.directory)


@pytest.mark.usefixtures("slowly")
def test_shared_content_survives_the_cancelling_of_the_pull_that_began_it(
    repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=12)
    copy = repos.add("elsewhere/heir", repo.directory)
    first = daemon.submit(repo.id)
    second = daemon.submit(copy.id)
    daemon.wait(second["id"], half_done)

    daemon.delete(f"/v1/pulls/{first['id']}")

    view = daemon.wait(second["id"])
    assert view["state"] == "complete"
    assert repo.sent_bytes() + copy.sent_bytes() == repo.size_bytes
    assert daemon.view(first["id"])["state"] == "cancelled"


@pytest.mark.usefixtures("slowly")
def test_higher_priority_overtakes_older_pulls(repos: Repos, daemon: DaemonProcess) -> None:
    plain, later, urgent = (repos.make(weight_mib=size) for size in (32, 32, 4))
    ids = [daemon.submit(plain.id)["id"], daemon.submit(later.id)["id"]]
    daemon.wait(ids[0], lambda view: view["bytes_done"] > MIB)

    ids.append(daemon.submit(urgent.id, priority=5)["id"])

    ended = [daemon.wait(pull_id) for pull_id in ids]
    assert min(ended, key=lambda view: view["finished_at"])["repo"] == urgent.id


def test_paused_pull_keeps_what_it_has_and_goes_on_from_there(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess, slowly: None
) -> None:
    repo = repos.make(weight_mib=24, shards=2)
    pull = daemon.submit(repo.id)
    daemon.wait(pull["id"], half_done)

    paused = daemon.post(f"/v1/pulls/{pull['id']}/pause")

    assert paused["state"] == "paused"
    until(lambda: hub.counters()["streams"] == 0, "the transfers to stop")
    sent = repo.sent_bytes()
    kept = daemon.view(pull["id"])
    assert incoming_etags(daemon) & {file["etag"] for file in kept["files"]}
    assert_nothing_published(daemon.hub_dir, repo)
    assert daemon.submit(repo.id)["id"] == pull["id"]
    daemon.restart()
    assert daemon.view(pull["id"])["state"] == "paused"
    assert repo.sent_bytes() == sent
    hub.set(rate_bytes_per_s=None)

    daemon.post(f"/v1/pulls/{pull['id']}/resume")

    view = daemon.wait(pull["id"])
    assert view["state"] == "complete"
    assert view["bytes_from_hub"] == repo.size_bytes
    assert repo.sent_bytes() - repo.size_bytes <= IN_FLIGHT_MAX_BYTES
    assert_same_files(Path(view["snapshot_path"]), repo.directory)


@pytest.mark.usefixtures("slowly")
def test_cancelled_pull_frees_what_was_stored(hub: HubProcess, repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=24, shards=2)
    pull = daemon.submit(repo.id)
    etags = {file["etag"] for file in daemon.wait(pull["id"], half_done)["files"]}

    assert daemon.delete(f"/v1/pulls/{pull['id']}")["state"] == "cancelled"

    until(lambda: not incoming_etags(daemon) & etags, "the incoming files to go")
    until(lambda: hub.counters()["streams"] == 0, "the transfers to stop")
    assert daemon.view(pull["id"])["state"] == "cancelled"
    assert daemon.delete(f"/v1/pulls/{pull['id']}")["state"] == "cancelled"
    assert_nothing_published(daemon.hub_dir, repo)
    again = daemon.submit(repo.id)
    assert again["id"] != pull["id"]
    daemon.delete(f"/v1/pulls/{again['id']}")


@pytest.mark.usefixtures("slowly")
def test_pull_cancelled_while_paused_frees_what_was_stored(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=16)
    pull = daemon.submit(repo.id)
    etags = {file["etag"] for file in daemon.wait(pull["id"], half_done)["files"]}
    daemon.post(f"/v1/pulls/{pull['id']}/pause")
    assert daemon.view(pull["id"])["state"] not in FINISHED

    daemon.delete(f"/v1/pulls/{pull['id']}")

    until(lambda: not incoming_etags(daemon) & etags, "the incoming files to go")


@pytest.mark.usefixtures("slowly")
def test_sigterm_in_the_middle_of_a_pull_stops_in_time_and_the_next_start_goes_on(
    repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=24, shards=2)
    pull = daemon.submit(repo.id)
    daemon.wait(pull["id"], half_done)

    assert daemon.terminate() == 0
    daemon.start()

    view = daemon.wait(pull["id"])
    assert view["state"] == "complete"
    assert view["bytes_from_hub"] == repo.size_bytes
    assert repo.sent_bytes() - repo.size_bytes <= IN_FLIGHT_MAX_BYTES
    assert_same_files(Path(view["snapshot_path"]), repo.directory)


def test_the_stream_of_a_pull_tells_of_it_until_its_end(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=4)
    with urlopen(f"{daemon.url}/v1/events", timeout=30) as all_pulls:
        pull = daemon.submit(repo.id)["id"]
        with urlopen(f"{daemon.url}/v1/pulls/{pull}/events", timeout=30) as stream:
            data = [json.loads(line[6:]) for line in stream if line.startswith(b"data: ")]
        told = [*data[0]["pulls"], *data[1:]]
        for line in all_pulls:
            if line.startswith(b"data: ") and (seen := json.loads(line[6:])).get("state") == "complete":
                break

    assert {view["id"] for view in told} == {pull} == {seen["id"]}
    assert told[-1] == seen
    states = ("queued", "resolving", "downloading", "verifying", "publishing", "complete")
    steps = [states.index(view["state"]) for view in told]
    assert steps == sorted(steps)
    assert told[-1]["bytes_done"] == daemon.view(pull)["bytes_done"]
