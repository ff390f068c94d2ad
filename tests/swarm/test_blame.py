"""Bad members among good ones: the good publish right bytes, and name the bad with evidence. ``make blame`` takes 8 daemons."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import MIB, HubRepo, Repos
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, complete, hub_copies

FULL = bool(os.environ.get("BLAME_FULL"))
GOOD = 5 if FULL else 2
WEIGHT_MIB = 192 if FULL else 20
RATE_BYTES_PER_S = 12 * MIB
BAD = ("damages", "hollow", "lies") if FULL else ("damages",)
PULL_S = 180.0
SLOWER_MAX = 1.5
NAMED_S = 20.0


def fleet_of(directory: Path, hub: HubProcess, bad: tuple[str, ...]) -> Fleet:
    """Good members first, then one with each fault."""
    wrapped = {GOOD + i: (sys.executable, "-m", "tests.swarm.planted", fault) for i, fault in enumerate(bad)}
    return Fleet(directory, hub, GOOD + len(BAD), wrapped=wrapped)


def banned_by(node: DaemonProcess) -> dict[str, str]:
    return {peer["name"]: peer["ban"] for peer in node.get("/v1/peers")["items"] if peer["ban"]}


def test_bad_members_are_named_with_evidence_and_the_good_publish(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    hub.set(rate_bytes_per_s=RATE_BYTES_PER_S)
    clean_s = 0.0
    if FULL:
        repo = repos.make(weight_mib=WEIGHT_MIB)
        with fleet_of(tmp_path / "clean", hub, ()) as fleet:
            began = time.monotonic()
            complete(fleet.wait(fleet.submit(repo), PULL_S), repo)
            clean_s = time.monotonic() - began
    repo = repos.make(weight_mib=WEIGHT_MIB)
    hub.reset_counters()
    with fleet_of(tmp_path / "bad", hub, BAD) as fleet:
        good = fleet.nodes[:GOOD]
        bad = {f"n{GOOD + i}" for i in range(len(BAD))}
        began = time.monotonic()
        pulls = fleet.submit(repo)
        complete(fleet.wait({node: pulls[node] for node in good}, PULL_S), repo)
        took_s = time.monotonic() - began
        until(lambda: bad <= {n for node in good for n in banned_by(node)}, "all to be named", NAMED_S)
        named = {name: reason for node in good for name, reason in banned_by(node).items()}
        print(
            f"{GOOD} good, {len(BAD)} bad: {took_s:.1f} s, clean {clean_s:.1f} s, {hub_copies(repo):.2f} Hub copies"
        )
        for name, reason in sorted(named.items()):
            print(f"  {name}: {reason}")
        assert set(named) == bad, "nobody else is named"
        assert not FULL or "false digests" in named[f"n{GOOD + 2}"]
        told = {event for node in good for event in node.events(pulls[node])}
        assert "piece_rejected" in told, "and member_banned, when it is found before the pull ended"
        assert not FULL or "fetch_wrong" in told
        counted = {label for node in good for label in node.metrics().by_label("distd_pieces_rejected_total")}
        assert {f"member:{name}" for name in bad} <= counted
        if FULL:
            assert took_s <= SLOWER_MAX * clean_s
        if FULL or os.environ.get("SWARM_STRICT"):
            comes_back_when_it_is_well(fleet, repo)


def comes_back_when_it_is_well(fleet: Fleet, repo: HubRepo) -> None:
    """Asked again it is found wrong as before; repaired, with a right copy of its own, it is let back, and the audit says why."""
    bad = f"n{GOOD}"
    judge = next(node for node in fleet.nodes[:GOOD] if bad in banned_by(node))
    recheck = f"/v1/peers/{bad}/recheck"
    still = judge.post(recheck)
    assert (still["verdict"], still["ban"]["member"]) in (("wrong", bad), ("unknown", bad)), still
    repaired = fleet.nodes[GOOD]
    repaired.kill9()
    repaired.repair()
    repaired.start()
    repaired.pulled(repo.id)

    def back() -> Any:
        told = judge.post(recheck)
        return told if told["ban"] is None else None

    told = until(back, "the repaired one to be let back", NAMED_S)
    assert (told["verdict"], bad in banned_by(judge)) == ("clean", False)
    lifted, *_ = judge.get("/v1/audit?deed=unban")["items"]
    assert (lifted["subject"], "copies asked for again, all right" in lifted["detail"]) == (bad, True)
    assert "sends wrong bytes" in lifted["detail"]
