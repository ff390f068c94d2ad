"""A Hub that misbehaves: what can be overcome is overcome with the right bytes, the rest is said and nothing published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import (
    MIB,
    HubRepo,
    Repos,
    assert_all_visible_is_right,
    assert_nothing_published,
    assert_same_files,
)
from tests.hub import HubProcess
from tests.hub.faults import TRAVERSAL_ENTRIES

WEIGHTS = "model-00001-of-00002.safetensors"
IN_FLIGHT_MAX_BYTES = 16 * MIB
"""As in test_steering: what a break in the middle may cost a second time."""

OVERCOME: dict[str, dict[str, Any]] = {
    "cut": {"name": "cut", "on": "body", "after": 300_000, "times": 6},
    "reset": {"name": "cut", "on": "body", "after": 1_200_000, "reset": True, "times": 4},
    "closed without an answer": {"name": "refuse", "on": "body", "times": 2},
    "503 on the body": {"name": "status", "on": "body", "status": 503, "times": 2},
    "500 on resolve": {"name": "status", "on": "resolve", "status": 500, "times": 2},
    "429 on the body": {"name": "rate_limited", "on": "body", "retry_s": 1},
    "429 on resolve with Retry-After": {
        "name": "rate_limited", "on": "resolve", "retry_s": 1, "retry_after": True,
    },
    "expired URL": {"name": "expired_url", "on": "body", "times": 2},
    "late answer": {"name": "delay", "on": "resolve", "seconds": 0.5},
    "ignored Range": {"name": "ignore_range", "on": "body", "times": None},
    "ignored Range once": {"name": "ignore_range", "on": "body", "skip": 2},
    "a byte too few": {"name": "wrong_length", "on": "body", "delta": -1},
    "a byte too many": {"name": "wrong_length", "on": "body", "delta": 1},
    "shifted range": {"name": "wrong_content_range", "on": "body"},
    "no length": {"name": "no_length", "on": "body", "times": None},
    "gzip": {"name": "gzip", "on": "body", "times": 2},
    "wrong hash header": {"name": "wrong_etag", "on": "resolve"},
    "no commit header": {"name": "no_commit", "on": "resolve", "times": None},
    "redirect in a circle": {"name": "redirect_loop", "on": "resolve", "times": 6},
    "redirect to elsewhere": {"name": "foreign_redirect", "on": "resolve", "times": None},
    "wrong byte": {"name": "wrong_byte", "on": "body", "at": 1_500_000},
}  # fmt: skip


def faulty(repo: HubRepo, name: str, *, path: str = WEIGHTS, **rule: Any) -> None:
    """A rule for this repo alone."""
    repo.hub.add_fault(name, path=f"{repo.id}/{path}", **rule)


def failed(daemon: DaemonProcess, repo: HubRepo, **request: Any) -> dict[str, Any]:
    """The error of a pull that has to fail, after which nothing of the repo may be visible."""
    view = daemon.pull(repo.id, **request)
    assert view["state"] == "failed", f"it is {view['state']}"
    assert_nothing_published(daemon.hub_dir, repo)
    error: dict[str, Any] = view["error"]
    return error


def past(count: int) -> Any:
    return lambda view: view["bytes_done"] >= count


@pytest.mark.parametrize("fault", OVERCOME)
def test_passing_fault_costs_time_and_nothing_else(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess, fault: str
) -> None:
    repo = repos.make(weight_mib=6, shards=2)
    faulty(repo, **OVERCOME[fault])

    view = daemon.pulled(repo.id)

    assert hub.faults()[0]["hits"] > 0
    assert view["bytes_from_hub"] == repo.size_bytes
    assert_same_files(Path(view["snapshot_path"]), repo.directory)


@pytest.mark.parametrize(
    ("route", "rule"),
    [
        ("revision", {"name": "status", "status": 503, "times": 2}),
        ("revision", {"name": "rate_limited", "retry_s": 1}),
        ("revision", {"name": "refuse", "times": 2}),
        ("tree", {"name": "status", "status": 500}),
        ("tree", {"name": "rate_limited", "retry_s": 1, "retry_after": True}),
    ],
    ids=["revision 503", "revision 429", "revision closed", "tree 500", "tree 429 with Retry-After"],
)
def test_passing_fault_of_the_api_is_waited_out(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess, route: str, rule: dict[str, Any]
) -> None:
    repo = repos.make(weight_mib=0.1)
    hub.add_fault(**rule, on="api", path=f"/api/models/{repo.id}/{route}/*")

    view = daemon.pulled(repo.id)

    assert hub.faults()[0]["hits"] == rule.get("times", 1)
    assert view["commit"] == repo.commit


def test_wrong_byte_is_repaired_by_fetching_that_file_again(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=8, shards=2)
    faulty(repo, "wrong_byte", at=2_000_000)

    view = daemon.pulled(repo.id)

    assert daemon.events(view["id"]).count("hash_mismatch") == 1
    assert repo.sent_bytes(WEIGHTS) == 2 * 4 * MIB
    assert repo.sent_bytes("model-00002-of-00002.safetensors") == 4 * MIB
    assert_same_files(Path(view["snapshot_path"]), repo.directory)


def test_byte_that_is_always_wrong_fails_with_both_hashes_and_publishes_nothing(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=4, shards=2)
    faulty(repo, "wrong_byte", at=1_000_000, times=None)

    view = daemon.pull(repo.id)

    assert view["state"] == "failed"
    error = view["error"]
    assert (error["code"], error["retryable"]) == ("hash_mismatch", True)
    expected = next(file["etag"] for file in view["files"] if file["path"] == WEIGHTS)
    assert WEIGHTS in error["detail"]
    assert expected in error["detail"]
    actual = error["detail"].partition("got ")[2][:64]
    assert len(actual.strip("0123456789abcdef")) == 0
    assert actual != expected
    assert_nothing_published(daemon.hub_dir, repo)
    assert not (daemon.store_dir / "blobs" / expected).exists()
    hub.clear_faults()

    assert_same_files(Path(daemon.pulled(repo.id)["snapshot_path"]), repo.directory)


@pytest.mark.parametrize(
    ("rule", "code", "words"),
    [
        ({"name": "wrong_length", "on": "body", "delta": 1}, "hash_mismatch", WEIGHTS),
        ({"name": "wrong_etag", "on": "resolve"}, "hash_mismatch", "0" * 64),
        ({"name": "status", "on": "body", "status": 502}, "hub_unreachable", "502"),
        ({"name": "status", "on": "resolve", "status": 404}, "file_not_found", WEIGHTS),
        ({"name": "expired_url", "on": "body"}, "access_denied", "403"),
        ({"name": "rate_limited", "on": "body", "retry_s": 7200}, "rate_limited", "3600 s"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_lasting_fault_of_a_file_fails_the_pull_with_its_code(
    repos: Repos, daemon: DaemonProcess, rule: dict[str, Any], code: str, words: str
) -> None:
    repo = repos.make(weight_mib=4, shards=2)
    faulty(repo, **rule, times=None)

    error = failed(daemon, repo)

    assert error["code"] == code, error
    assert words in error["detail"]


@pytest.mark.parametrize(
    ("rule", "code", "words"),
    [
        ({"name": "size_lie", "only": WEIGHTS}, "hash_mismatch", WEIGHTS),
        ({"name": "wrong_oid", "only": WEIGHTS}, "hash_mismatch", WEIGHTS),
        ({"name": "duplicate_paths", "only": WEIGHTS}, "hash_mismatch", "twice"),
        ({"name": "endless_pages"}, "hub_unreachable", "circle"),
        ({"name": "foreign_next_page"}, "hub_unreachable", "another server"),
        ({"name": "malformed_json"}, "hub_unreachable", "malformed"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_file_list_that_lies_is_refused(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess, rule: dict[str, Any], code: str, words: str
) -> None:
    repo = repos.make(weight_mib=4, shards=2)
    hub.add_fault(**rule, on="api", path=f"/api/models/{repo.id}/tree/*", times=None)

    error = failed(daemon, repo)

    assert error["code"] == code, error
    assert words in error["detail"]


def test_path_that_leaves_the_snapshot_refuses_the_whole_manifest(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=0.1)
    before = {path for path in daemon.directory.rglob("*") if "evil" in path.name}
    for entry in TRAVERSAL_ENTRIES:
        hub.add_fault("traversal", on="api", path=f"/api/models/{repo.id}/tree/*", entry=entry)

        error = failed(daemon, repo)

        assert (error["code"], error["title"]) == ("hash_mismatch", "Manifest refused"), entry
    assert repo.sent_bytes() == 0
    assert {path for path in daemon.directory.rglob("*") if "evil" in path.name} == before == set()


def test_signed_urls_that_expire_in_the_middle_are_renewed(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=24)
    hub.set(rate_bytes_per_s=16 * MIB)
    pull = daemon.submit(repo.id)
    daemon.wait(pull["id"], past(4 * MIB))

    hub.advance(3700)

    assert daemon.wait(pull["id"])["state"] == "complete"
    assert_same_files(Path(daemon.view(pull["id"])["snapshot_path"]), repo.directory)
    statuses = {request["status"] for request in hub.counters()["requests"] if repo.id in request["path"]}
    assert 403 in statuses, "no URL was used after its end"


def test_hub_that_goes_away_in_the_middle_and_comes_back_is_waited_for(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=24)
    hub.set(rate_bytes_per_s=16 * MIB)
    pull = daemon.submit(repo.id)
    daemon.wait(pull["id"], past(4 * MIB))

    hub.go_away(seconds=1.5)

    view = daemon.wait(pull["id"])
    assert view["state"] == "complete"
    assert repo.sent_bytes() - repo.size_bytes <= IN_FLIGHT_MAX_BYTES
    assert_same_files(Path(view["snapshot_path"]), repo.directory)


def test_hub_that_stays_away_fails_the_pull_and_the_next_one_goes_on(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=24)
    hub.set(rate_bytes_per_s=16 * MIB)
    pull = daemon.submit(repo.id)
    daemon.wait(pull["id"], past(8 * MIB))

    hub.go_away()

    stalled = daemon.wait(pull["id"], lambda view: view["stalled_reason"] is not None)
    assert "next attempt" in stalled["stalled_reason"]
    view = daemon.wait(pull["id"])
    assert view["state"] == "failed"
    assert (view["error"]["code"], view["error"]["retryable"]) == ("hub_unreachable", True)
    assert hub.url in view["error"]["detail"]
    assert_nothing_published(daemon.hub_dir, repo)
    hub.come_back()
    hub.set(rate_bytes_per_s=None)
    again = daemon.pulled(repo.id)
    assert again["bytes_reused"] >= 8 * MIB
    assert again["bytes_from_hub"] == repo.size_bytes - again["bytes_reused"]
    assert repo.sent_bytes() - repo.size_bytes <= IN_FLIGHT_MAX_BYTES
    assert_same_files(Path(again["snapshot_path"]), repo.directory)


def test_hub_that_is_gone_from_the_start_is_said_and_held_revisions_are_still_served(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    held, unknown = repos.make(weight_mib=1), repos.make(weight_mib=1)
    known = daemon.pulled(held.id)
    hub.go_away()

    doomed = daemon.submit(unknown.id)
    by_commit = daemon.pulled(held.id, revision=held.commit)
    by_branch = daemon.submit(held.id)

    assert by_commit["snapshot_path"] == known["snapshot_path"]
    view = daemon.wait(by_branch["id"])
    assert view["state"] == "complete"
    assert (view["bytes_reused"], view["commit"]) == (held.size_bytes, held.commit)
    assert "hub_unreachable" in daemon.events(view["id"]), "that the branch may have moved is not told"
    error = daemon.wait(doomed["id"])["error"]
    assert (error["code"], error["retryable"]) == ("hub_unreachable", True)
    assert hub.url in error["detail"]


@pytest.mark.slow
def test_silent_connections_are_given_up_and_their_spans_fetched_again(
    repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(weight_mib=6, shards=2)
    faulty(repo, "stall", on="body", after=500_000, times=3)

    view = daemon.pulled(repo.id)

    assert "hub_stalled" in daemon.events(view["id"])
    assert_same_files(Path(view["snapshot_path"]), repo.directory)


def test_slow_answer_is_taken_to_its_end(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=8)
    faulty(repo, "slow", path="model.safetensors", on="body", bytes_per_s=512 * 1024)

    assert daemon.pulled(repo.id)["bytes_from_hub"] == repo.size_bytes


def test_nothing_wrong_became_visible_in_all_this(daemon: DaemonProcess) -> None:
    assert assert_all_visible_is_right(daemon.hub_dir, daemon.store_dir) > 0


def test_signed_urls_are_not_in_the_logs(daemon: DaemonProcess) -> None:
    log = daemon.log()
    assert "model-00001" in log
    assert "Signature" not in log
