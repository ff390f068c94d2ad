"""Wrong bytes from a member's disk or from the Hub: refused piece by piece, never published."""

from __future__ import annotations

from pathlib import Path

from tests.daemon.daemon import until
from tests.daemon.repos import MIB, Repos
from tests.hub import HubProcess
from tests.swarm.fleet import PULL_S, Fleet, complete, flip, hub_copies, largest

EVERY = 4
"""One piece in so many of the damaged copy is wrong: a newcomer that takes half of its pieces there meets one."""


def test_rotten_copy_of_a_member_is_refused_piece_by_piece(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=32)
    hub.reset_counters()
    with Fleet(tmp_path, hub, 2) as fleet:
        complete(fleet.wait(fleet.submit(repo)), repo)
        rotten, sound = fleet.nodes
        path, etag = largest(repo)
        for piece in range(0, path.stat().st_size // MIB, EVERY):
            flip(rotten.store_dir / "blobs" / etag, piece * MIB + 77)
        sound.terminate()  # the rotten copy is the only one there is at first
        (late,) = fleet.add()
        pulls = fleet.submit(repo, [late])
        until(lambda: "piece_refused" in late.events(pulls[late]), "a piece to be refused", PULL_S)
        fleet.restart(sound)
        complete(fleet.wait(pulls), repo)
        refused = late.events(pulls[late]).count("piece_refused")
        print(f"rotten copy: {refused} pieces refused, {hub_copies(repo):.4f} Hub copies")
        assert refused >= 1
        assert late.metrics().by_label("distd_pieces_rejected_total")["peers"] >= refused


def test_wrong_byte_from_the_hub_costs_part_of_a_copy_and_is_not_published(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=24)
    path, _ = largest(repo)
    hub.set(rate_bytes_per_s=24 * MIB)
    hub.reset_counters()
    hub.add_fault("wrong_byte", on="body", path=path.name, at=9 * MIB + 5, times=1)
    with Fleet(tmp_path, hub, 3) as fleet:
        pulls = fleet.submit(repo)
        complete(fleet.wait(pulls), repo)
        assert [rule["hits"] for rule in hub.faults()] == [1]
        extra = repo.sent_bytes() - repo.size_bytes
        print(f"one wrong byte: {extra} bytes ({extra / MIB:.1f} MiB) of {repo.size_bytes} fetched again")
        rejected = sum(node.metrics().by_label("distd_pieces_rejected_total")["hub"] for node in fleet.nodes)
        assert rejected >= 1
        counted = sum(node.metrics().value("distd_hub_duplicate_bytes_total") for node in fleet.nodes)
        assert abs(counted - extra) <= 2 * MIB, "what was fetched again is told to monitoring"
        # Which piece is wrong shows when it was fetched by somebody else: one of each fetcher first, then in file order, a
        # little at a time; then it is fetched by each once, and the rest is left alone.
        assert MIB <= extra <= path.stat().st_size * 3 // 4 + len(fleet.nodes) * MIB

        def told() -> bool:
            events = {event for node in fleet.nodes for event in node.events(pulls[node])}
            return {"whole_wrong", "fetch_wrong"} <= events

        until(told, "the story to name the wrong fetch")
