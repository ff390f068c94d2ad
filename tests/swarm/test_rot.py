"""What a disk forgot comes back from a member, without a byte of the Hub's."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Literal
from urllib.request import Request, urlopen

import pytest

from peers.pieces import piece_length_bytes
from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.faulty_disk import FaultyDisk
from tests.daemon.repos import HubRepo, Repos, assert_all_visible_is_right, assert_same_files
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, complete, flip, largest


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> FaultyDisk:
    return FaultyDisk(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def fleet(hub: HubProcess, disk: FaultyDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(
        tmp_path_factory.mktemp("fleet"),
        hub,
        2,
        settings={"hub.give_up_after": "1s"},
        each={1: {"cache.scrub_interval": "1s"}},
        environments={1: disk.environment},
    ) as fleet:
        yield fleet


def test_scrubbing_finds_rot_and_takes_the_bad_pieces_alone_from_a_member(
    hub: HubProcess, repos: Repos, fleet: Fleet
) -> None:
    repo = repos.make(weight_mib=24)
    path, etag = largest(repo)
    piece_bytes = piece_length_bytes(path.stat().st_size)
    complete(fleet.wait(fleet.submit(repo)), repo)
    node = fleet.nodes[1]
    before = node.metrics()
    hub.reset_counters()

    for piece in (3, 9):
        flip(node.store_dir / "blobs" / etag, piece * piece_bytes + 77)

    until(lambda: node.metrics().value("distd_files_rotten_total") == 1, "rot to be found", 30)
    until(lambda: len(node.get("/v1/pulls")["items"]) == 2, "a pull that repairs")
    repair = node.wait(node.get("/v1/pulls")["items"][0]["id"])
    assert repair["state"] == "complete", repair["error"]
    assert (repair["bytes_from_hub"], repair["bytes_from_peers"]) == (0, 2 * piece_bytes)
    assert repair["bytes_reused"] == path.stat().st_size - 2 * piece_bytes
    assert repo.sent_bytes() == 0
    received = "distd_hub_received_bytes_total"
    assert node.metrics().value(received) == before.value(received)
    assert node.get("/v1/status")["cache"]["scrub"]["rotten_files"] == 1
    assert "hash_mismatch" in node.events(repair["id"])
    assert "rotted on the disk" in node.log()
    assert "2 of its 24 pieces are fetched anew" in node.log()
    (snapshot,) = (node.hub_dir / repo.folder / "snapshots").iterdir()
    assert_same_files(snapshot, repo.directory)
    assert_all_visible_is_right(node.hub_dir, node.store_dir)


@pytest.mark.parametrize(
    ("operation", "place"),
    [("m", "/store/blobs/"), ("w", "/store/incoming/")],
    ids=["the file is out of the store", "its right pieces are being put aside"],
)
def test_what_rotted_is_replaced_after_a_kill_before_its_repair_had_begun(
    hub: HubProcess,
    repos: Repos,
    fleet: Fleet,
    disk: FaultyDisk,
    operation: Literal["m", "w"],
    place: str,
) -> None:
    repo = repos.make(weight_mib=8)
    path, etag = largest(repo)
    piece_bytes = piece_length_bytes(path.stat().st_size)
    complete(fleet.wait(fleet.submit(repo)), repo)
    node = fleet.nodes[1]
    hub.reset_counters()
    disk.kill_at(operation, place + etag)

    flip(node.store_dir / "blobs" / etag, 5 * piece_bytes + 77)

    assert node.ended() == -signal.SIGKILL
    assert (node.store_dir / "blobs" / etag).exists() == (operation == "w")
    disk.heal()
    node.start()
    fleet.await_company()
    until(lambda: node.get("/v1/pulls")["items"][0]["revision"] == repo.commit, "a pull that repairs", 30)
    repair = node.wait(node.get("/v1/pulls")["items"][0]["id"])
    assert repair["state"] == "complete", repair["error"]
    assert (repair["bytes_from_hub"], repair["bytes_from_peers"]) == (0, piece_bytes)
    assert repo.sent_bytes() == 0
    (snapshot,) = (node.hub_dir / repo.folder / "snapshots").iterdir()
    assert_same_files(snapshot, repo.directory)
    assert_all_visible_is_right(node.hub_dir, node.store_dir)


def imported(source: DaemonProcess, node: DaemonProcess, repo: HubRepo) -> None:
    with urlopen(Request(f"{source.url}/v1/models/model/{repo.id}/export", method="POST")) as export:
        content = export.read()
    request = Request(f"{node.url}/v1/import", content, {"Content-Type": "application/x-tar"})
    with urlopen(request) as answer:
        assert answer.status == 201


def adopted(source: DaemonProcess, node: DaemonProcess, repo: HubRepo) -> None:
    other = node.state_dir / "other-hub"
    shutil.copytree(source.hub_dir / repo.folder, other / repo.folder, symlinks=True)
    (told,) = node.post("/v1/adopt", {"path": str(other)})["snapshots"]
    assert told["reason"] is None
    assert told["bytes_linked"] >= largest(repo)[0].stat().st_size, (
        "some small ones it had fetched for the other"
    )


def pulled_before_digests_were_kept(source: DaemonProcess, node: DaemonProcess, repo: HubRepo) -> None:
    node.pulled(repo.id)
    pieces = node.store_dir / "pieces" / largest(repo)[1]
    pieces.unlink()
    until(pieces.exists, "the file to be hashed again", 30)


@pytest.mark.parametrize("taken", [imported, adopted, pulled_before_digests_were_kept])
def test_rot_in_what_came_as_a_whole_costs_its_bad_pieces(
    hub: HubProcess,
    repos: Repos,
    fleet: Fleet,
    disk: FaultyDisk,
    taken: Callable[[DaemonProcess, DaemonProcess, HubRepo], None],
) -> None:
    disk.heal()
    repo = repos.make(weight_mib=17)  # of smaller files, members may have fetched some for each other
    path, etag = largest(repo)
    piece_bytes = piece_length_bytes(path.stat().st_size)
    source, node = fleet.nodes
    source.pulled(repo.id)
    taken(source, node, repo)
    before = len(node.get("/v1/pulls")["items"])
    hub.reset_counters()

    flip(node.store_dir / "blobs" / etag, 3 * piece_bytes + 77)

    until(lambda: len(node.get("/v1/pulls")["items"]) > before, "a pull that repairs", 30)
    repair = node.wait(node.get("/v1/pulls")["items"][0]["id"])
    assert repair["state"] == "complete", repair["error"]
    assert (repair["bytes_from_hub"], repair["bytes_from_peers"]) == (0, piece_bytes)
    assert repo.sent_bytes() == 0
    (snapshot,) = (node.hub_dir / repo.folder / "snapshots").iterdir()
    assert_same_files(snapshot, repo.directory)
    assert_all_visible_is_right(node.hub_dir, node.store_dir)
