"""The API's shapes: trees, pages, path lists and descriptions."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.hub import HubServer, digest_bytes
from tests.test_hub.client import ask

WEIGHTS = b"w" * 1_000_000
FILES = {"model.safetensors": WEIGHTS, "config.json": b"{}", "a/b/c.txt": b"deep", "a/d.txt": b"d"}


async def get(hub: HubServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    async with aiohttp.ClientSession() as session, session.request(method, hub.url + path) as response:
        answer = None if method == "HEAD" else await response.json()
        return response.status, {name.lower(): value for name, value in response.headers.items()}, answer


async def test_a_tree_names_lfs_and_git_files_as_the_hub_does(hub: HubServer) -> None:
    hub.add_repo("acme/m", FILES)
    _, _, tree = await get(hub, "/api/models/acme/m/tree/main?recursive=true&expand=false")
    by_path = {entry["path"]: entry for entry in tree}
    weights = digest_bytes(WEIGHTS)
    assert by_path["model.safetensors"]["lfs"] == {
        "oid": weights.sha256,
        "size": len(WEIGHTS),
        "pointerSize": 132,
    }
    assert by_path["model.safetensors"]["oid"] not in (weights.git_sha1, weights.sha256)
    assert by_path["config.json"] == {
        "type": "file",
        "oid": digest_bytes(b"{}").git_sha1,
        "size": 2,
        "path": "config.json",
    }
    assert {path for path, entry in by_path.items() if entry["type"] == "directory"} == {"a", "a/b"}


async def test_the_git_names_are_those_git_gives() -> None:
    # `printf hello | git hash-object --stdin`
    assert digest_bytes(b"hello").git_sha1 == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"


async def test_a_tree_that_is_not_recursive_stops_at_directories(hub: HubServer) -> None:
    hub.add_repo("acme/m", FILES)
    names = {entry.path for entry in await ask(hub, "list_repo_tree", "acme/m")}
    assert names == {"a", "config.json", "model.safetensors"}
    names = {entry.path for entry in await ask(hub, "list_repo_tree", "acme/m", "a")}
    assert names == {"a/b", "a/d.txt"}
    assert (await get(hub, "/api/models/acme/m/tree/main/none"))[0] == 404


@pytest.mark.parametrize(("expand", "pages"), [(False, 3), (True, 6)])
async def test_a_long_tree_comes_in_pages_with_absolute_links(expand: bool, pages: int) -> None:
    async with HubServer(page_size=10, expand_page_size=5) as hub:
        hub.add_repo("acme/many", {f"f{number:03}.txt": b"x" for number in range(30)})
        tree = await ask(hub, "list_repo_tree", "acme/many", recursive=True, expand=expand)
        assert [entry.path for entry in tree] == [f"f{number:03}.txt" for number in range(30)]
        assert all((entry.last_commit is not None) is expand for entry in tree)
        assert hub.counters.count("api", "*/tree/*") == pages
        _, headers, _ = await get(hub, "/api/models/acme/many/tree/main")
        assert headers["link"].startswith(f"<{hub.url}/api/models/acme/many/tree/main?")


async def test_paths_info_leaves_out_what_does_not_exist(hub: HubServer) -> None:
    hub.add_repo("acme/m", FILES)
    found = await ask(hub, "get_paths_info", "acme/m", ["config.json", "a", "none", "model.safetensors"])
    assert [entry.path for entry in found] == ["config.json", "a", "model.safetensors"]
    assert found[2].lfs.sha256 == digest_bytes(WEIGHTS).sha256


async def test_siblings_carry_hashes_only_with_blobs_and_under_the_key_sha256(hub: HubServer) -> None:
    repo = hub.add_repo("acme/m", FILES)
    _, _, plain = await get(hub, "/api/models/acme/m")
    assert {"rfilename": "model.safetensors"} in plain["siblings"]
    _, _, info = await get(hub, f"/api/models/acme/m/revision/{repo.head}?blobs=true")
    weights = next(entry for entry in info["siblings"] if entry["rfilename"] == "model.safetensors")
    assert weights["lfs"]["sha256"] == digest_bytes(WEIGHTS).sha256
    assert weights["size"] == len(WEIGHTS)
    _, _, narrow = await get(hub, "/api/models/acme/m?expand=gated")
    assert set(narrow) == {"_id", "id", "gated"}


async def test_trailing_slashes_and_head_are_tolerated(hub: HubServer) -> None:
    hub.add_repo("acme/m", FILES)
    assert (await get(hub, "/api/models/acme/m/tree/main/?recursive=true"))[0] == 200
    status, headers, _ = await get(hub, "/api/models/acme/m/revision/main", "HEAD")
    assert (status, int(headers["content-length"]) > 100) == (200, True)


async def test_repos_named_like_operations_and_legacy_names_are_told_apart(hub: HubServer) -> None:
    hub.add_repo("acme/refs", FILES)
    hub.add_repo("gpt2", FILES)
    assert (await get(hub, "/api/models/acme/refs"))[2]["id"] == "acme/refs"
    assert (await get(hub, "/api/models/acme/refs/refs"))[2]["branches"][0]["name"] == "main"
    assert (await get(hub, "/api/models/gpt2/refs"))[2]["branches"][0]["name"] == "main"
    assert (await get(hub, "/api/models/gpt2"))[2]["author"] is None


async def test_xet_hashes_appear_only_when_asked_for(hub: HubServer) -> None:
    hub.add_repo("acme/m", FILES)
    _, _, tree = await get(hub, "/api/models/acme/m/tree/main")
    assert not any("xetHash" in entry for entry in tree)
    hub.settings.xet_headers = True
    _, _, tree = await get(hub, "/api/models/acme/m/tree/main")
    assert [entry["path"] for entry in tree if "xetHash" in entry] == ["model.safetensors"]
