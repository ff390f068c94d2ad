"""Real members, with somebody who hears all that passes between them and strangers at every door."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from peers.secret import generate
from tests.daemon.daemon import until
from tests.daemon.repos import MIB, HubRepo, Repos, etag_of
from tests.hub import HubProcess
from tests.peers.authority import Authority
from tests.sharing.fleet import live, member, until_all_know
from tests.sharing.tap import Tap, free_pair

SAMPLE_BYTES = 24
SAMPLES = 64
"""Places in each file that are looked for in what was heard."""
STRANGERS = 300
"""More than a listener keeps."""
STRANGERS_MEMORY_BYTES_MAX = 192 * MIB
"""256 of them with a head of 130 KB and buffers on either side, behind TLS 256 KiB more each."""

MODES = ("full", "tls") if os.environ.get("SWARM_STRICT") else ("tls",)


def settings_for(
    name: str, mode: str, secret_file: Path, authority: Authority, ports: tuple[int, int, int, int]
) -> dict[str, object]:
    cluster, swarm, cluster_tap, swarm_tap = ports
    settings: dict[str, object] = {
        "cluster.listen": f"127.0.0.1:{cluster}",
        "cluster.advertise": f"127.0.0.1:{cluster_tap}",
        "cluster.secret_file": secret_file,
        "swarm.listen": f"127.0.0.1:{swarm}",
        "swarm.advertise": f"127.0.0.1:{swarm_tap}",
        "swarm.encryption": mode,
    }
    if mode == "tls":
        files = authority.member(name)
        settings |= {"cluster.tls_cert_file": files.cert, "cluster.tls_key_file": files.key}
        settings |= {"cluster.tls_ca_file": files.ca}
    return settings


@pytest.mark.parametrize("mode", MODES)
def test_a_capture_of_a_pull_shows_no_weights_and_no_swarm_and_strangers_get_nothing(
    hub: HubProcess, repos: Repos, tmp_path: Path, mode: str
) -> None:
    repo = repos.make(weight_mib=24)
    secret_file = tmp_path / "secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(f"{generate()}\n")
    authority = Authority(tmp_path / "tls")
    with contextlib.ExitStack() as stack:
        swarm_taps, api_taps, daemons = [], [], []
        doors: list[int] = []
        join = ""
        for name in ("n0", "n1"):
            swarm, swarm_tap, pair = free_pair(), free_pair(), free_pair()
            cluster, cluster_tap = pair, pair + 1
            api_taps.append(stack.enter_context(Tap(cluster_tap, cluster)))
            swarm_taps += [stack.enter_context(Tap(swarm_tap + n, swarm + n)) for n in (0, 1)]
            settings = settings_for(
                name, mode, secret_file, authority, (cluster, swarm, cluster_tap, swarm_tap)
            )
            daemons.append(stack.enter_context(member(tmp_path, hub, name, join, settings)))
            join = join or f"127.0.0.1:{cluster_tap}"
            doors = doors or [cluster, swarm, swarm + 1]
        until_all_know(daemons)
        pulls = [daemon.submit(repo.id)["id"] for daemon in daemons]
        for daemon, pull in zip(daemons, pulls, strict=True):
            view = daemon.wait(pull)
            assert view["state"] == "complete", view["error"]
        from_peers = sum(d.view(pull)["bytes_from_peers"] for d, pull in zip(daemons, pulls, strict=True))
        assert from_peers >= 8 * MIB, "content passed between the members"

        heard = b"".join(tap.seen for tap in swarm_taps)
        assert len(heard) >= 8 * MIB, "and by the tap"
        assert b"BitTorrent protocol" not in heard
        assert found_in(heard, repo) == []
        calls = b"".join(tap.seen for tap in api_taps)
        if mode == "tls":
            assert found_in(calls, repo) == []
            assert b"HTTP/1" not in calls
            assert repo.id.encode() not in calls
        else:
            assert b"HTTP/1" in calls, "the API is proven, not encrypted, without TLS"

        strangers(daemons[0].rss_bytes, doors, live_after=lambda: live(daemons[0]) == {"n0", "n1"})


def found_in(heard: bytes, repo: HubRepo) -> list[str]:
    """The files of which a piece, the name of their blob, or its bytes were heard."""
    found = []
    for path in repo.directory.rglob("*"):
        if not path.is_file() or path.stat().st_size < MIB:
            continue
        etag = etag_of(path, "0" * 64)
        content = path.read_bytes()
        step = len(content) // SAMPLES
        samples = [content[start : start + SAMPLE_BYTES] for start in range(0, len(content) - step, step)]
        if any(each in heard for each in (*samples, etag.encode(), bytes.fromhex(etag))):
            found.append(path.name)
    return found


def strangers(rss_bytes, doors: list[int], live_after) -> None:  # type: ignore[no-untyped-def]  # two callables
    """Many at each door, who send without end what nobody asked for, slowly or fast: memory stays bounded, members meet."""
    before = rss_bytes()
    opened: list[socket.socket] = []
    flood = (
        b"POST /c1/gossip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX: "
        + b"y" * 3000
        + b"\r\n\r\n"
    )
    words = [flood + b"100000\r\n" + bytes(1 << 20), flood[:2000], b"\x16\x03\x01\x02\x00\x01", bytes(4096)]
    answers: list[bytes] = []

    def send(number: int) -> None:
        with contextlib.suppress(OSError):
            stranger = socket.create_connection(("127.0.0.1", doors[number % len(doors)]), timeout=2)
            opened.append(stranger)
            with contextlib.suppress(OSError):
                stranger.sendall(words[number % len(words)])
            with contextlib.suppress(OSError):
                stranger.settimeout(0.2)
                answers.append(stranger.recv(1 << 16))

    for start in range(0, STRANGERS * len(doors), 100):
        threads = [threading.Thread(target=send, args=(start + number,)) for number in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    grown = rss_bytes() - before
    print(f"{len(opened)} strangers: {grown / MIB:.0f} MiB more")
    assert len(opened) >= STRANGERS
    assert grown <= STRANGERS_MEMORY_BYTES_MAX
    for answer in answers:
        head = answer[:16]
        assert (
            not answer or head.startswith((b"HTTP/1.1 401", b"HTTP/1.1 400", b"\x15")) or len(answer) <= 608
        )
        assert b"BitTorrent protocol" not in answer
    until(live_after, "the members to see each other")
    for each in opened:
        each.close()
