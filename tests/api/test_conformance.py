"""The daemon answers what its OpenAPI document says and nothing else, whatever it is asked.

At a reduced size with a fixed seed here, in full with `make api` (`API_FULL=1`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from distd.api.openapi import ROUTES
from tests.api import conformance
from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import Repos
from tests.fleet.conftest import Fleet
from tests.hub import HubProcess

FULL = bool(os.environ.get("API_FULL"))
OPTIONS = (
    (
        "--max-examples=60",
        "--continue-on-failure",
        *([f"--seed={seed}"] if (seed := os.environ.get("SEED")) else []),
    )
    if FULL
    else ("--phases=examples,coverage,fuzzing", "--max-examples=1", "--seed=1", "--no-shrink")
)
CASES_MIN = 4000 if FULL else 500
NEVER_DONE = {
    "DELETE /v1/peers/{name}",  # the other member is alive
    "POST /v1/peers/{name}/recheck",  # nobody is banned on evidence
    "GET /openapi.json",  # is not asked for itself
    "GET /v1/models/{type}/{org}/{name}/wait",  # comes after all have been removed, and does not wait
}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Three daemons: one that is asked, one that is banned and forgotten, one that is taken out of service."""
    with HubProcess() as hub, ExitStack() as stack:
        fleet = Fleet(hub, tmp_path, [])
        stack.callback(lambda: [member.terminate() for member in fleet.members])
        for index in range(3):
            fleet.members.append(fleet.start(index))
        fleet.met()
        yield fleet


def exported(daemon: DaemonProcess, repo: str, file: Path) -> Path:
    with urlopen(Request(f"{daemon.url}/v1/models/model/{repo}/export", method="POST")) as response:
        file.write_bytes(response.read())
    return file


def content(fleet: Fleet, repos: Repos) -> dict[str, conformance.Words]:
    """Pulls in several states, models, a ban, a prefetch entry, a limit; the words that name them."""
    n0 = fleet.members[0]
    kept, other = repos.make("acme/tiny", weight_mib=0.1), repos.make("acme/other", weight_mib=0.1)
    pulls = [n0.pulled(kept.id, nodes=["all"])["id"], n0.pulled(other.id)["id"]]
    pulls.append(n0.pull("acme/missing")["id"])
    later = n0.submit(kept.id, revision="refs/pr/1", at="2199-01-01T00:00:00Z")["id"]
    waiting = n0.submit(kept.id, revision="refs/pr/2", at="2199-01-01T00:00:00Z")["id"]
    for paused in later, waiting:
        n0.post(f"/v1/pulls/{paused}/pause")
    entry: dict[str, Any] = n0.post("/v1/prefetch", {"repo": kept.id, "schedule": "0 3 * * *"})
    n0.ask("PUT", "/v1/peers/n1/ban", {"reason": "for a while"})
    repo = {"query.repo": [kept.id], "query.type": ["model"], "query.revision": ["main", kept.commit]}
    return {
        "/v1/pulls": {"path.id": [*pulls, later], "body.repo": [kept.id, other.id]},
        "POST /v1/pulls/{id}/resume": {"path.id": [waiting]},  # all others are soon cancelled
        "/v1/prefetch": {"path.id": [entry["id"]], "body.repo": [kept.id], "body.schedule": ["0 3 * * *"]},
        "/v1/models": {
            "path.type": ["model"],
            "path.org": ["acme"],
            "path.name": ["tiny", "other"],
            "query.revision": ["main", kept.commit],
            "query.use": ["main"],
        },
        "/v1/adopt": {"body.path": [str(fleet.members[1].hub_dir)]},
        "/v1/peers": {"path.name": ["n1"]},
        # n1 is banned most of the time, and n0 would refuse pulls.
        **{f"{verb} /v1/peers/{{name}}/drain": {"path.name": ["n2"]} for verb in ("GET", "PUT", "DELETE")},
        "/dashboard": {"path.file": ["app.js", "style.css"]},
        "/v1/plan": repo,
        "/v1/estimate": {**repo, "query.link": ["1 Gbit/s"]},
        "/v1/rates": {"query.since": ["24h"], "query.peer": ["n1"]},
        "/v1/audit": {"query.since": ["24h"]},
    }


@pytest.mark.skipif(not conformance.IS_HERE, reason=conformance.MISSING)
@pytest.mark.timeout(1800 if FULL else 120)
def test_no_request_is_answered_in_a_way_that_the_document_does_not_say(fleet: Fleet, tmp_path: Path) -> None:
    n0 = fleet.members[0]
    words = content(fleet, Repos(fleet.hub, tmp_path / "repos"))
    archive = exported(n0, "acme/tiny", tmp_path / "tiny.tar")
    ran = conformance.run(n0.url, tmp_path / "asked", words, *OPTIONS, archive=archive)
    assert ran.status == 0, ran.output
    answered = conformance.by_route(ran.answered)
    if FULL:
        print(ran.output)
    assert ran.cases >= CASES_MIN, ran.output
    # It asked for what is there, not only for what is not.
    done = {name for name in ROUTES if any(status < 300 for status in answered[name])}
    missed = {name: dict(answered[name]) for name in ROUTES.keys() - done - NEVER_DONE}
    assert not missed if FULL else len(done) > len(ROUTES) // 2, missed
    assert "Traceback" not in n0.log()
    until(lambda: n0.get("/livez") == "ok\n", "the daemon to be well")
