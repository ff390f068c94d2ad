"""Who may read what: refusals say how to get in, and the token goes to the Hub alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import HubRepo, Repos, assert_nothing_published, assert_same_files
from tests.hub import HubProcess

READER, WAITING, STRANGER, BAD = "hf_reader", "hf_waiting", "hf_stranger", "hf_madeup"
NOBODY = "none"


@pytest.fixture(autouse=True)
def _tokens(hub: HubProcess, daemon: DaemonProcess) -> Iterator[None]:
    hub.add_token(STRANGER, "stranger")
    yield
    daemon.set_token(NOBODY)


@pytest.fixture(scope="module")
def gated(repos: Repos) -> HubRepo:
    return repos.make(
        "acme/gated", hub_options={"gated": "manual", "readers": [READER], "pending": [WAITING]}
    )


@pytest.fixture(scope="module")
def private(repos: Repos) -> HubRepo:
    return repos.make("acme/private", hub_options={"private": True, "readers": [READER]})


def refused(daemon: DaemonProcess, repo: HubRepo, token: str) -> dict[str, Any]:
    daemon.set_token(token)
    error: dict[str, Any] = daemon.pull(repo.id)["error"]
    assert_nothing_published(daemon.hub_dir, repo)
    return error


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (NOBODY, ["Ask for access at {url}/acme/gated", "hub.token_file"]),
        # The file list is public with its hashes masked: only a file's address tells that a request is pending.
        (STRANGER, ["gated", "Ask for access at {url}/acme/gated", "the daemon's token"]),
        (WAITING, ["gated", "{url}/acme/gated"]),
        (BAD, ["does not accept the token", "{url}/settings/tokens"]),
    ],
)
def test_gated_repo_is_refused_with_how_to_get_access(
    hub: HubProcess, daemon: DaemonProcess, gated: HubRepo, token: str, words: list[str]
) -> None:
    error = refused(daemon, gated, token)

    assert (error["code"], error["retryable"]) == ("access_denied", False)
    for word in words:
        assert word.format(url=hub.url) in error["detail"]


@pytest.mark.parametrize(
    ("token", "words"), [(NOBODY, "give the daemon a token"), (STRANGER, "that the token may read it")]
)
def test_private_repo_looks_missing_and_the_advice_names_the_token(
    daemon: DaemonProcess, private: HubRepo, token: str, words: str
) -> None:
    error = refused(daemon, private, token)

    assert error["code"] == "repo_not_found"
    assert words in error["detail"]


def test_disabled_repo_is_refused(repos: Repos, daemon: DaemonProcess) -> None:
    disabled = repos.make(hub_options={"disabled": True})

    assert refused(daemon, disabled, NOBODY)["code"] == "access_denied"


def test_rotated_token_lets_in_without_a_restart(
    daemon: DaemonProcess, gated: HubRepo, private: HubRepo
) -> None:
    assert refused(daemon, gated, STRANGER)["code"] == "access_denied"

    daemon.set_token(READER)

    for repo in (gated, private):
        assert_same_files(Path(daemon.pulled(repo.id)["snapshot_path"]), repo.directory)


@pytest.mark.parametrize("token", [NOBODY, STRANGER])
def test_unknown_names_are_told_apart(repos: Repos, daemon: DaemonProcess, token: str) -> None:
    known = repos.make(weight_mib=0.1)
    daemon.set_token(token)
    wrong: list[tuple[str, dict[str, Any], str, str]] = [
        ("acme/no-such", {}, "repo_not_found", "acme/no-such"),
        (known.id, {"type": "dataset"}, "repo_not_found", f"datasets/{known.id}"),
        (known.id, {"revision": "v9"}, "revision_not_found", "'v9'"),
        (known.id, {"revision": "f" * 40}, "revision_not_found", "f" * 40),
        (known.id, {"include": ["*.nothing"]}, "file_not_found", "*.nothing"),
        (known.id, {"weights": "gguf"}, "file_not_found", "it has: safetensors"),
    ]
    for repo, more, code, words in wrong:
        error = daemon.pull(repo, **more)["error"]
        assert (error["code"], error["retryable"]) == (code, False), (repo, more, error)
        assert words in error["detail"]
    assert_nothing_published(daemon.hub_dir, known)


def test_file_that_is_a_lie_as_token_is_refused_in_words(repos: Repos, daemon: DaemonProcess) -> None:
    repo = repos.make(weight_mib=0.1)

    error = refused(daemon, repo, "x" * 5000)

    assert error["code"] == "invalid_request"
    assert "not a token" in error["detail"]
    assert "x" * 40 not in error["detail"]


def test_token_reaches_the_hub_alone_and_no_log_and_no_answer(
    hub: HubProcess, repos: Repos, daemon: DaemonProcess
) -> None:
    repo = repos.make(hub_options={"private": True, "readers": [READER]})
    daemon.set_token(READER)
    hub.add_fault("cut", on="body", path=f"{repo.id}/*", after=100_000, times=4)
    hub.add_fault("foreign_redirect", on="resolve", path=f"{repo.id}/config.json")

    view = daemon.pulled(repo.id)
    refused_view = daemon.pull("acme/none-such")

    counters = hub.counters(last=1000)
    assert counters["token_leaks"] == 0
    assert any(request["authenticated"] for request in counters["last"]), "the token was not used at all"
    answers = [
        daemon.get(path)
        for pull in (view, refused_view)
        for path in ("/v1/status", "/v1/pulls", f"/v1/pulls/{pull['id']}", f"/v1/pulls/{pull['id']}/story")
    ]
    for token in (READER, STRANGER, WAITING, BAD):
        assert token not in str(answers)
        assert token not in daemon.log()
        assert token.encode() not in b"".join(
            path.read_bytes() for path in daemon.state_dir.glob("distd.sqlite*")
        )
