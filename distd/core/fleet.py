"""A pull on several nodes: what is asked of each, and what the whole has come to.

Every node's part is an ordinary pull of that node with its own id, this node's too; the fleet pull only
starts them, asks how they stand and passes steering on. So a restart of anybody loses nothing: parts go on
by themselves, and starting one twice answers the same pull. A node that stays silent for too long counts
as failed, so that the others' end is told; while others are unfinished it is still asked.

`now` is monotonic seconds, `at` seconds since the epoch, kept for people to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from distd.core.pull import FINISHED, PullState, Save, Tell
from distd.errors import Problem

Wish = Literal["run", "pause", "cancel"]
Verb = Literal["cancel", "pause", "resume"]

SILENT_MAX_S = 20.0
"""A node that gives no answer for so long counts as failed. A restart takes a few seconds, with its checks
of the store ten; gossip declares a dead member after about as long."""

_MOST_TELLING: tuple[PullState, ...] = (
    "downloading",
    "resolving",
    "verifying",
    "publishing",
    "queued",
    "paused",
)
"""Of the states of unfinished parts the first of these is shown as that of the whole."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a node's part stands, as that node says. New fields need a default: members differ in version."""

    pull_id: str
    state: PullState
    commit: str | None = None
    bytes_total: int | None = None
    bytes_done: int = 0
    bytes_from_hub: int = 0
    bytes_from_peers: int = 0
    bytes_reused: int = 0
    rate_hub_bytes_per_s: float = 0.0
    rate_peers_bytes_per_s: float = 0.0
    eta_s: float | None = None
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    limited_by: str | None = None
    stalled_reason: str | None = None
    snapshot_path: str | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One node's part. `tried`: a start was sent, and may have been carried out though nobody answered.

    `refused`: the node said no for good. `silent`: given up for its silence, until it answers. `told` is the
    last wish that the node has followed.
    """

    tried: bool = False
    told: Wish = "run"
    report: Report | None = None
    refused: Problem | None = None
    silent: Problem | None = None

    @property
    def settled(self) -> bool:
        """Nothing of it can change any more."""
        return self.refused is not None or (self.report is not None and self.report.state in FINISHED)

    @property
    def finished(self) -> bool:
        return self.settled or self.silent is not None

    @property
    def state(self) -> PullState:
        if self.problem is not None:
            return "failed"
        return self.report.state if self.report else "queued"

    @property
    def problem(self) -> Problem | None:
        if self.report is not None and self.report.state in FINISHED:
            return self.report.problem
        return self.refused or self.silent


@dataclass(frozen=True, slots=True)
class FleetRecord:
    """What of a fleet pull survives a restart. `parts` by the nodes' names."""

    id: str
    number: int
    state: PullState
    created_at: float
    parts: Mapping[str, Part]
    wish: Wish = "run"
    started_at: float | None = None
    finished_at: float | None = None
    problem: Problem | None = None


# What is asked of a node.


@dataclass(frozen=True, slots=True)
class Start:
    """Start the part; answer with Told, Refused or Silent."""

    node: str


@dataclass(frozen=True, slots=True)
class Look:
    """Ask how the part stands; answer with Told, Forgotten, Refused or Silent."""

    node: str
    pull_id: str


@dataclass(frozen=True, slots=True)
class Steer:
    """Pass the wish on; answer as for Look."""

    node: str
    pull_id: str
    verb: Verb


Ask = Start | Look | Steer


# What happened.


@dataclass(frozen=True, slots=True)
class Told:
    """The node answered. `followed`: the wish that it was steered to, if it was."""

    node: str
    report: Report
    followed: Wish | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The node does not know the pull any more: its state was lost."""

    node: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The node said no, and would say it again."""

    node: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Silent:
    """The node gave no answer, or asked to try again later."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wished:
    wish: Wish


Event = Told | Forgotten | Refused | Silent | Wished
Action = Save | Tell


@dataclass(slots=True)
class _Silence:
    since: float
    reason: str


class FleetMachine:
    """`asks` says what to ask now; `handle` takes what came of it, one event at a time."""

    def __init__(self, record: FleetRecord, silent_max_s: float = SILENT_MAX_S) -> None:
        self.record = record
        self._silent_max_s = silent_max_s
        self._silences: dict[str, _Silence] = {}

    def __repr__(self) -> str:
        done = sum(part.finished for part in self.record.parts.values())
        return f"<Fleet pull {self.record.id} {self.record.state} {done}/{len(self.record.parts)} nodes>"

    def asks(self) -> list[Ask]:
        """What to ask of whom now: nothing of nodes that have ended, and nothing at all after the end."""
        if self.record.state in FINISHED:
            return []
        return [self._ask(name, part) for name, part in self.record.parts.items() if not part.settled]

    def trouble(self, node: str, now: float) -> str | None:
        """Why a node's numbers are old, for people; None while it answers."""
        silence = self._silences.get(node)
        return f"no answer for {now - silence.since:.0f} s: {silence.reason}" if silence else None

    def handle(self, event: Event, now: float, at: float) -> list[Action]:
        """The only way to change anything. Events after the end change nothing."""
        before = self.record
        if before.state in FINISHED:
            return []
        tells: list[Tell] = []
        match event:
            case Wished(wish):
                tells = self._wished(wish)
            case Told(node, report, followed):
                tells = self._told(node, report, followed)
            case Forgotten(node):
                self._silences.pop(node, None)
                self._change(node, report=None, told="run", tried=False, silent=None)
                tells = [Tell("forgotten", f"{node} does not know its pull any more; it is started again")]
            case Refused(node, problem):
                self._silences.pop(node, None)
                self._change(node, refused=problem, silent=None)
                tells = [Tell("node_failed", f"{node}: {problem.title}: {problem.detail}")]
            case Silent(node, reason):
                tells = self._heard_nothing(node, reason, now)
        tells += self._sum_up(at)
        # Numbers that only move are not worth a write: after a restart the nodes are asked again.
        return [Save(), *tells] if _kept(self.record) != _kept(before) else [*tells]

    def _ask(self, name: str, part: Part) -> Ask:
        if part.report is None:
            return Start(name)
        wish = self.record.wish
        if part.told != wish:
            return Steer(name, part.report.pull_id, "resume" if wish == "run" else wish)
        return Look(name, part.report.pull_id)

    def _wished(self, wish: Wish) -> list[Tell]:
        if wish == self.record.wish or self.record.wish == "cancel":
            return []
        self.record = replace(self.record, wish=wish)
        for name, part in self.record.parts.items():
            if wish == "cancel" and not part.tried and part.report is None:
                self._change(name, report=Report("", "cancelled"))
        word = {"run": "resumed", "pause": "paused", "cancel": "cancelled"}[wish]
        return [Tell(word, f"{word} on request, on every node")]

    def _told(self, node: str, report: Report, followed: Wish | None) -> list[Tell]:
        self._silences.pop(node, None)
        part = self.record.parts[node]
        self._change(node, report=report, tried=True, silent=None, told=followed or part.told)
        tells = []
        if part.silent:
            tells.append(Tell("node_back", f"{node} answers again"))
        if part.report is None:
            tells.append(Tell("node_started", f"{node} pulls it as {report.pull_id}"))
        if report.state in FINISHED:
            why = f": {report.problem.title}: {report.problem.detail}" if report.problem else ""
            tells.append(Tell(f"node_{report.state}", f"{node} is {report.state}{why}"))
        return tells

    def _heard_nothing(self, node: str, reason: str, now: float) -> list[Tell]:
        silence = self._silences.setdefault(node, _Silence(now, reason))
        silence.reason = reason
        part = self.record.parts[node]
        if not part.tried:
            self._change(node, tried=True)
        if part.silent or now - silence.since < self._silent_max_s:
            return []
        detail = f"{node} gave no answer for {self._silent_max_s:.0f} s: {reason}"
        if self.record.wish == "cancel":
            detail += "; what it was doing is not cancelled"
        self._change(node, silent=Problem("internal", "Node not reachable", detail, True))
        return [Tell("node_silent", detail)]

    def _change(self, node: str, **changes: object) -> None:
        part = replace(self.record.parts[node], **changes)  # type: ignore[arg-type]  # the fields are Part's
        self.record = replace(self.record, parts={**self.record.parts, node: part})

    def _sum_up(self, at: float) -> list[Tell]:
        """The state of the whole, and its end when every part has ended."""
        parts = self.record.parts.values()
        started = any(part.report is not None and part.report.state != "queued" for part in parts)
        if started and self.record.started_at is None:
            self.record = replace(self.record, started_at=at)
        unfinished = {part.state for part in parts if not part.finished}
        if unfinished:
            state = next(state for state in _MOST_TELLING if state in unfinished)
            self.record = replace(self.record, state=state)
            return []
        state, problem = self._outcome()
        self.record = replace(self.record, state=state, problem=problem, finished_at=at)
        return [Tell(state, problem.detail if problem else f"{state} on {len(parts)} nodes")]

    def _outcome(self) -> tuple[PullState, Problem | None]:
        if self.record.wish == "cancel":
            return "cancelled", None
        bad = {name: part for name, part in self.record.parts.items() if part.state != "complete"}
        if not bad:
            return "complete", None
        told = [
            f"{name}: {part.problem.detail if part.problem else 'it was cancelled there'}"
            for name, part in sorted(bad.items())
        ]
        codes = {part.problem.code if part.problem else "conflict" for part in bad.values()}
        retryable = all(part.problem is None or part.problem.retryable for part in bad.values())
        title = f"Failed on {len(bad)} of {len(self.record.parts)} nodes"
        code = codes.pop() if len(codes) == 1 else "internal"
        return "failed", Problem(code, title, "; ".join(told), retryable)


def _kept(record: FleetRecord) -> tuple[object, ...]:
    """What has to be on disk: who runs which pull, what was wished, and every end."""
    parts = tuple(
        (
            name,
            part.tried,
            part.told,
            part.report and (part.report.pull_id, part.report.state in FINISHED),
            part.refused,
            part.silent,
        )
        for name, part in record.parts.items()
    )
    return (record.wish, record.started_at, record.finished_at, parts)
