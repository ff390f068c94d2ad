"""The library itself: what a torrent claims after it was added, with and without our precautions."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libtorrent as lt
import pytest

from peers.metainfo import Kind
from peers.session import Session
from peers.settings import EngineOptions, session_settings
from peers.signals import Failed, PieceFinished, PieceMap, Ready, Removed, Signal
from tests.peers.worlds import BLOB, MIB, hot, random_content, sealed

PIECES = 6
CONTENT = random_content(PIECES * MIB)
SETTINGS = session_settings(EngineOptions("127.0.0.1"), Kind.HOT)


@dataclass
class Running:
    session: Session
    wake: int

    def signals_until(self, kind: type[Signal]) -> list[Signal]:
        """Signals up to and including the first of this kind, waiting at most ten seconds for each."""
        seen: list[Signal] = []
        while not any(isinstance(signal, kind) for signal in seen):
            assert select.select([self.wake], [], [], 10)[0], f"no {kind.__name__} after {seen}"
            os.read(self.wake, 4096)
            seen += self.session.take_signals()
        return seen


@pytest.fixture
def running() -> Iterator[Running]:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    session = Session(Kind.HOT, SETTINGS, writer)
    yield Running(session, reader)
    session.stop()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("file_exists", [True, False])
@pytest.mark.parametrize("held", [[], [2, 3], list(range(PIECES))])
def test_libtorrent_takes_a_full_bitmap_as_it_is_whatever_the_file_holds(
    running: Running, tmp_path: Path, held: list[int], file_exists: bool
) -> None:
    if file_exists:
        (tmp_path / BLOB).write_bytes(bytes(len(CONTENT)))
    have = [index in held for index in range(PIECES)]

    running.session.add(hot(CONTENT), str(tmp_path), have, 10)
    echoed = [signal.index for signal in running.signals_until(Ready) if isinstance(signal, PieceFinished)]
    running.session.ask_pieces(BLOB)
    maps = [signal for signal in running.signals_until(PieceMap) if isinstance(signal, PieceMap)]

    assert echoed == held
    assert maps == [PieceMap(BLOB, tuple(have))]


def test_no_bitmap_at_all_claims_nothing(running: Running, tmp_path: Path) -> None:
    (tmp_path / BLOB).write_bytes(bytes(len(CONTENT)))

    running.session.add(hot(CONTENT), str(tmp_path), [], 10)
    seen = running.signals_until(Ready)

    assert not any(isinstance(signal, PieceFinished) for signal in seen)


def test_a_short_bitmap_makes_libtorrent_check_and_that_is_a_failure(
    running: Running, tmp_path: Path
) -> None:
    (tmp_path / BLOB).write_bytes(bytes(len(CONTENT)))

    running.session.add(hot(CONTENT), str(tmp_path), [True] * 2, 10)

    failures = [signal for signal in running.signals_until(Failed) if isinstance(signal, Failed)]
    assert "began to check" in failures[0].reason


def test_without_our_precautions_a_preallocated_file_becomes_a_seed_of_zeros(tmp_path: Path) -> None:
    """The trap itself: if this fails, the library has changed and the precautions can be thought over."""
    (tmp_path / BLOB).write_bytes(bytes(len(CONTENT)))
    params = lt.session_params()
    params.settings = {
        "disable_hash_checks": True,
        "listen_interfaces": "127.0.0.1:0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "alert_mask": lt.alert_category.status,
    }
    session = lt.session(params)
    torrent = lt.load_torrent_buffer(b"d4:info%se" % hot(CONTENT).info)
    torrent.save_path = str(tmp_path)
    handle = session.add_torrent(torrent)
    checked = False
    while not checked and session.wait_for_alert(10_000):
        checked = any(isinstance(alert, lt.torrent_finished_alert) for alert in session.pop_alerts())

    assert handle.status().num_pieces == PIECES


def test_a_torrent_the_library_refuses_fails_and_is_gone(running: Running, tmp_path: Path) -> None:
    (tmp_path / BLOB).write_bytes(bytes(len(CONTENT)))
    running.session.add(hot(CONTENT), str(tmp_path), [False] * PIECES, 10)
    running.signals_until(Ready)

    running.session.add(hot(CONTENT), str(tmp_path), [False] * PIECES, 10)
    seen = running.signals_until(Removed)

    assert any(isinstance(signal, Failed) and "already" in signal.reason for signal in seen)


def test_removing_before_the_addition_is_confirmed_removes(running: Running, tmp_path: Path) -> None:
    (tmp_path / BLOB).write_bytes(bytes(len(CONTENT)))
    running.session.add(hot(CONTENT), str(tmp_path), [False] * PIECES, 10)
    running.session.remove(BLOB)

    seen = running.signals_until(Removed)

    assert not any(isinstance(signal, Ready) for signal in seen)


def test_libtorrent_computes_the_same_info_hash() -> None:
    for metainfo in (hot(CONTENT), sealed(CONTENT)):
        params = lt.load_torrent_buffer(b"d4:info%se" % metainfo.info)
        assert params.ti is not None
        assert params.ti.info_hashes().v1.to_bytes() == metainfo.info_hash
        assert (params.ti.num_pieces(), params.ti.total_size()) == (PIECES, len(CONTENT))
        assert params.ti.priv()


def test_a_setting_the_library_does_not_know_is_an_error() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with pytest.raises(KeyError, match="made_up"):
        Session(Kind.HOT, {**SETTINGS, "made_up": 1}, writer)
    os.close(reader)
    os.close(writer)
