"""Every refusal becomes the exception that the real Hub's refusal becomes."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import httpx2
import huggingface_hub
import pytest
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import _http as http_backend

from tests.hub import HubServer, make_certificate, server_context
from tests.test_hub.client import ask, download, files_below

FILES = {"model.safetensors": b"w" * 100, "config.json": b"{}", "README.md": b"# hello"}


async def fetch(
    hub: HubServer, path: str, token: str | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    """Status, headers (lower case) and text, no redirect followed."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, hub.url + path, headers=headers, allow_redirects=False) as response,
    ):
        return response.status, {k.lower(): v for k, v in response.headers.items()}, await response.text()


async def test_an_unknown_revision(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/m", FILES)
    with pytest.raises(RevisionNotFoundError):
        await ask(hub, "model_info", "acme/m", revision="nope")
    status, headers, text = await fetch(hub, "/acme/m/resolve/nope/config.json")
    assert (status, headers["x-error-code"], text) == (404, "RevisionNotFound", "Invalid rev id: nope")


async def test_an_absent_file_is_remembered_as_absent(hub: HubServer, tmp_path: Path) -> None:
    sha = hub.add_repo("acme/m", FILES).head
    with pytest.raises(RemoteEntryNotFoundError):
        await ask(hub, "hf_hub_download", "acme/m", "absent.txt", cache_dir=tmp_path)
    assert (tmp_path / "models--acme--m" / ".no_exist" / sha / "absent.txt").exists()
    status, headers, text = await fetch(hub, "/acme/m/resolve/main/absent.txt")
    assert (status, headers["x-error-code"], text) == (404, "EntryNotFound", "Entry not found")
    assert headers["x-repo-commit"] == sha


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        (None, 401, "must have access to it and be authenticated"),
        ("hf_stranger", 403, "you are not in the authorized list"),
        ("hf_waiting", 403, "is awaiting a review from the repo authors"),
    ],
)
async def test_a_gated_repo_refuses_files_and_masks_its_tree(
    hub: HubServer, tmp_path: Path, token: str | None, status: int, words: str
) -> None:
    hub.add_repo("acme/gate", FILES, gated="manual", readers={"hf_reader"}, pending={"hf_waiting"})
    hub.add_token("hf_stranger", "stranger")
    with pytest.raises(GatedRepoError) as caught:
        await download(hub, "acme/gate", tmp_path, token=token or False)
    assert caught.value.response.status_code == status
    assert words in caught.value.response.headers["X-Error-Message"]
    with pytest.raises(GatedRepoError):
        await ask(hub, "auth_check", "acme/gate", token=token or False)
    tree = await ask(hub, "list_repo_tree", "acme/gate", token=token or False)
    assert {entry.path: entry.lfs.sha256 for entry in tree if entry.lfs} == {"model.safetensors": "*" * 64}
    assert (await ask(hub, "model_info", "acme/gate", token=token or False)).gated == "manual"
    # The gate comes before revision and entry; the README is outside it.
    assert (await fetch(hub, "/acme/gate/resolve/nope/absent.txt", token))[0] == status
    assert (await fetch(hub, "/acme/gate/resolve/main/README.md", token))[0] == 200


async def test_a_gated_repo_opens_to_a_listed_token(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/gate", FILES, gated="auto", readers={"hf_reader"})
    snapshot = await download(hub, "acme/gate", tmp_path, token="hf_reader")
    assert files_below(snapshot) == FILES
    await ask(hub, "auth_check", "acme/gate", token="hf_reader")
    assert (await fetch(hub, "/acme/gate/resolve/main/config.json", "hf_later"))[0] == 401
    hub.repo("acme/gate").readers.add("hf_later")
    assert (await fetch(hub, "/acme/gate/resolve/main/config.json", "hf_later"))[0] == 200
    # Small files come directly, without the cache route of public repos.
    assert hub.counters.count("head", "config.json", 200) == 1
    assert hub.counters.count(status=307) == 0


@pytest.mark.parametrize("repo_id", ["acme/missing", "acme/secret"])
async def test_missing_and_private_look_alike(hub: HubServer, repo_id: str) -> None:
    hub.add_repo("acme/secret", FILES, private=True, readers={"hf_reader"})
    hub.add_token("hf_stranger", "stranger")
    with pytest.raises(RepositoryNotFoundError):
        await ask(hub, "model_info", repo_id, token="hf_stranger")
    status, headers, _ = await fetch(hub, f"/api/models/{repo_id}", "hf_stranger")
    assert (status, headers["x-error-code"]) == (404, "RepoNotFound")
    # Anonymous callers get a bare 401, which the client understands over https only.
    with pytest.raises(HfHubHTTPError) as caught:
        await ask(hub, "model_info", repo_id)
    assert type(caught.value) is HfHubHTTPError
    status, headers, text = await fetch(hub, f"/{repo_id}/resolve/main/config.json")
    assert (status, text) == (401, "Invalid username or password.")
    assert "x-error-code" not in headers


async def test_a_code_on_the_anonymous_401_makes_it_repository_not_found_over_http() -> None:
    async with HubServer(code_on_anonymous_401=True) as hub:
        with pytest.raises(RepositoryNotFoundError):
            await ask(hub, "model_info", "acme/missing")


async def test_the_anonymous_401_is_repository_not_found_over_https(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate))
    before = http_backend._GLOBAL_CLIENT_FACTORY  # the process may have another than the default one
    huggingface_hub.set_client_factory(lambda: httpx2.Client(verify=trust, follow_redirects=True))
    try:
        async with HubServer(tls=server_context(certificate, key)) as hub:
            hub.add_repo("acme/m", FILES)
            assert files_below(await download(hub, "acme/m", tmp_path / "cache")) == FILES
            with pytest.raises(RepositoryNotFoundError):
                await ask(hub, "model_info", "acme/missing")
    finally:
        huggingface_hub.set_client_factory(before)


async def test_a_disabled_repo(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("acme/off", FILES, disabled=True)
    with pytest.raises(DisabledRepoError):
        await ask(hub, "model_info", "acme/off")
    assert (await fetch(hub, "/acme/off/resolve/main/config.json"))[0] == 403


async def test_a_token_the_hub_does_not_know_is_refused_even_for_public_repos(hub: HubServer) -> None:
    hub.add_repo("acme/m", FILES)
    with pytest.raises(HfHubHTTPError) as caught:
        await ask(hub, "model_info", "acme/m", token="hf_unknown")
    assert not isinstance(caught.value, RepositoryNotFoundError)
    assert caught.value.response.json() == {"error": "Invalid credentials in Authorization header"}
    assert (await fetch(hub, "/api/whoami-v2", "hf_unknown"))[0] == 401
    hub.add_token("hf_bob", "bob")
    assert (await ask(hub, "whoami", token="hf_bob"))["name"] == "bob"


async def test_a_renamed_repo_redirects_the_api_and_serves_files_under_both_names(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.add_repo("acme/old", FILES)
    hub.rename("acme/old", "acme/new")
    status, headers, _ = await fetch(hub, "/api/models/acme/old/tree/main?recursive=true")
    assert (status, headers["location"]) == (307, "/api/models/acme/new/tree/main?recursive=true")
    assert (await fetch(hub, "/acme/old/resolve/main/model.safetensors", method="HEAD"))[0] == 302
    assert (await ask(hub, "model_info", "acme/old")).id == "acme/new"
    snapshot = await download(hub, "acme/old", tmp_path)
    assert files_below(snapshot) == FILES
    assert snapshot.parents[1].name == "models--acme--old"


async def test_quotas_answer_429_only_beyond_them_and_per_caller() -> None:
    async with HubServer(quotas={"api": 2}) as hub:
        hub.add_repo("acme/m", FILES)
        hub.add_token("hf_bob", "bob")
        answers = [await fetch(hub, "/api/models/acme/m") for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        assert answers[0][1]["ratelimit"].startswith('"api";r=1;t=')
        assert answers[2][1]["ratelimit"].startswith('"api";r=0;t=')
        assert answers[2][1]["ratelimit-policy"] == '"fixed window";"api";q=2;w=300'
        assert (await fetch(hub, "/api/models/acme/m", "hf_bob"))[0] == 200
        assert (await fetch(hub, "/acme/m/resolve/main/config.json"))[0] == 307
        hub.advance(300)
        assert (await fetch(hub, "/api/models/acme/m"))[0] == 200


async def test_every_answer_of_the_hub_states_the_rate_limit(hub: HubServer) -> None:
    hub.add_repo("acme/m", FILES)
    for path, resource in (
        ("/api/models/acme/m", "api"),
        ("/api/models/acme/none", "api"),
        ("/acme/m/resolve/main/config.json", "resolvers"),
        ("/nothing/here", "api"),
    ):
        _, headers, _ = await fetch(hub, path)
        assert f'"{resource}";r=' in headers["ratelimit"], path
        assert headers["x-request-id"]
