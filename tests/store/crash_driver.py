"""Kills a process at every step of a store operation and reports what it left behind.

Run as `python -m tests.store.crash_driver <empty directory> <scenario>`. For n = 1, 2, 3… it copies the
prepared directory, forks, and the child ends with os._exit just before its n-th change to the disk; then the
state is looked at, the operation is done again, and the state is looked at once more. It prints a list
with one entry per n, as JSON, and needs a process of its own because only one without threads may fork.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from huggingface_hub import scan_cache_dir

from distd.core.refs import Repo
from distd.store.blobs import BlobStore
from distd.store.cache import HubCache
from tests.store.conftest import PIECE_BYTES, fill_all, make_manifest, manifest_file

REPO = Repo("model", "acme/tiny")
COMMIT = "a1" * 20
CONTENTS = {
    "config.json": b"{}",
    "sub/dir/model.safetensors": b"w" * (PIECE_BYTES + 1),
    "sub/model.bin": b"b" * 99,
}
STEPS = ("link", "rename", "symlink", "mkdir", "rmdir", "unlink", "fsync", "fdatasync", "open", "fchmod")
CRASHED = 86


async def publish(store: BlobStore, cache: HubCache) -> None:
    manifest = make_manifest(REPO, COMMIT, CONTENTS)
    await cache.publish(manifest, manifest.files, ["main", "refs/pr/1"], complete=True)


async def publish_part(store: BlobStore, cache: HubCache) -> None:
    """A filtered snapshot, with one blob gone bad and one pointer gone, as another writer may leave it."""
    manifest = make_manifest(REPO, COMMIT, CONTENTS)
    snapshot = await cache.publish(manifest, manifest.files[:2], ["main"], complete=False)
    blob = cache.hub_dir / REPO.folder / "blobs" / manifest.files[1].etag
    blob.unlink()
    blob.write_bytes(b"x" * manifest.files[1].size_bytes)
    (snapshot / "config.json").unlink()


async def unpublish(store: BlobStore, cache: HubCache) -> None:
    await cache.unpublish(REPO, COMMIT)


async def nothing(store: BlobStore, cache: HubCache) -> None:
    pass


async def accept(store: BlobStore, cache: HubCache) -> None:
    await fill_all(store, {"new.bin": b"n" * 1000})


Step = Callable[[BlobStore, HubCache], Awaitable[None]]
SCENARIOS: dict[str, tuple[Step, Step]] = {
    "publish": (nothing, publish),
    "publish over a part": (publish_part, publish),
    "unpublish": (publish, unpublish),
    "accept": (nothing, accept),
}


async def perform(directory: Path, step: Step) -> None:
    store = BlobStore(directory / "store")
    store.open()
    await fill_all(store, CONTENTS)
    await step(store, HubCache(directory / "hub", store))
    await store.close()


def crash_before(n: int) -> None:
    """From now on the n-th change to the disk does not happen: the process is gone."""
    left = n

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(CRASHED)
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def look(directory: Path) -> dict[str, object]:
    """What other programs see."""
    repo = directory / "hub" / REPO.folder
    snapshot = repo / "snapshots" / COMMIT
    warnings: list[str] = []
    if (directory / "hub").exists():
        warnings = [str(warning) for warning in scan_cache_dir(directory / "hub").warnings]
    new = manifest_file("new.bin", b"n" * 1000)
    blob = directory / "store" / "blobs" / new.etag
    return {
        "snapshot": {
            path.relative_to(snapshot).as_posix(): path.read_bytes().decode() if path.exists() else "dangling"
            for path in sorted(snapshot.rglob("*"))
            if path.is_symlink() or path.is_file()
        },
        "refs": {
            name: (repo / "refs" / name).read_text()
            for name in ("main", "refs/pr/1")
            if (repo / "refs" / name).exists()
        },
        "tree": (repo / "trees" / f"{COMMIT}.json").exists(),
        "hub_blobs": len(list((repo / "blobs").iterdir())) if (repo / "blobs").is_dir() else 0,
        "warnings": warnings,
        "scratch": (repo / ".distd").exists(),
        "new_blob": blob.read_bytes().decode() if blob.exists() else None,
    }


def main() -> None:
    base, scenario = Path(sys.argv[1]), sys.argv[2]
    before, step = SCENARIOS[scenario]
    if os.fork() == 0:
        asyncio.run(perform(base / "prepared", before))
        os._exit(0)
    os.wait()
    found: list[dict[str, object]] = []
    status = CRASHED
    while status == CRASHED:
        directory = base / str(len(found))
        # cp keeps hard links and symlinks as they are, which shutil.copytree does not.
        os.spawnvp(os.P_WAIT, "cp", ["cp", "-a", str(base / "prepared"), str(directory)])
        pid = os.fork()
        if pid == 0:
            crash_before(len(found) + 1)
            asyncio.run(perform(directory, step))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        crashed = look(directory)
        if os.fork() == 0:
            asyncio.run(perform(directory, step))
            os._exit(0)
        again = os.waitstatus_to_exitcode(os.wait()[1])
        found.append({"status": status, "crashed": crashed, "again_status": again, "again": look(directory)})
        shutil.rmtree(directory)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
