"""What a blob on its way through the swarm waits for, in words for whoever looks at a pull that stands still."""

from __future__ import annotations

from peers.asking import ANSWER_LOST_S, GRACE_S
from peers.member import BlobMember
from peers.swarm_choice import Stage


def waits_for(machine: BlobMember, now: float) -> str | None:
    """The first thing that holds the blob up; None when nothing particular does. `now` is monotonic seconds.

    Ask only while nothing arrives: a connection that delivers is not looked for.
    """
    if machine.stage not in (Stage.STARTING, Stage.FILLING):
        return None
    access, table, ledger = machine.access, machine.table, machine.ledger
    if table.missing and (pause_s := access.pause_s(now)) > 0:
        return f"the Hub's rate limit opens in {pause_s:.0f} s"
    return (
        _of_lead(machine, now)
        or (_of_missing(machine, now) if table.missing else None)
        or ("members disagree about digests; further fetches decide" if ledger.disputed else None)
    )


def _of_lead(machine: BlobMember, now: float) -> str | None:
    asking = machine.asking
    lead = asking.following.target(now)
    answer = asking.last_answer
    report_s = 0.0 if answer is None else answer.report_every_s
    if answer is None and lead != machine.me:
        return f"{lead}, which leads this file, has not answered yet"
    silent_s = now - asking.answered_at
    if answer is not None and silent_s > report_s + GRACE_S + ANSWER_LOST_S:
        return f"{lead}, which leads this file, has not answered for {silent_s:.0f} s"
    return None if answer is None or answer.ready else f"{lead} asks all members what they have of this file"


def _of_missing(machine: BlobMember, now: float) -> str | None:
    answer = machine.asking.last_answer
    if answer is None:
        return None
    retry_s = machine.access.retry_s(now)
    brought = machine.table.missing & (machine.ledger.agreed | machine.ledger.disputed)
    if answer.fetchers == 0 and not brought:
        denied = "denies this node access" if machine.access.denied else "may not be asked by this node"
        return f"the Hub {denied}, and no member that is reachable may ask it"
    if machine.fetches.active:
        return "the Hub sends nothing"
    if retry_s > 0 and not brought:
        return f"the Hub cannot be had; next attempt in {retry_s:.0f} s"
    if brought:
        idle_s = machine.swarm.idle_s(now)
        return f"no whole piece has come from another member for {idle_s:.0f} s"
    return None if answer.unleased else "other members fetch what is missing"
