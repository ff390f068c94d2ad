"""In the middle of a pull: secret and certificates are exchanged on every member by a reload, and members are upgraded to the
next wire version by restarts. Nothing divides the swarm."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distd.config.sections import WIRE_VERSION
from peers.secret import generate
from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import MIB, Repos
from tests.hub import HubProcess
from tests.peers.authority import Authority
from tests.swarm.fleet import Fleet, assert_copies_at_most, complete, hub_copies

STRICT = bool(os.environ.get("SWARM_STRICT"))
MEMBERS = 4 if STRICT else 3
"""The last half of them is upgraded, one after the other."""
OLDER = WIRE_VERSION - 1
WEIGHT_MIB = 128 if STRICT else 24
"""A restart costs what its connections had begun, some pieces of 1 MiB: little of a large model, much of a small one."""
SLOW_BYTES_PER_S = WEIGHT_MIB * MIB // 20
"""So that all happens in the middle on a busy machine too: 20 s for what takes four."""
RELOADED = "reloaded: "
REENTERED = "entered anew"
MODES = ("handshake", "full", "tls") if STRICT else ("tls",)
"""What they share is told apart by the encryption alone: one is enough but for `make swarm`."""
GAP_S_MAX = 10.0
"""How long a transfer may stand still, held to with SWARM_STRICT=1."""


def reload(node: DaemonProcess) -> None:
    """Has the daemon read its files again; returns when it did."""
    seen = node.log_file.stat().st_size
    os.kill(node.pid, signal.SIGHUP)
    until(lambda: RELOADED in node.log(seen), f"{node.state_dir} to reload")


@contextmanager
def gaps(pulls: dict[DaemonProcess, str]) -> Iterator[list[float]]:
    """How long each pull stood still at most, known at the end. Polled, so a little longer than it was."""
    longest, ended = [0.0] * len(pulls), threading.Event()

    def watch(number: int, node: DaemonProcess, pull: str) -> None:
        done, since = -1, time.monotonic()
        while not ended.is_set():
            try:
                view = node.get(f"/v1/pulls/{pull}")
            except OSError:  # it is being restarted
                ended.wait(0.1)
                continue
            if view["bytes_done"] != done or view["state"] in ("complete", "failed"):
                done, since = view["bytes_done"], time.monotonic()
            longest[number] = max(longest[number], time.monotonic() - since)
            ended.wait(0.1)

    threads = [threading.Thread(target=watch, args=(n, *each)) for n, each in enumerate(pulls.items())]
    for thread in threads:
        thread.start()
    try:
        yield longest
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("encryption", MODES)
def test_secret_certificates_and_wire_version_change_in_the_middle_of_a_pull(
    hub: HubProcess, repos: Repos, tmp_path: Path, encryption: str
) -> None:
    repo = repos.make(weight_mib=WEIGHT_MIB)
    old, new = generate(), generate()
    authority = Authority(tmp_path / "tls")
    files = [tmp_path / f"secret-{number}" for number in range(MEMBERS)]
    each: dict[int, dict[str, object]] = {}
    for number, file in enumerate(files):
        file.touch(mode=0o600)
        file.write_text(f"{old}\n")
        each[number] = {"cluster.secret_file": file, "swarm.encryption": encryption}
        each[number]["cluster.wire_version"] = OLDER
        if encryption == "tls":
            tls = authority.member(f"n{number}")
            each[number] |= {
                "cluster.tls_cert_file": tls.cert,
                "cluster.tls_key_file": tls.key,
                "cluster.tls_ca_file": tls.ca,
            }
    hub.set(rate_bytes_per_s=SLOW_BYTES_PER_S)
    hub.reset_counters()
    with Fleet(tmp_path, hub, MEMBERS, each=each) as fleet:
        pulls = fleet.submit(repo)
        with gaps(pulls) as longest:
            fleet.await_share(pulls, 0.1)
            for lines in (f"{old}\n{new}\n", f"{new}\n{old}\n", f"{new}\n"):
                for number, node in enumerate(fleet.nodes):
                    files[number].write_text(lines)
                    authority.member(f"n{number}")
                    reload(node)
                    time.sleep(0.1)  # an operator's loop over the nodes takes longer
            for upgraded in fleet.nodes[-(MEMBERS // 2) :]:
                upgraded.change("cluster.wire_version", WIRE_VERSION)
                upgraded.restart()
                fleet.await_company()
            ended_early = [node for node, pull in pulls.items() if node.view(pull)["state"] == "complete"]
            hub.set(rate_bytes_per_s=40 * MIB)
            complete(fleet.wait(pulls), repo)
        assert not ended_early, "all that was in the middle"
        print(f"{encryption}: {hub_copies(repo):.4f} Hub copies, stood still {max(longest):.1f} s at most")
        assert_copies_at_most(repo, 1.05)
        assert all(REENTERED in node.log() for node in fleet.nodes)
        if STRICT:
            assert max(longest) <= GAP_S_MAX
            side_by_side_and_put_back(fleet, repos)
        files[0].write_text("not a secret\n")
        seen = fleet.nodes[0].log_file.stat().st_size
        os.kill(fleet.nodes[0].pid, signal.SIGHUP)
        until(lambda: "nothing changed" in fleet.nodes[0].log(seen), "the refusal of a bad secret")
        fleet.await_company()


def side_by_side_and_put_back(fleet: Fleet, repos: Repos) -> None:
    """The last member speaks the newer version, then the older one again: large blobs are shared either way."""
    for node in fleet.nodes[-(MEMBERS // 2) : -1]:
        node.change("cluster.wire_version", OLDER)
        node.restart()
    fleet.await_company()
    for version in (WIRE_VERSION, OLDER):
        repo = repos.make(weight_mib=20)
        complete(fleet.wait(fleet.submit(repo)), repo)
        print(f"wire versions {OLDER} and {version} side by side: {hub_copies(repo):.4f} Hub copies")
        assert_copies_at_most(repo, 1.05)
        fleet.nodes[-1].change("cluster.wire_version", OLDER)
        fleet.nodes[-1].restart()
        fleet.await_company()
