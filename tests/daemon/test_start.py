"""A daemon that holds many models starts without reading them.

START_MODELS (60) is how many there are; START_MODELS=500 is what the documents state.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from distd.core.manifest import Manifest, ManifestFile
from distd.core.refs import Repo
from distd.state.database import Database
from distd.state.snapshots import SnapshotRecord, SnapshotTable
from distd.store.manifests import ManifestStore
from distd.store.workers import Workers
from tests.daemon.daemon import DaemonProcess, Refused
from tests.daemon.faulty_disk import FaultyDisk
from tests.hub import HubProcess

MODELS = int(os.environ.get("START_MODELS", "60"))
FILES = 12
"""As a model of a few shards has."""


async def hold(state_dir: Path, models: int) -> None:
    """What pulls of so many models leave, without the syncing that makes each of them durable."""
    store, hub = state_dir / "store", state_dir / "hub"
    for directory in (store / "blobs", store / "scratch", store / "incoming"):
        directory.mkdir(parents=True)
    workers = Workers()
    database = await Database.open(str(state_dir / "distd.sqlite"))
    table, manifests = SnapshotTable(database), ManifestStore(store, workers)
    for number in range(models):
        repo, commit = Repo("model", f"acme/held-{number}"), f"{number:040x}"
        directory = hub / repo.folder
        for name in ("blobs", f"snapshots/{commit}", "refs"):
            (directory / name).mkdir(parents=True)
        files = []
        for file in range(FILES):
            content = f"{number}/{file}".encode()
            etag = hashlib.sha256(content).hexdigest()
            (store / "blobs" / etag).write_bytes(content)
            os.link(store / "blobs" / etag, directory / "blobs" / etag)
            path = f"model-{file}.safetensors"
            (directory / "snapshots" / commit / path).symlink_to(f"../../blobs/{etag}")
            files.append(ManifestFile(path, len(content), etag))
        (directory / "refs" / "main").write_text(commit)
        await manifests.save(Manifest(repo, commit, tuple(files)))
        record = SnapshotRecord(
            type="model",
            repo=repo.id,
            commit=commit,
            paths=None,
            size_bytes=sum(file.size_bytes for file in files),
            files=FILES,
            published_at=float(number),
        )
        await table.save(repo.folder, record)
    await database.close()
    workers.close()


def test_a_start_reads_no_blob_however_many_there_are(hub: HubProcess, tmp_path: Path) -> None:
    asyncio.run(hold(tmp_path / "state", MODELS))
    disk = FaultyDisk(tmp_path)
    disk.fail(errno.EIO, "r", "/blobs/")
    with DaemonProcess(tmp_path, hub.url, environment=disk.environment) as daemon:
        listed = daemon.get("/v1/models?limit=1000")["items"]
        assert len(listed) == MODELS
        assert {model["bytes"] for model in listed} != {0}
        model = listed[-1]["repo"]
        with pytest.raises(Refused):  # the disk is as bad as that: nothing was read so far
            daemon.post(f"/v1/models/model/{model}/verify")
        disk.heal()
        assert daemon.post(f"/v1/models/model/{model}/verify")["bad"] == []
        daemon.terminate()
        took_s = [daemon.restart() for _ in range(3 if MODELS >= 500 else 1)]
    print(f"{MODELS} models of {FILES} files: ready after {min(took_s):.2f} to {max(took_s):.2f} s")
