"""The official client downloads from the Hub what was put there, and reads it back offline."""

from __future__ import annotations

import asyncio
from pathlib import Path

import huggingface_hub
import pytest

from tests.hub import HubServer, digest_bytes
from tests.test_hub.client import ask, download, files_below


async def test_a_snapshot_is_the_directory_and_loads_again_without_a_request(
    hub: HubServer, model: Path, tmp_path: Path
) -> None:
    repo = hub.add_repo("acme/tiny", model)
    snapshot = await download(hub, "acme/tiny", tmp_path)
    assert snapshot.name == repo.head
    assert files_below(snapshot) == files_below(model)
    assert hub.counters.body_bytes() == sum(len(content) for content in files_below(model).values())
    assert hub.counters.token_leaks == 0
    hub.counters.reset()
    assert await download(hub, "acme/tiny", tmp_path, local_files_only=True) == snapshot
    assert hub.counters.count() == hub.counters.count(path="/api/agent-harnesses")
    assert await download(hub, "acme/tiny", tmp_path) == snapshot
    assert hub.counters.count(path="/api/models/*") == 1
    assert hub.counters.body_bytes() == 0


async def test_the_client_asks_in_the_documented_order(hub: HubServer, tmp_path: Path) -> None:
    sha = hub.add_repo("acme/one", {"config.json": b"{}"}).head
    await download(hub, "acme/one", tmp_path)
    asked = [(r.method, r.path, r.status) for r in hub.counters.last if r.path != "/api/agent-harnesses"]
    assert asked == [
        ("GET", "/api/models/acme/one/revision/main", 200),
        ("GET", f"/api/models/acme/one/tree/{sha}", 200),
        ("HEAD", "acme/one/config.json", 307),
        ("HEAD", "acme/one/config.json", 200),
        ("GET", "acme/one/config.json", 200),
    ]


async def test_blobs_are_named_by_sha256_or_git_sha1(hub: HubServer, tmp_path: Path) -> None:
    weights, config = b"w" * 1000, b'{"a": 1}'
    hub.add_repo("acme/named", {"model.safetensors": weights, "config.json": config})
    await download(hub, "acme/named", tmp_path)
    blobs = files_below(tmp_path / "models--acme--named" / "blobs")
    assert blobs == {digest_bytes(weights).sha256: weights, digest_bytes(config).git_sha1: config}


async def test_refs_tags_and_pull_requests_lead_to_their_commits(hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add_repo("acme/refs", {"a.txt": b"first"})
    first = repo.head
    repo.tag("v1.0")
    second = repo.commit({"a.txt": b"second", "b.txt": b"new"})
    proposed = repo.commit({"a.txt": b"proposed"}, ref="refs/pr/1")
    repo.set_ref("refs/convert/parquet", first)
    repo.set_ref("feature/x", second)
    found = {
        revision: (await download(hub, "acme/refs", tmp_path, revision=revision)).name
        for revision in ("main", "v1.0", "refs/pr/1", "refs/convert/parquet", "feature/x", first)
    }
    assert found == {
        "main": second,
        "v1.0": first,
        "refs/pr/1": proposed,
        "refs/convert/parquet": first,
        "feature/x": second,
        first: first,
    }
    refs = await ask(hub, "list_repo_refs", "acme/refs", include_pull_requests=True)
    assert {ref.ref: ref.target_commit for ref in refs.pull_requests} == {"refs/pr/1": proposed}
    assert {ref.name for ref in refs.branches} == {"main", "feature/x"}
    assert [ref.ref for ref in refs.tags] == ["refs/tags/v1.0"]
    history = await ask(hub, "list_repo_commits", "acme/refs")
    assert [commit.commit_id for commit in history] == [second, first]


@pytest.mark.parametrize("repo_type", ["dataset", "space"])
async def test_datasets_and_spaces_live_under_their_own_names(
    hub: HubServer, tmp_path: Path, repo_type: str
) -> None:
    files = {"data/train.bin": b"x" * 5000, "README.md": b"# data"}
    hub.add_repo("acme/data", files, type=repo_type)  # type: ignore[arg-type]  # parametrized by its values
    hub.add_repo("acme/data", {"model.txt": b"a model of the same name"})
    snapshot = await download(hub, "acme/data", tmp_path, repo_type=repo_type)
    assert files_below(snapshot) == files
    info = await ask(hub, f"{repo_type}_info", "acme/data", files_metadata=True)
    assert {sibling.rfilename: sibling.size for sibling in info.siblings} == {
        "data/train.bin": 5000,
        "README.md": 6,
    }


async def test_a_legacy_name_without_an_organisation_works(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("gpt2", {"config.json": b"{}", "model.safetensors": b"w" * 100})
    snapshot = await download(hub, "gpt2", tmp_path)
    assert set(files_below(snapshot)) == {"config.json", "model.safetensors"}


async def test_the_clients_own_verification_finds_nothing_wrong(
    hub: HubServer, model: Path, tmp_path: Path
) -> None:
    hub.add_repo("acme/tiny", model)
    await download(hub, "acme/tiny", tmp_path)
    result = await ask(hub, "verify_repo_checksums", "acme/tiny", cache_dir=tmp_path)
    assert result.mismatches == []
    assert result.checked_count == len(files_below(model))


async def test_a_token_goes_to_the_hub_and_not_to_the_data_origin(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/secret", {"m.bin": b"x" * 9000, "a.txt": b"a"}, private=True, readers={"hf_reader"})
    await download(hub, "acme/secret", tmp_path, token="hf_reader")
    assert hub.counters.token_leaks == 0
    assert all(request.authenticated for request in hub.counters.find("head"))
    assert not any(request.authenticated for request in hub.counters.find("body"))


async def test_many_clients_at_once_are_counted_as_streams(
    hub: HubServer, model: Path, tmp_path: Path
) -> None:
    hub.add_repo("acme/tiny", model)
    hub.settings.connection_rate_bytes_per_s = 32 * 1024 * 1024
    options = {"allow_patterns": ["*.safetensors"]}
    await asyncio.gather(*(download(hub, "acme/tiny", tmp_path / str(n), **options) for n in range(3)))
    assert hub.counters.max_streams >= 3
    assert hub.counters.streams == 0
    assert hub.counters.body_bytes("model.safetensors") == 3 * 16 * 1024 * 1024


async def test_hf_hub_download_takes_one_file_and_its_etag(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/one", {"sub/dir/m.gguf": b"GGUF" + bytes(5000), "other.txt": b""})
    url = huggingface_hub.hf_hub_url("acme/one", "sub/dir/m.gguf", endpoint=hub.url)
    metadata = await asyncio.to_thread(huggingface_hub.get_hf_file_metadata, url, token=False)
    assert (metadata.size, metadata.etag) == (5004, digest_bytes(b"GGUF" + bytes(5000)).sha256)
    assert metadata.location.startswith(hub.data_url)
    path = await ask(hub, "hf_hub_download", "acme/one", "sub/dir/m.gguf", cache_dir=tmp_path)
    assert Path(path).read_bytes() == b"GGUF" + bytes(5000)
