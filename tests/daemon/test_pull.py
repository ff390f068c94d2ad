"""Pulling from a Hub into a Hugging Face cache: what is published is what the official client loads offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.client import call, hf
from tests.daemon.daemon import DaemonProcess, Refused
from tests.daemon.repos import (
    MIB,
    Repos,
    assert_all_visible_is_right,
    assert_nothing_published,
    assert_same_files,
    same_bytes,
)
from tests.hub import HubProcess


def test_sharded_model_is_published_and_loads_offline_without_a_request(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=24, shards=3, nested=True, small_files=20)

    view = daemon.pulled(repo.id, weights="all")

    assert view["commit"] == repo.commit
    assert view["bytes_total"] == view["bytes_from_hub"] == repo.size_bytes
    assert repo.sent_bytes() == repo.size_bytes
    snapshot = Path(view["snapshot_path"])
    assert snapshot == daemon.hub_dir / repo.folder / "snapshots" / repo.commit
    assert_same_files(snapshot, repo.directory)
    hub.reset_counters()
    for revision in ("main", repo.commit):
        wanted: dict[str, Any] = {"repo_id": repo.id, "revision": revision}
        assert call("snapshot_download", daemon.hub_dir, hub.url, **wanted) == str(snapshot)
        for filename in ("config.json", "a b/ünï côde/100%+#?.txt", "empty/.gitkeep"):
            path = call("hf_hub_download", daemon.hub_dir, hub.url, filename=filename, **wanted)
            assert same_bytes(Path(path), repo.directory / filename)
    assert hub.counters()["requests_total"] == 0


def test_client_finds_nothing_to_download_or_to_complain_about(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=4, shards=2, nested=True)
    view = daemon.pulled(repo.id, weights="all")
    hub.reset_counters()

    online = call("snapshot_download", daemon.hub_dir, hub.url, offline=False, repo_id=repo.id)

    assert online == view["snapshot_path"]
    assert hub.counters()["body_bytes"] == 0
    where: dict[str, Any] = {"hub_dir": daemon.hub_dir, "endpoint": hub.url}
    listed = json.loads(hf("cache", "ls", "--json", "--show-warnings", **where))
    assert repo.id in json.dumps(listed)
    strict = ("--fail-on-missing-files", "--fail-on-extra-files")
    hf("cache", "verify", repo.id, *strict, **where)
    hf("cache", "verify", repo.id, "--revision", repo.commit, *strict, **where)


@pytest.mark.parametrize(
    ("type_", "repo_id", "folder"),
    [
        ("dataset", "acme/data", "datasets--acme--data"),
        ("space", "acme/demo", "spaces--acme--demo"),
        ("model", "gpt2-like", "models--gpt2-like"),
    ],
)
def test_datasets_spaces_and_old_names_have_their_own_folders(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess, type_: str, repo_id: str, folder: str
) -> None:
    repo = repos.make(repo_id, type=type_, formats=("safetensors", "bin"))

    view = daemon.pulled(repo_id, type=type_, weights="all")

    assert Path(view["snapshot_path"]).parent.parent == daemon.hub_dir / folder
    assert_same_files(Path(view["snapshot_path"]), repo.directory)
    found = call("snapshot_download", daemon.hub_dir, hub.url, repo_id=repo_id, repo_type=type_)
    assert found == view["snapshot_path"]
    org, name = repo_id.split("/") if "/" in repo_id else ("_", repo_id)
    assert daemon.get(f"/v1/models/{type_}/{org}/{name}")["revisions"][0]["complete"]


def test_branches_tags_pull_requests_and_commits_are_published_under_their_names(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make()
    hub.change_repo(repo.id, tags={"v1.0": "main"})
    request = hub.commit(repo.id, {"extra.txt": repos.file("extra", 1000)}, ref="refs/pr/1")
    other = hub.commit(repo.id, {"extra.txt": repos.file("other", 2000)}, ref="dev")
    commits = {"v1.0": repo.commit, "refs/pr/1": request, "dev": other}

    for revision, commit in commits.items():
        assert daemon.pulled(repo.id, revision=revision)["commit"] == commit
        assert (daemon.hub_dir / repo.folder / "refs" / revision).read_bytes() == commit.encode()
    hub.reset_counters()
    for revision, commit in commits.items():
        for name in (revision, commit):
            found = call("snapshot_download", daemon.hub_dir, hub.url, repo_id=repo.id, revision=name)
            assert found.endswith(commit)
    assert hub.counters()["requests_total"] == 0


def test_commit_pulled_by_its_hash_is_kept_by_a_ref_of_its_own(
    repos: Repos, daemon: DaemonProcess, hub: HubProcess
) -> None:
    repo = repos.make()

    view = daemon.pulled(f"{repo.id}@{repo.commit}")

    refs = daemon.hub_dir / repo.folder / "refs"
    assert {ref.name: ref.read_text() for ref in refs.iterdir()} == {f"distd-{repo.commit[:12]}": repo.commit}
    found = call("snapshot_download", daemon.hub_dir, hub.url, repo_id=repo.id, revision=repo.commit)
    assert found == view["snapshot_path"]


def test_renamed_repo_is_published_under_the_name_that_was_asked_for(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make("acme/before")
    hub.change_repo(repo.id, renamed_to="acme/after")

    view = daemon.pulled("acme/before")

    assert Path(view["snapshot_path"]).is_relative_to(daemon.hub_dir / "models--acme--before")
    assert_same_files(Path(view["snapshot_path"]), repo.directory)
    assert call("snapshot_download", daemon.hub_dir, hub.url, repo_id="acme/before") == view["snapshot_path"]


def test_include_takes_only_what_matches_and_the_rest_can_follow(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=4, shards=2)

    view = daemon.pulled(repo.id, include=["*.json", "*-00001-of-*"], exclude=["tokenizer*"])

    names = {file["path"] for file in view["files"]}
    assert "model-00001-of-00002.safetensors" in names
    assert not any(name.startswith("tokenizer") for name in names)
    assert repo.sent_bytes("model-00002") == 0
    assert {path.name for path in Path(view["snapshot_path"]).iterdir()} == names
    assert call("snapshot_download", daemon.hub_dir, hub.url, repo_id=repo.id) == view["snapshot_path"]
    assert not daemon.get(f"/v1/models/model/{repo.id}")["revisions"][0]["complete"]
    sent = repo.sent_bytes()

    whole = daemon.pulled(repo.id)

    assert_same_files(Path(whole["snapshot_path"]), repo.directory)
    assert whole["bytes_reused"] == view["bytes_total"]
    assert repo.sent_bytes() - sent == whole["bytes_from_hub"] == repo.size_bytes - view["bytes_total"]


def test_auto_leaves_out_weights_in_a_second_format_as_the_plan_said(
    repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(formats=("safetensors", "bin", "gguf", "pth", "consolidated"))

    plan = daemon.get(f"/v1/plan?repo={repo.id}")
    assert repo.sent_bytes() == 0
    view = daemon.pulled(repo.id)

    left_out = {
        "pytorch_model.bin",
        "model.Q8_0.gguf",
        "original/consolidated.00.pth",
        "consolidated.safetensors",
    }
    assert {file["path"] for file in plan["left_out"]} == left_out
    assert {file["path"] for file in plan["files"]} == {file["path"] for file in view["files"]}
    assert plan["bytes_from_hub"] == view["bytes_from_hub"] == repo.sent_bytes()
    assert view["bytes_total"] + plan["bytes_left_out"] == repo.size_bytes
    assert all(repo.sent_bytes(path) == 0 for path in left_out)


def test_second_pull_of_a_revision_completes_at_once_without_a_byte(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=6, shards=2)
    first = daemon.pulled(repo.id)
    hub.reset_counters()

    again = daemon.pulled(repo.id)
    by_commit = daemon.pulled(repo.id, revision=repo.commit)

    assert again["id"] != first["id"]
    assert again["bytes_reused"] == by_commit["bytes_reused"] == repo.size_bytes
    assert hub.counters()["body_bytes"] == 0
    # The branch is asked for anew; a commit never moves.
    assert all(request["kind"] == "api" for request in hub.counters()["requests"])


def test_new_commit_fetches_only_what_changed(hub: HubProcess, repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=6, shards=2)
    daemon.pulled(repo.id)
    changed = {"config.json": repos.file("config", 700), "extra.safetensors": repos.file("lora", 3 * MIB)}
    commit = hub.commit(repo.id, {**changed, "README.md": None})
    hub.reset_counters()

    view = daemon.pulled(repo.id)

    assert view["commit"] == commit
    assert hub.counters()["body_bytes"] == view["bytes_from_hub"] == 3 * MIB + 700
    for path, source in changed.items():
        assert same_bytes(Path(view["snapshot_path"]) / path, source)
    assert (daemon.hub_dir / repo.folder / "refs" / "main").read_text() == commit
    assert len(daemon.get(f"/v1/models/model/{repo.id}")["revisions"]) == 2


def test_content_of_another_repo_is_shared_and_not_fetched(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=6)
    original = daemon.pulled(repo.id)
    copy = repos.add("elsewhere/copy", repo.directory)
    hub.reset_counters()

    view = daemon.pulled(copy.id)

    assert hub.counters()["body_bytes"] == view["bytes_from_hub"] == 0
    weights = "model.safetensors"
    one, other = (Path(pull["snapshot_path"]) / weights for pull in (original, view))
    assert one.stat().st_ino == other.stat().st_ino


def test_pull_of_files_that_are_all_empty_or_equal_completes(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess, tmp_path: Path
) -> None:
    for name in ("a.txt", "b/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"the same")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "__init__.py").write_bytes(b"")
    repo = repos.add("acme/trivial", tmp_path)

    view = daemon.pulled(repo.id)

    assert_same_files(Path(view["snapshot_path"]), tmp_path)
    assert repo.sent_bytes() == view["bytes_from_hub"] == view["bytes_reused"] == len(b"the same")


def test_cache_filled_by_the_client_is_taken_over_without_a_byte(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=6, shards=2, nested=True)
    call("snapshot_download", daemon.hub_dir, hub.url, offline=False, repo_id=repo.id)
    hub.reset_counters()

    view = daemon.pulled(repo.id, weights="all")

    assert hub.counters()["body_bytes"] == view["bytes_from_hub"] == 0
    assert view["bytes_reused"] == repo.size_bytes
    assert_same_files(Path(view["snapshot_path"]), repo.directory)
    assert "adopted" in daemon.events(view["id"])
    hf("cache", "verify", repo.id, hub_dir=daemon.hub_dir, endpoint=hub.url)


def test_corrupt_file_of_an_existing_cache_is_replaced(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=6, shards=2)
    snapshot = Path(call("snapshot_download", daemon.hub_dir, hub.url, offline=False, repo_id=repo.id))
    bad = snapshot / "model-00002-of-00002.safetensors"
    with bad.resolve().open("r+b") as file:
        file.seek(1_234_567)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    hub.reset_counters()

    view = daemon.pulled(repo.id)

    assert hub.counters()["body_bytes"] == view["bytes_from_hub"] == 3 * MIB
    assert_same_files(snapshot, repo.directory)
    assert "hash_mismatch" in daemon.events(view["id"])
    hf("cache", "verify", repo.id, hub_dir=daemon.hub_dir, endpoint=hub.url)


def test_file_that_rots_in_the_cache_is_found_by_verify_and_fetched_again(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make()
    rotten = Path(daemon.pulled(repo.id)["snapshot_path"]) / "model.safetensors"
    rotten.resolve().chmod(0o644)
    with rotten.resolve().open("r+b") as file:
        file.write(b"rotten")

    found = daemon.post(f"/v1/models/model/{repo.id}/verify")

    assert [bad["path"] for bad in found["bad"]] == ["model.safetensors"]
    assert daemon.pulled(repo.id)["bytes_from_hub"] == 2 * MIB
    assert daemon.post(f"/v1/models/model/{repo.id}/verify")["bad"] == []
    assert_same_files(rotten.parent, repo.directory)


def test_removed_model_is_gone_from_the_cache_and_its_space_is_free(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(nested=True)
    daemon.pulled(repo.id, weights="all")

    removed = daemon.delete(f"/v1/models/model/{repo.id}")

    assert removed["removed"] == [repo.commit]
    # The empty file may belong to other models as well, and has nothing to free.
    assert removed["freed_bytes"] == repo.size_bytes
    assert_nothing_published(daemon.hub_dir, repo)
    assert daemon.pulled(repo.id, weights="all")["bytes_from_hub"] == repo.size_bytes


def test_api_answers_with_the_contracts_words(repos: Repos, daemon: DaemonProcess) -> None:
    with pytest.raises(Refused) as unknown:
        daemon.view("nothing")
    assert (unknown.value.status, unknown.value.code) == (404, "not_found")
    with pytest.raises(Refused) as malformed:
        daemon.submit("../../etc/passwd")
    assert (malformed.value.status, malformed.value.code) == (422, "invalid_request")
    view = daemon.pulled(repos.make().id)
    with pytest.raises(Refused) as late:
        daemon.post(f"/v1/pulls/{view['id']}/pause")
    assert (late.value.status, late.value.code) == (409, "conflict")


def test_everything_published_so_far_has_the_bytes_of_its_name(daemon: DaemonProcess) -> None:
    assert assert_all_visible_is_right(daemon.hub_dir, daemon.store_dir) > 0
