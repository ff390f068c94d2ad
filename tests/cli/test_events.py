"""`distctl` is told what changes: over a stream that goes on where it was, and by asking while there is none."""

from __future__ import annotations

import time

import pytest
from aiohttp import web

from distd.api import event_routes
from distd.api.answers import answer
from distd.api.pull_routes import PullRoutes
from distd.cli.client import Client
from distd.cli.events import Event, Follower, parsed
from distd.cli.target import choose_target
from tests.cli.serving import WAIT_S, ServedDaemon, distctl, until


def next_event(follower: Follower) -> Event:
    give_up_at = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_at:
        if event := follower.next(0.05):
            return event
    raise AssertionError("no event came")


def test_a_stream_that_breaks_goes_on_after_the_last_event(daemon: ServedDaemon) -> None:
    pulls = daemon.memory.pulls
    pull = daemon.submitted("acme/tiny")
    with Follower(Client(choose_target(daemon.url, None, {})), f"/v1/pulls/{pull}/events") as follower:
        assert next_event(follower).kind == "reset"
        pulls.download(pull, 0.25)
        while next_event(follower).data["state"] != "downloading":
            pass
        daemon.stop()
        until(lambda: follower.next(0.01) is None and not follower.is_open, "the stream to end")
        daemon.start()
        pulls.download(pull, 0.75)
        told = next_event(follower)
        assert (told.kind, told.data["bytes_done"]) == ("pull", pulls.get(pull).bytes_done)


@pytest.mark.parametrize("streams", [0, 256])
def test_a_pull_is_watched_with_and_without_a_stream(
    daemon: ServedDaemon, monkeypatch: pytest.MonkeyPatch, streams: int
) -> None:
    bounds = {"streams_max": streams, "send_timeout_s": 10.0}
    monkeypatch.setattr(event_routes.EventRoutes.__init__, "__kwdefaults__", bounds)
    asked: list[str] = []

    async def counted(routes: PullRoutes, request: web.Request) -> web.Response:
        asked.append(request.path)
        return answer(daemon.memory.pulls.get(request.match_info["id"]))

    monkeypatch.setattr(PullRoutes, "get", counted)
    daemon.stop()
    daemon.start()
    pulls = daemon.memory.pulls
    pulls.on_submit = lambda pull: daemon.later(1.5, lambda: pulls.complete(pull.id))
    done = distctl(daemon, "pull", "acme/tiny")
    assert (done.returncode, "2.0 MB" in done.stderr) == (0, True), done.stderr
    # Who is told asks once, for the files of the end.
    assert len(asked) == 1 if streams else len(asked) > 1


def test_comments_and_unknown_fields_are_skipped() -> None:
    lines = [
        b": still here\n",
        b"\n",
        b"id: a-1\n",
        b"retry: 5\n",
        b"event: pull\n",
        b'data: {"a":1}\n',
        b"\n",
    ]
    assert list(parsed(iter(lines))) == [Event("a-1", "pull", {"a": 1})]
