"""A disk that forgets: found without being asked, fetched anew, replaced, told."""

from __future__ import annotations

from pathlib import Path

from peers.pieces import piece_length_bytes
from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import Repos, assert_all_visible_is_right, assert_same_files
from tests.hub import HubProcess


def test_rot_is_found_in_the_background_and_replaced_where_programs_read_it(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo = repos.make(weight_mib=2)
    with DaemonProcess(tmp_path, hub.url, {"cache.scrub_interval": "1s"}) as daemon:
        snapshot = Path(daemon.pulled(repo.id)["snapshot_path"])
        until(lambda: daemon.get("/v1/status")["cache"]["scrub"]["bytes_checked"] > 0, "a file to be checked")
        assert daemon.metrics().value("distd_files_rotten_total") == 0
        file = next(snapshot.glob("*.safetensors"))
        blob = file.resolve()
        blob.chmod(0o644)
        with blob.open("r+b", buffering=0) as raw:
            raw.seek(1_000_000)
            byte = raw.read(1)
            raw.seek(1_000_000)
            raw.write(bytes([byte[0] ^ 0x10]))

        until(lambda: daemon.metrics().value("distd_files_rotten_total") > 0, "rot to be found", 30)

        until(lambda: len(daemon.get("/v1/pulls")["items"]) == 2, "a pull that repairs")
        repair = daemon.wait(daemon.get("/v1/pulls")["items"][0]["id"])
        assert repair["state"] == "complete"
        assert repair["bytes_from_hub"] == piece_length_bytes(blob.stat().st_size), (
            "the bad piece, and no more"
        )
        assert "hash_mismatch" in daemon.events(repair["id"])
        assert_same_files(snapshot, repo.directory)
        assert_all_visible_is_right(daemon.hub_dir, daemon.store_dir)
        assert daemon.metrics().value("distd_files_rotten_total") == 1
        assert "rotted on the disk" in daemon.log()
        (model,) = daemon.get("/v1/models")["items"]
        assert model["revisions"][0]["complete"] is True
