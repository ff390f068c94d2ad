"""Which prefetch is due and why, and which member carries it out for all. Pure; moments are seconds since the epoch.

An entry has times: those of its schedule, or every quarter of an hour for one that is kept present. A time is *covered*
when a run that began at or after it has succeeded. The first time that is not covered is due; so times missed while
the daemon was down are caught up once, however many they were. All members that declare an entry compute the same
times and the same delay, ask each other, and the first of them in rendezvous order runs one pull for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, TypeAlias

Fires: TypeAlias = Callable[[float], float | None]
"""The first time after a moment; None: never again."""

KEEP_EVERY_S = 900.0
"""How often what is kept present is looked at: one question to the Hub by the whole cluster, or none for a commit."""
JITTER_MAX_S = 120.0
JITTER_SHARE = 0.1
"""Of the time to the next one. Entries and clusters that name the same minute must not ask the Hub in the same second."""
MISSED_S = 300.0
"""A time that lies further back than a busy machine explains was missed."""
RETRY_MIN_S = 60.0
RETRY_MAX_S = 3600.0
"""After a failure, doubling between these: a Hub that is down for a night is asked some ten times."""

Outcome: TypeAlias = Literal["complete", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of an entry. `covered_until`: every time up to it is done with."""

    covered_until: float
    failures: int = 0
    retry_at: float = 0.0
    last_run_at: float | None = None
    last_outcome: Outcome | None = None
    last_detail: str = ""
    last_commit: str | None = None
    last_pull_id: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """`fire` is the time that is not covered, `at` when to act on it."""

    fire: float
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Told:
    """What another member says of the same entry."""

    covered_until: float
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Run one pull for these members, this one among them."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftTo:
    """The member that runs it. Look again some time later: it may have died."""

    member: str


@dataclass(frozen=True, slots=True)
class CoveredBy:
    """Another member's run covered it. If this member lacks the commit, it was away: pull here alone, then `covered`."""

    member: str
    told: Told


Decision: TypeAlias = Run | LeftTo | CoveredBy


def keep_fires(after: float) -> float:
    """The times of an entry without a schedule."""
    return (math.floor(after / KEEP_EVERY_S) + 1) * KEEP_EVERY_S


def first_record(scheduled: bool, now: float) -> Record:
    """Of a new entry: a schedule begins with its next time, what is to be kept present is due at once."""
    return Record(covered_until=now if scheduled else 0.0)


def next_due(key: str, fires: Fires, record: Record, now: float) -> Due | None:
    """What comes next. It is due when `at` has come; None when the schedule has no further time."""
    fire = fires(record.covered_until)
    if fire is None:
        return None
    at = fire + jitter_s(key, fires, fire)
    if record.failures:
        return Due(fire, max(at, record.retry_at), f"failed {record.failures} x, tried again")
    if record.last_run_at is None and record.covered_until == 0:
        return Due(fire, now, "new, to be kept present")
    if now - at > MISSED_S:
        return Due(fire, now, "missed, caught up")
    return Due(fire, at, "scheduled" if fires is not keep_fires else "kept present, looked for a new commit")


def jitter_s(key: str, fires: Fires, fire: float) -> float:
    """The same on every member, other for every entry and time."""
    following = fires(fire)
    most_s = JITTER_MAX_S if following is None else min(JITTER_MAX_S, (following - fire) * JITTER_SHARE)
    return Random(f"{key} {fire:.0f}").random() * most_s


def decide(me: str, due: Due, told: Mapping[str, Told], order: Sequence[str]) -> Decision:
    """`told` by the other live members that declare the entry; `order` are they and this one, first choice first."""
    covering = [member for member in told if told[member].covered_until >= due.fire]
    if covering:
        member = max(covering, key=lambda name: (told[name].covered_until, name))
        return CoveredBy(member, told[member])
    return Run(tuple(sorted(order))) if order[0] == me else LeftTo(order[0])


def covered(record: Record, due: Due, until: float, commit: str | None, pull_id: str | None) -> Record:
    """After success; `until` is when the run began, or what the member that ran says."""
    return Record(
        covered_until=max(record.covered_until, due.fire, until),
        last_run_at=until,
        last_outcome="complete",
        last_commit=commit,
        last_pull_id=pull_id or record.last_pull_id,
    )


def cancelled(record: Record, due: Due, began: float, pull_id: str) -> Record:
    """Somebody cancelled the pull: it is not begun again before the next time."""
    return replace(
        covered(record, due, began, record.last_commit, pull_id),
        last_outcome="cancelled",
        last_detail="its pull was cancelled",
    )


def failed(record: Record, now: float, detail: str, pull_id: str | None) -> Record:
    """The time stays uncovered."""
    failures = record.failures + 1
    wait_s = min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(failures - 1, 16))
    return replace(
        record,
        failures=failures,
        retry_at=now + wait_s,
        last_run_at=now,
        last_outcome="failed",
        last_detail=detail,
        last_pull_id=pull_id or record.last_pull_id,
    )
