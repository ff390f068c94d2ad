"""What the daemon publishes, seen by the real huggingface_hub client in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distd.core.refs import Repo
from distd.store.blobs import BlobStore
from distd.store.cache import HubCache, pin_ref
from tests.store.conftest import fill_all, make_manifest, manifest_file

REPO = Repo("model", "acme/tiny")
COMMIT = "a1" * 20
OTHER = "b2" * 20
CONTENTS = {
    "config.json": b'{"model_type": "tiny"}',
    "model-00001-of-00002.safetensors": os.urandom(300_000),
    "model-00002-of-00002.safetensors": os.urandom(1000),
    "copy/of/config.json": b'{"model_type": "tiny"}',
    "empty.txt": b"",
    "original/weights.bin": os.urandom(70_000),
}

CLIENT = """
import json, sys, warnings
import huggingface_hub as hub
from huggingface_hub.errors import LocalEntryNotFoundError, IncompleteSnapshotError
call, arguments = json.loads(sys.argv[1])
if call == "scan":
    info = hub.scan_cache_dir(arguments["cache_dir"])
    print(json.dumps({"warnings": [str(w) for w in info.warnings], "repos": {
        repo.repo_id: {r.commit_hash: sorted(r.refs) for r in repo.revisions} for repo in info.repos}}))
else:
    try:
        print(json.dumps(getattr(hub, call)(**arguments)))
    except (LocalEntryNotFoundError, IncompleteSnapshotError) as error:
        print(json.dumps("raised " + type(error).__name__))
"""


def client(call: str, hub_dir: Path, *, offline: bool = True, **arguments: object) -> object:
    """Calls huggingface_hub in a fresh process: its offline switch is read at import, its caches are per process."""
    environment = {
        "PATH": os.environ["PATH"],
        "HF_HOME": str(hub_dir.parent / "hf-home"),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    request = json.dumps([call, {"cache_dir": str(hub_dir), **arguments}])
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, request], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hf(hub_dir: Path, *arguments: str) -> str:
    """Runs the `hf` command on the cache and returns what it prints."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hf")), *arguments, "--cache-dir", str(hub_dir)],
        env={"PATH": os.environ["PATH"], "HF_HOME": str(hub_dir.parent / "hf-home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree_of(snapshot: Path) -> dict[str, bytes]:
    return {
        path.relative_to(snapshot).as_posix(): path.read_bytes()
        for path in snapshot.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("revision", ["main", COMMIT])
@pytest.mark.parametrize("how", [{"offline": True}, {"offline": False, "local_files_only": True}])
async def test_client_loads_a_published_snapshot_offline(
    store: BlobStore, cache: HubCache, revision: str, how: dict[str, bool]
) -> None:
    await fill_all(store, CONTENTS)
    manifest = make_manifest(REPO, COMMIT, CONTENTS)

    published = await cache.publish(manifest, manifest.files, ["main"], complete=True)

    snapshot = client("snapshot_download", cache.hub_dir, repo_id=REPO.id, revision=revision, **how)
    assert snapshot == str(published)
    assert tree_of(published) == CONTENTS
    path = client(
        "hf_hub_download", cache.hub_dir, repo_id=REPO.id, revision=revision,
        filename="copy/of/config.json", **how,
    )  # fmt: skip
    assert Path(str(path)).read_bytes() == CONTENTS["config.json"]


async def test_client_scan_finds_nothing_to_complain_about(store: BlobStore, cache: HubCache) -> None:
    await fill_all(store, CONTENTS)
    manifest = make_manifest(REPO, COMMIT, CONTENTS)
    await cache.publish(manifest, manifest.files, ["main", "v1.0", "refs/pr/1"], complete=True)
    pinned = make_manifest(REPO, OTHER, {"config.json": CONTENTS["config.json"]})
    await cache.publish(pinned, pinned.files, [OTHER], complete=True)
    dataset = make_manifest(Repo("dataset", "acme/data"), COMMIT, {"empty.txt": b""})
    await cache.publish(dataset, dataset.files, [], complete=True)

    scan = client("scan", cache.hub_dir)

    assert scan == {
        "warnings": [],
        "repos": {
            "acme/tiny": {COMMIT: ["main", "refs/pr/1", "v1.0"], OTHER: [pin_ref(OTHER)]},
            "acme/data": {COMMIT: [pin_ref(COMMIT)]},
        },
    }
    listed = hf(cache.hub_dir, "cache", "ls", "--json")
    assert "acme/tiny" in listed
    assert "acme/data" in listed


async def test_prune_leaves_a_commit_that_was_pulled_by_its_hash(store: BlobStore, cache: HubCache) -> None:
    await fill_all(store, CONTENTS)
    manifest = make_manifest(REPO, COMMIT, CONTENTS)
    published = await cache.publish(manifest, manifest.files, [COMMIT], complete=True)

    hf(cache.hub_dir, "cache", "prune", "-y")

    assert tree_of(published) == CONTENTS


async def test_filtered_snapshot_loads_offline_until_a_tree_says_more_is_due(
    store: BlobStore, cache: HubCache
) -> None:
    chosen = {path: content for path, content in CONTENTS.items() if not path.startswith("original/")}
    await fill_all(store, chosen)
    manifest = make_manifest(REPO, COMMIT, CONTENTS)
    files = [file for file in manifest.files if file.path in chosen]

    published = await cache.publish(manifest, files, ["main"], complete=False)

    assert client("snapshot_download", cache.hub_dir, repo_id=REPO.id) == str(published)
    assert tree_of(published) == chosen
    with pytest.raises(ValueError, match="not complete"):
        await cache.publish(manifest, files, ["main"], complete=True)
    await fill_all(store, CONTENTS)
    rest = [manifest_file(path, content) for path, content in CONTENTS.items() if path not in chosen]
    assert await cache.publish(manifest, rest, ["main"], complete=True) == published
    assert tree_of(published) == CONTENTS
    assert client("snapshot_download", cache.hub_dir, repo_id=REPO.id) == str(published)


async def test_tree_with_a_file_missing_makes_the_client_refuse_offline(
    store: BlobStore, cache: HubCache
) -> None:
    await fill_all(store, CONTENTS)
    manifest = make_manifest(REPO, COMMIT, CONTENTS)
    published = await cache.publish(manifest, manifest.files, ["main"], complete=True)

    (published / "config.json").unlink()

    assert client("snapshot_download", cache.hub_dir, repo_id=REPO.id) == "raised IncompleteSnapshotError"
    await cache.publish(manifest, manifest.files, ["main"], complete=True)
    assert client("snapshot_download", cache.hub_dir, repo_id=REPO.id) == str(published)


async def test_unpublished_refs_are_gone_before_the_snapshot(store: BlobStore, cache: HubCache) -> None:
    await fill_all(store, CONTENTS)
    manifest = make_manifest(REPO, COMMIT, CONTENTS)
    await cache.publish(manifest, manifest.files, ["main"], complete=True)

    assert await cache.unpublish(REPO, COMMIT) == 0

    assert client("snapshot_download", cache.hub_dir, repo_id=REPO.id) == "raised LocalEntryNotFoundError"
    assert client("scan", cache.hub_dir) == {"warnings": [], "repos": {}}
