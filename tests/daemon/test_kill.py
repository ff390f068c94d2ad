"""SIGKILL at any moment costs a bounded number of bytes and never shows a wrong one.

KILL_POINTS (5) and KILL_MIB (128) size the run, KILL_SEED (1) places the kills.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from distd.store.journal import HEADER_BYTES, RECORD_BYTES, load
from tests.daemon.daemon import FINISHED, DaemonProcess, View, check_complete, until
from tests.daemon.repos import (
    MIB,
    HubRepo,
    Repos,
    assert_all_visible_is_right,
    assert_nothing_published,
    assert_same_files,
)
from tests.hub import HubProcess

POINTS = int(os.environ.get("KILL_POINTS", "5"))
SIZE_MIB = int(os.environ.get("KILL_MIB", "128"))
SEED = int(os.environ.get("KILL_SEED", "1"))
EXCESS_MAX_BYTES = 64 * MIB
"""What one kill may cost: on each of 8 connections a piece of 1 MiB begun and what is in the buffers of both
ends; the rest is margin."""
PULL_S = 6.0
"""How long the pull takes undisturbed, by the Hub's rate: long enough for every kill to hit it."""


@pytest.fixture
def killed(hub: HubProcess, tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon of the test's own: its state is what is killed and damaged."""
    with DaemonProcess(tmp_path, hub.url) as daemon:
        yield daemon


def kill(daemon: DaemonProcess, repo: HubRepo) -> None:
    daemon.kill9()
    until(lambda: repo.hub.counters()["streams"] == 0, "the Hub to notice")
    assert_all_visible_is_right(daemon.hub_dir, daemon.store_dir)


def past(share: float) -> Callable[[View], bool]:
    """More than this share of the bytes is there."""
    return lambda view: bool((view["bytes_total"] or 0) * share < view["bytes_done"])


def unless_finished(reached: Callable[[View], bool]) -> Callable[[View], bool]:
    return lambda view: view["state"] in FINISHED or reached(view)


@pytest.mark.slow
@pytest.mark.timeout(60 + POINTS * 30)
def test_pull_killed_at_random_points_completes_with_a_bounded_excess(
    hub: HubProcess, repos: Repos, killed: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=SIZE_MIB, shards=3, small_files=30)
    hub.reset_counters()
    hub.set(rate_bytes_per_s=SIZE_MIB * MIB / PULL_S)
    rng = random.Random(SEED)
    pull = killed.submit(repo.id)
    hits = 0

    for target in sorted(rng.uniform(0, 0.97) for _ in range(POINTS)):
        if rng.random() >= 0.2:  # else it is killed while it resumes
            view = killed.wait(
                pull["id"],
                unless_finished(past(target)),
            )
            hits += view["state"] not in FINISHED
        kill(killed, repo)
        killed.start()

    view = killed.wait(pull["id"], timeout_s=60 + SIZE_MIB)
    check_complete(view)
    assert hits > 0, "no kill hit the pull"
    # All of it was fetched by this pull, over all its lives.
    assert view["bytes_from_hub"] == view["bytes_total"] == repo.size_bytes
    excess_bytes = repo.sent_bytes() - repo.size_bytes
    print(f"{POINTS} kills in {SIZE_MIB} MiB: {excess_bytes / MIB / POINTS:.1f} MiB fetched again at each")
    assert 0 <= excess_bytes <= POINTS * EXCESS_MAX_BYTES
    assert_same_files(Path(view["snapshot_path"]), repo.directory)
    assert_all_visible_is_right(killed.hub_dir, killed.store_dir)


@pytest.mark.parametrize("state", ["queued", "resolving", "verifying", "publishing"])
def test_pull_killed_beside_the_download_completes(
    hub: HubProcess, repos: Repos, killed: DaemonProcess, state: str
) -> None:
    repo = repos.make(weight_mib=3, shards=2, small_files=100)
    hub.set(latency_s=0.2 if state == "resolving" else 0.0)
    pull = killed.submit(repo.id)
    # A short state may be over before it is seen; then the kill comes just after it.
    later = {"queued": 0, "resolving": 1, "downloading": 2, "verifying": 3, "publishing": 4}
    killed.wait(pull["id"], unless_finished(lambda view: later[view["state"]] >= later[state]))

    kill(killed, repo)
    hub.set(latency_s=0.0)
    killed.start()

    view = killed.wait(pull["id"])
    check_complete(view)
    assert view["bytes_from_hub"] == repo.size_bytes
    assert_same_files(Path(view["snapshot_path"]), repo.directory)


# What a power loss may leave of the last writes.


def tear_the_journal(data: Path, journal: Path) -> None:
    os.truncate(journal, journal.stat().st_size - 7)


def fill_the_journals_end_with_zeros(data: Path, journal: Path) -> None:
    content = journal.read_bytes()
    journal.write_bytes(content[:-RECORD_BYTES] + bytes(5 * RECORD_BYTES))


def lose_the_journal(data: Path, journal: Path) -> None:
    journal.unlink()


def lose_the_journals_header(data: Path, journal: Path) -> None:
    journal.write_bytes(bytes(HEADER_BYTES) + journal.read_bytes()[HEADER_BYTES:])


def lose_a_journalled_piece(data: Path, journal: Path) -> None:
    state = load(journal)
    assert state is not None
    index = max(state.pieces)
    with data.open("r+b") as file:
        file.seek(index * state.parameters.piece_length_bytes)
        file.write(bytes(4096))


def cut_the_data_short(data: Path, journal: Path) -> None:
    os.truncate(data, data.stat().st_size - 5000)


def flip_a_bit_in_every_journalled_piece(data: Path, journal: Path) -> None:
    state = load(journal)
    assert state is not None
    with data.open("r+b") as file:
        for index in state.pieces:
            file.seek(index * state.parameters.piece_length_bytes + 77)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 4]))


DAMAGES = (
    tear_the_journal,
    fill_the_journals_end_with_zeros,
    lose_the_journal,
    lose_the_journals_header,
    lose_a_journalled_piece,
    cut_the_data_short,
    flip_a_bit_in_every_journalled_piece,
)


def test_what_a_power_loss_tears_is_found_and_fetched_again(
    hub: HubProcess, repos: Repos, killed: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=16 * len(DAMAGES), shards=len(DAMAGES))
    hub.set(rate_bytes_per_s=32 * MIB)
    pull = killed.submit(repo.id)

    for damage in DAMAGES:
        damage(*killed_with_pieces_stored(killed, repo))
        assert_nothing_published(killed.hub_dir, repo)
        killed.start()

    hub.set(rate_bytes_per_s=None)
    view = killed.wait(pull["id"])
    check_complete(view)
    assert_same_files(Path(view["snapshot_path"]), repo.directory)
    assert view["bytes_from_hub"] == repo.size_bytes
    assert "piece_lost" in killed.events(pull["id"])
    assert_all_visible_is_right(killed.hub_dir, killed.store_dir)


def killed_with_pieces_stored(daemon: DaemonProcess, repo: HubRepo) -> tuple[Path, Path]:
    """Kills it while a blob is half full; returns that blob's data and journal."""
    for _attempt in range(10):
        sent = repo.sent_bytes()
        until(partial(is_under_way, daemon, repo, sent), "a blob that is half full", 30)
        kill(daemon, repo)
        if found := half_full(daemon):
            return found
        daemon.start()  # it was filled between the look and the kill
    raise AssertionError("every blob was full before the kill came")


def is_under_way(daemon: DaemonProcess, repo: HubRepo, sent: int) -> bool:
    return repo.sent_bytes() > sent + 4 * MIB and half_full(daemon) is not None


def half_full(daemon: DaemonProcess) -> tuple[Path, Path] | None:
    for journal in daemon.store_dir.glob("incoming/*.journal"):
        state = load(journal)
        if state is not None and 4 <= len(state.pieces) <= 12:
            return journal.with_name(journal.name.removesuffix(".journal")), journal
    return None


def test_lost_end_of_the_database_loses_no_content(
    hub: HubProcess, repos: Repos, killed: DaemonProcess
) -> None:
    first, second = repos.make(weight_mib=4), repos.make(weight_mib=4)
    published = killed.pulled(first.id)
    killed.pulled(second.id)
    killed.kill9()
    log = killed.state_dir / "distd.sqlite-wal"
    os.truncate(log, log.stat().st_size * 2 // 3)

    killed.start()

    hub.reset_counters()
    for repo in (first, second):
        assert_same_files(Path(killed.pulled(repo.id)["snapshot_path"]), repo.directory)
    assert hub.counters()["body_bytes"] == 0
    assert killed.pulled(first.id)["snapshot_path"] == published["snapshot_path"]
