"""Refs become manifests: the kinds of refs and repos, and the Hub's refusals."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distd.core.refs import Ref, parse_ref
from distd.errors import (
    AccessDenied,
    HubUnreachable,
    InvalidRequest,
    RepoNotFound,
    RevisionNotFound,
    UnsafePath,
)
from tests.hub import TRAVERSAL_ENTRIES, HubServer
from tests.hub_client.conftest import MakeResolver
from tests.hub_client.helpers import SMALL, TOKEN, WEIGHTS, WEIGHTS_BYTES

TINY = parse_ref("acme/tiny")


async def test_a_manifest_names_every_file_with_its_hash_and_size(
    hub: HubServer, make_resolver: MakeResolver
) -> None:
    hub.settings.xet_headers = True
    manifest = await make_resolver().resolve(TINY)
    commit = hub.repo("acme/tiny").find("main")
    assert commit is not None
    assert manifest.commit == commit.sha
    assert {f.path: (f.size_bytes, f.etag, f.git_oid) for f in manifest.files} == {
        f.path: (f.size_bytes, f.etag, f.oid) for f in commit.files.values()
    }
    assert manifest.by_path[WEIGHTS].xet_hash == commit.files[WEIGHTS].xet_hash
    assert manifest.by_path[SMALL].xet_hash is None
    assert manifest.by_path[WEIGHTS].is_lfs
    assert manifest.by_path[WEIGHTS].size_bytes == WEIGHTS_BYTES


async def test_branches_tags_pull_requests_and_commits_are_revisions(
    hub: HubServer, make_resolver: MakeResolver
) -> None:
    repo = hub.repo("acme/tiny")
    first = repo.head
    repo.tag("v1.0")
    second = repo.commit({"new.txt": b"new"})
    repo.set_ref("refs/pr/3", first)
    repo.set_ref("feature/x", first)
    resolver = make_resolver()
    assert (await resolver.resolve(TINY)).commit == second
    for revision in ("v1.0", "refs/pr/3", "feature/x", first):
        manifest = await resolver.resolve(Ref(TINY.repo, revision))
        assert manifest.commit == first
        assert "new.txt" not in manifest.by_path


async def test_a_commit_costs_one_request_and_must_exist(hub: HubServer, make_resolver: MakeResolver) -> None:
    resolver = make_resolver()
    await resolver.resolve(Ref(TINY.repo, hub.repo("acme/tiny").head))
    assert hub.counters.count("api", "*/revision/*") == 0
    assert hub.counters.count("api") == 1
    with pytest.raises(RevisionNotFound) as caught:
        await resolver.resolve(Ref(TINY.repo, "a" * 40))
    assert caught.value.revision == "a" * 40


@pytest.mark.parametrize("repo_type", ["dataset", "space"])
async def test_datasets_and_spaces_resolve_like_models(
    hub: HubServer, make_resolver: MakeResolver, repo_type: str
) -> None:
    hub.add_repo("acme/other", {"data.csv": b"1,2\n"}, type=repo_type)  # type: ignore[arg-type]  # parametrized
    manifest = await make_resolver().resolve(parse_ref("acme/other", repo_type))
    assert [file.path for file in manifest.files] == ["data.csv"]
    assert manifest.repo.type == repo_type


async def test_a_renamed_repo_resolves_and_keeps_the_name_asked_for(
    hub: HubServer, make_resolver: MakeResolver
) -> None:
    hub.rename("acme/tiny", "acme/new-name")
    manifest = await make_resolver().resolve(TINY)
    assert manifest.repo == TINY.repo
    assert WEIGHTS in manifest.by_path
    assert hub.counters.count("api", status=307) > 0


async def test_file_lists_of_many_pages_arrive_whole(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.settings.page_size = 10
    hub.add_repo("acme/many", {f"dir{n % 7}/file{n}.txt": b"%d" % n for n in range(95)})
    manifest = await make_resolver().resolve(parse_ref("acme/many"))
    assert len(manifest.files) == 95
    assert hub.counters.count("api", "*/tree/*") >= 10


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_missing_repo_is_not_found_with_and_without_a_token(
    make_resolver: MakeResolver, token: str | None
) -> None:
    with pytest.raises(RepoNotFound) as caught:
        await make_resolver(token).resolve(parse_ref("acme/nothing"))
    assert caught.value.authenticated is (token is not None)


async def test_a_private_repo_shows_only_to_its_readers(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.add_repo("acme/secret", {"a.txt": b"a"}, private=True, readers={"hf_reader"})
    for token in (None, TOKEN):
        with pytest.raises(RepoNotFound):
            await make_resolver(token).resolve(parse_ref("acme/secret"))
    assert len((await make_resolver("hf_reader").resolve(parse_ref("acme/secret"))).files) == 1


async def test_a_gated_repo_tells_where_to_ask_for_access(
    hub: HubServer, make_resolver: MakeResolver
) -> None:
    hub.add_repo("acme/gate", {WEIGHTS: b"w"}, gated="manual", readers={"hf_reader"}, pending={"hf_waiting"})
    for token in (None, TOKEN, "hf_waiting"):
        with pytest.raises(AccessDenied) as caught:
            await make_resolver(token).resolve(parse_ref("acme/gate"))
        assert f"{hub.url}/acme/gate" in caught.value.advice
        assert ("hub.token_file" in caught.value.advice) is (token is None)
    assert len((await make_resolver("hf_reader").resolve(parse_ref("acme/gate"))).files) == 1


async def test_disabled_repos_and_bad_tokens_are_denied_with_the_reason(
    hub: HubServer, make_resolver: MakeResolver
) -> None:
    hub.add_repo("acme/off", {"a": b"a"}, disabled=True)
    with pytest.raises(AccessDenied, match="disabled"):
        await make_resolver().resolve(parse_ref("acme/off"))
    with pytest.raises(AccessDenied, match="does not accept the token") as caught:
        await make_resolver("hf_wrong").resolve(TINY)
    assert "hf_wrong" not in str(caught.value)


@pytest.mark.parametrize("revision", ["nope", "refs/pr/9", "v0"])
async def test_a_missing_revision_is_named(make_resolver: MakeResolver, revision: str) -> None:
    with pytest.raises(RevisionNotFound) as caught:
        await make_resolver().resolve(Ref(TINY.repo, revision))
    assert caught.value.facts() == {"repo": "acme/tiny", "revision": revision}


@pytest.mark.parametrize("entry", TRAVERSAL_ENTRIES)
async def test_a_manifest_with_an_unsafe_path_is_refused_whole(
    hub: HubServer, make_resolver: MakeResolver, entry: str
) -> None:
    hub.faults.add("traversal", on="api", entry=entry)
    with pytest.raises(UnsafePath) as caught:
        await make_resolver().resolve(TINY)
    assert caught.value.path == entry


async def test_a_path_that_stands_there_twice_is_refused(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.faults.add("duplicate_paths", on="api")
    with pytest.raises(UnsafePath, match="twice"):
        await make_resolver().resolve(TINY)


@pytest.mark.parametrize("where", ["*/revision/*", "*/tree/*"])
@pytest.mark.parametrize("fault", ["malformed_json", "oversized_json"])
async def test_malformed_answers_are_a_hub_that_is_not_reachable(
    hub: HubServer, make_resolver: MakeResolver, fault: str, where: str
) -> None:
    parameters = {"size": 65 * 2**20} if fault == "oversized_json" else {}
    hub.faults.add(fault, on="api", path=where, **parameters)
    resolver = make_resolver()
    with pytest.raises(HubUnreachable) as caught:
        await resolver.resolve(TINY)
    assert caught.value.retryable
    assert ("malformed" if fault == "malformed_json" else "larger") in caught.value.reason
    assert len((await resolver.resolve(TINY)).files) == 4


async def test_pages_in_a_circle_end(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.add_repo("acme/none", {})
    hub.faults.add("endless_pages", on="api", times=None)
    with pytest.raises(HubUnreachable, match="circle"):
        await make_resolver().resolve(parse_ref("acme/none"))


async def test_a_redirect_loop_ends(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.faults.add("redirect_loop", on="api", times=None)
    with pytest.raises(HubUnreachable, match="redirects"):
        await make_resolver().resolve(TINY)
    assert hub.counters.count("api") <= 6


@pytest.mark.parametrize("fault", ["foreign_next_page", "foreign_redirect"])
async def test_the_api_is_not_followed_to_another_origin(
    hub: HubServer, make_resolver: MakeResolver, fault: str
) -> None:
    hub.faults.add(fault, on="api", path="*/tree/*")
    with pytest.raises(HubUnreachable, match="another server"):
        await make_resolver().resolve(TINY)
    assert hub.counters.token_leaks == 0
    assert not [
        request for request in hub.counters.last if "elsewhere" in request.target and request.status != 302
    ]


async def test_the_token_is_read_for_every_question(hub: HubServer, make_resolver: MakeResolver) -> None:
    hub.add_repo("acme/secret", {"a.txt": b"a"}, private=True, readers={"hf_new"})
    tokens = iter([TOKEN, "hf_new"])
    resolver = make_resolver()
    resolver._token = lambda: next(tokens)
    with pytest.raises(RepoNotFound):
        await resolver.resolve(parse_ref("acme/secret"))
    assert len((await resolver.resolve(parse_ref("acme/secret"))).files) == 1


async def test_a_token_that_no_header_can_carry_is_refused_before_any_request(
    hub: HubServer, make_resolver: MakeResolver
) -> None:
    with pytest.raises(InvalidRequest):
        await make_resolver("two words").resolve(TINY)
    assert hub.counters.requests.total() == 0


async def test_check_says_whose_token_it_is(hub: HubServer, make_resolver: MakeResolver) -> None:
    assert "bob" in await make_resolver().check()
    assert "public" in await make_resolver(None).check()
    with pytest.raises(AccessDenied, match="does not accept"):
        await make_resolver("hf_wrong").check()


async def test_importing_the_client_loads_no_hub_library_and_resolving_writes_nothing_at_home(
    hub: HubServer, tmp_path: Path
) -> None:
    program = f"""
import asyncio, sys
from distd.hub.resolver import Resolver
from distd.hub.fetcher import Fetcher
from distd.core.refs import parse_ref
print(sorted({{"huggingface_hub", "httpx2"}} & set(sys.modules)))
async def main():
    resolver = Resolver({hub.url!r}, token=lambda: None, user_agent="distd/test")
    print(len((await resolver.resolve(parse_ref("acme/tiny"))).files))
    await resolver.close()
asyncio.run(main())
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "AI_AGENT": "1",
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-B", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.split("\n")[:2] == ["[]", "4"], done.stderr
    assert list(home.rglob("*")) == []
    assert hub.counters.count("api", "*agent*") == 0
    assert {request.authenticated for request in hub.counters.last} == {False}
