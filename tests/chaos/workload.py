"""What people and schedules do to three nodes, and what kills them, drawn from a seed.

The seed fixes what is done, in which order, on which node, and after which condition a node is killed. How far
the nodes come meanwhile is up to the machine: the same seed repeats the story, not each byte of it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.chaos.expected import Expected
from tests.chaos.pieces import Stored, lost_of, stored_in
from tests.chaos.watcher import Watcher
from tests.daemon.daemon import FINISHED, DaemonProcess, Refused, View, check_view, until
from tests.daemon.repos import MIB, HubRepo
from tests.swarm.fleet import Fleet

PULLS_AT_ONCE_MAX = 3
"""Unfinished pulls on a node before its end is awaited: enough for blobs of several to be in work."""
SETTLE_S = 180.0
"""For what is in work to end, on a machine that has other things to do."""
KILL_MOMENT_S = 4.0
"""Longest wait for the condition that a kill was drawn for; then it is killed at whatever it does."""
STATES = ("resolving", "downloading", "verifying", "publishing", "complete")

Etags = Callable[[str], frozenset[str]]


class Chaos:
    """Runs rounds against a fleet. Every disagreement is an AssertionError that names the node and what it had answered."""

    def __init__(
        self, fleet: Fleet, repos: list[HubRepo], watcher: Watcher, etags: Etags, chance: random.Random
    ) -> None:
        self.fleet = fleet
        self.repos = {repo.id: repo for repo in repos}
        self.counts: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        """How many of each repo the Hub has to send without anybody being killed, at most: one whenever it is asked
        for while no node is known to hold it, and another for a pull that was cancelled half way."""
        self._watcher = watcher
        self._etags = etags
        self._chance = chance
        self._expected = {node: Expected() for node in fleet.nodes}
        self._at_kill: dict[DaemonProcess, Stored] = {}

    # A round.

    def round(self, kills_left: int) -> int:
        """Asks for something, kills somebody, starts them again; returns how often a node was killed."""
        self._ask_for_pulls()
        for _ in range(self._chance.choice((0, 1, 1, 2))):
            self._do_something(self._chance.choice(self.fleet.nodes))
        victims = self._chance.sample(
            self.fleet.nodes, 2 if kills_left > 1 and self._chance.random() < 0.15 else 1
        )
        for victim in victims:
            self._kill_at_some_point(victim)
        time.sleep(self._chance.uniform(0, 0.8))
        killed = len(victims)
        if kills_left > killed and self._chance.random() < 0.15:
            self._kill_while_it_starts(victims[0])
            killed += 1
        for victim in victims:
            victim.start()
            self.verify_after_start(victim)
        self._watcher.check()
        self.counts["kills"] += killed
        return killed

    def _ask_for_pulls(self) -> None:
        for _ in range(self._chance.choice((1, 1, 2))):
            repo = self._chance.choice(list(self.repos))
            some = self._chance.sample(self.fleet.nodes, self._chance.choice((1, 2, 3, 3)))
            if self._chance.random() < 0.7:  # where all is held already there is nothing to interrupt
                for node in self.fleet.nodes:
                    self._unpin_and_remove(node, repo)
            for node in some:
                self._make_room(node)
                self._submit(node, repo)

    def _unpin_and_remove(self, node: DaemonProcess, repo: str) -> None:
        with suppress(Refused):  # it is not held
            node.delete(f"/v1/models/model/{repo}/pin")
            self._expected[node].pinned[repo] = False
        self._remove(node, repo)

    def _make_room(self, node: DaemonProcess) -> None:
        pulls = self._expected[node].pulls
        while len(pulls) >= PULLS_AT_ONCE_MAX:
            self._settle(node, next(iter(pulls)))

    def _submit(self, node: DaemonProcess, repo: str) -> None:
        self._count_copy(repo)
        view = node.submit(repo)
        expected = self._expected[node]
        expected.pulls[view["id"]] = repo
        expected.given_up -= self._etags(repo)
        self.counts["pulls"] += 1

    def _count_copy(self, repo: str) -> None:
        everybody = self._expected.values()
        self.copies[repo] += not any(
            each.held.get(repo) == "yes" or each.pulls_of(repo) for each in everybody
        )

    # What else is asked.

    def _do_something(self, node: DaemonProcess) -> None:
        repo = self._chance.choice(list(self.repos))
        what = self._chance.choice(
            (
                *(self._remove, self._remove, self._pin, self._pin),
                *(self._keep, self._cancel, self._pause, self._evict, self._evict),
            )
        )
        what(node, repo)

    def _remove(self, node: DaemonProcess, repo: str) -> None:
        expected = self._expected[node]
        expected.given_up |= self._etags(repo)  # before it is asked: the node may be killed before it answers
        refused = refusal(lambda: node.delete(f"/v1/models/model/{repo}"))
        if refused is not None:
            is_known = repo not in expected.ever_kept and expected.held.get(repo) != "either"
            excuse = {
                "conflict": expected.pulls_of(repo) or expected.pinned.get(repo, False),
                "not_found": expected.held.get(repo) != "yes",
            }
            assert excuse.get(str(refused.code)) or not is_known, f"{node.state_dir}: {refused}"
            return
        assert expected.pinned.get(repo) is not True, f"{node.state_dir} removed {repo} in spite of its pin"
        self.counts["removals"] += 1
        for pull_id in expected.pulls_of(repo):  # none is unfinished, or it had been refused
            self._settle(node, pull_id)
        expected.held[repo] = "either" if repo in expected.ever_kept else "no"
        expected.pinned[repo] = False

    def _evict(self, node: DaemonProcess, repo: str) -> None:
        """Asks for room, as a pull does that does not fit: some of what is held and not pinned goes, or all."""
        expected = self._expected[node]
        expected.given_up |= {etag for each in self.repos for etag in self._etags(each)}
        wanted_bytes = self._chance.choice((MIB, 30 * MIB, 1 << 40))
        told = node.post("/v1/gc", {"free_bytes": wanted_bytes})
        self.counts["evictions asked for"] += 1
        for gone in told["evicted"]:
            repo = gone["repo"]
            assert expected.pinned.get(repo) is not True, (
                f"{node.state_dir} evicted {repo} in spite of its pin"
            )
            for pull_id in expected.pulls_of(repo):  # none is unfinished, or it would have stayed
                self._settle(node, pull_id)
            expected.held[repo] = "either" if repo in expected.ever_kept else "no"
            expected.pinned[repo] = False
            self.counts["snapshots evicted"] += 1

    def _pin(self, node: DaemonProcess, repo: str) -> None:
        wanted = self._chance.random() < 0.4
        with suppress(Refused):  # it is not held
            node.ask("PUT" if wanted else "DELETE", f"/v1/models/model/{repo}/pin")
            self._expected[node].pinned[repo] = wanted
            self.counts["pins"] += wanted

    def _keep(self, node: DaemonProcess, repo: str) -> None:
        kept = self._expected[node].kept
        if repo in kept:
            node.delete(f"/v1/prefetch/{kept[repo]}")
            del kept[repo]
            self._expected[node].held[repo] = "either"  # a run of it may be under way
        elif len(kept) < 2:
            self._count_copy(repo)
            kept[repo] = str(node.post("/v1/prefetch", {"repo": repo})["id"])
            self._expected[node].ever_kept.add(repo)
            self.counts["prefetches"] += 1

    def _cancel(self, node: DaemonProcess, repo: str) -> None:
        expected = self._expected[node]
        if not expected.pulls or self._chance.random() < 0.5:
            return
        pull_id = self._chance.choice(list(expected.pulls))
        of_pull = expected.pulls[pull_id]
        expected.given_up |= self._etags(of_pull)
        self.copies[of_pull] += 1
        with suppress(Refused):  # it has ended
            if node.delete(f"/v1/pulls/{pull_id}")["state"] == "cancelled":
                expected.cancelled.add(pull_id)
                del expected.pulls[pull_id]
                self.counts["cancelled"] += 1

    def _pause(self, node: DaemonProcess, repo: str) -> None:
        for pull_id in list(self._expected[node].pulls):
            with suppress(Refused):
                node.post(f"/v1/pulls/{pull_id}/pause")
                node.post(f"/v1/pulls/{pull_id}/resume")

    # Kills.

    def _kill_at_some_point(self, victim: DaemonProcess) -> None:
        moment = self._chance.choice(
            ("now", "share", "share", "share", "state", "removal", "eviction", "request")
        )
        if moment == "eviction":
            self._kill_within(victim, lambda: self._evict(victim, ""))
            expected = self._expected[victim]
            for repo in self.repos:
                if expected.pinned.get(repo) is not True:
                    expected.held[repo] = "either"
                    expected.doubtful.update(expected.pulls_of(repo))
        elif moment == "removal":
            held = [repo for repo, held in self._expected[victim].held.items() if held == "yes"]
            repo = self._chance.choice(held or list(self.repos))
            self._kill_within(victim, lambda: self._remove(victim, repo))
            self._unsure(victim, repo)
        elif moment == "request":
            repo = self._chance.choice(list(self.repos))
            self._kill_within(victim, lambda: self._submit(victim, repo))
            self._unsure(victim, repo)
        else:
            if moment != "now":
                self._await(victim, self._reached(moment))
            self.kill(victim)
        self.counts[f"killed at: {moment}"] += 1

    def _reached(self, moment: str) -> Callable[[View], bool]:
        if moment == "share":
            share = self._chance.uniform(0.02, 0.98)
            return lambda view: view["bytes_done"] > share * (view["bytes_total"] or 1e18)
        state = self._chance.choice(STATES)
        return lambda view: view["state"] not in ("queued", *STATES[: STATES.index(state)])

    def _await(self, node: DaemonProcess, reached: Callable[[View], bool]) -> None:
        pulls = list(self._expected[node].pulls)
        give_up_at = time.monotonic() + KILL_MOMENT_S
        while pulls and time.monotonic() < give_up_at:
            if reached(node.view(pulls[-1])):
                return
            time.sleep(0.01)

    def _kill_within(self, victim: DaemonProcess, request: Callable[[], Any]) -> None:
        """Kills it some milliseconds into a request, which may be answered or not."""
        delay_s = self._chance.uniform(0, 0.04)
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                request()
            except OSError:
                pass  # killed before it answered
            except BaseException as error:
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(delay_s)
        self.kill(victim)
        asking.join()
        if failed and "Remote end closed" not in str(failed[0]) and "IncompleteRead" not in str(failed[0]):
            raise failed[0]

    def _unsure(self, node: DaemonProcess, repo: str) -> None:
        """A request about the repo was cut off by a kill: it was carried out, or not."""
        expected = self._expected[node]
        expected.held[repo] = "either"
        expected.pinned[repo] = None
        expected.doubtful.update(expected.pulls_of(repo))

    def kill(self, node: DaemonProcess) -> None:
        node.kill9()
        self._at_kill[node] = stored_in(node.store_dir)
        self.counts["pieces stored at a kill"] += self._at_kill[node].pieces

    def _kill_while_it_starts(self, node: DaemonProcess) -> None:
        def start() -> None:
            with suppress(AssertionError, Refused, OSError):  # killed before it was ready
                node.start()

        starting = threading.Thread(target=start)
        starting.start()
        until(lambda: node in DaemonProcess.running, "the process to exist")
        time.sleep(self._chance.uniform(0.1, 1.5))
        node.kill9()
        starting.join()
        self.counts["killed at: start"] += 1

    # What has to hold.

    def verify_after_start(self, node: DaemonProcess) -> None:
        expected = self._expected[node]
        at_kill = self._at_kill.pop(node, None)
        if at_kill is not None:
            asked_for = {*expected.pulls.values(), *expected.ever_kept}
            wanted = frozenset[str]().union(*(self._etags(repo) for repo in asked_for))
            for_others = frozenset(etag for etag in at_kill.incoming if etag not in wanted)
            lost = lost_of(at_kill, node.store_dir, for_others.union(expected.given_up))
            assert not lost, f"{node.state_dir} lost what it had checked: {lost}"
        views = {view["id"]: view for view in node.get("/v1/pulls?limit=1000")["items"]}
        for view in views.values():
            check_view(view)  # sources add up, in every pull that is remembered
        missing = expected.pulls.keys() - views.keys()
        assert not missing, f"{node.state_dir} accepted the pulls {missing} and forgot them"
        alive = [pull for pull in expected.cancelled if views[pull]["state"] != "cancelled"]
        assert not alive, f"{node.state_dir} answered that {alive} are cancelled, and goes on with them"
        entries = {entry["id"] for entry in node.get("/v1/prefetch")["items"]}
        assert set(expected.kept.values()) == entries, f"prefetch entries of {node.state_dir}: {entries}"
        for repo, pinned in expected.pinned.items():
            for revision in self._revisions(node, repo):
                assert pinned in (None, revision["pinned"]), f"{node.state_dir}: pin of {repo}: {revision}"
        expected.given_up.clear()

    def _revisions(self, node: DaemonProcess, repo: str) -> list[View]:
        found: list[View] = []
        refused = refusal(lambda: found.extend(node.get(f"/v1/models/model/{repo}")["revisions"]))
        assert refused is None or refused.code == "not_found", refused
        return found

    def _settle(self, node: DaemonProcess, pull_id: str) -> None:
        view = node.wait(pull_id, timeout_s=SETTLE_S)
        expected = self._expected[node]
        repo = expected.pulls.pop(pull_id)
        assert view["state"] == "complete", f"{node.state_dir}: {repo} {view['state']}: {view['error']}"
        assert view["bytes_done"] == view["bytes_total"] == self.repos[repo].size_bytes
        if pull_id not in expected.doubtful:
            expected.held[repo] = "yes"

    def settle(self) -> None:
        """Everything that was asked for and not taken back is there, and whole."""
        for node, expected in self._expected.items():
            for pull_id in list(expected.pulls):
                self._settle(node, pull_id)
            for repo in expected.kept:
                until(
                    lambda node=node, repo=repo: self._revisions(node, repo), f"{repo} to be kept", SETTLE_S
                )  # type: ignore[misc]  # bound now
            self._await_idle(node)
            for repo, held in expected.held.items():
                revisions = self._revisions(node, repo)
                assert held == "either" or bool(revisions) == (held == "yes"), (
                    f"{node.state_dir} holds {repo}: {revisions}"
                )
                if revisions:
                    found = node.ask("POST", f"/v1/models/model/{repo}/verify")
                    assert found["bad"] == [], found
                    self.counts["repos verified at the end"] += 1

    def empty(self) -> None:
        """Takes everything out again, prefetch entries first."""
        for node, expected in self._expected.items():
            for entry in expected.kept.values():
                node.delete(f"/v1/prefetch/{entry}")
            expected.kept.clear()
            self._await_idle(node)
            for model in node.get("/v1/models?limit=1000")["items"]:
                node.delete(f"/v1/models/model/{model['repo']}/pin")
                expected.pinned[model["repo"]] = False
                node.delete(f"/v1/models/model/{model['repo']}")

    def _await_idle(self, node: DaemonProcess) -> None:
        """Pulls that nobody waits for end too: those of prefetch, and of requests that were cut off."""
        until(
            lambda: all(view["state"] in FINISHED for view in node.get("/v1/pulls?limit=1000")["items"]),
            f"{node.state_dir} to have nothing to do",
            SETTLE_S,
        )


def refusal(ask: Callable[[], object]) -> Refused | None:
    """What the daemon answered instead of doing it."""
    try:
        ask()
    except Refused as refused:
        return refused
    return None
