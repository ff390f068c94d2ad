"""When a member asks its lead, what it tells it, and what it makes of the answers.

One request is under way at a time. With nothing new to tell it waits at the lead for news (a long poll); when there is
something to tell, a newer request replaces it. What a lead has not confirmed is told again, so a lost message costs time
only. Claims go up until the lead has all that this member knows: its own at once, everyone's after it has received what
the lead knows, so that a new lead is not told the same ledger by every member. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from peers.following import Following
from peers.hub_link import HubLink
from peers.ledger import Claim, Ledger
from peers.ledger_wire import CLAIMS_PER_MESSAGE_MAX
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest, Report

GRACE_S = 3.0
GRACE_S_MAX = 12.0
LATE_FACTOR = 3.0
"""What an answer may take beyond the time that the lead may hold it back. A lead whose processor others use is late for a while: so many
times as late as lately is waited for, and longer after each answer that did not come. To turn to another one, who knows less, costs more
than waiting, and is late as well. One that is dead is known by gossip within about this time."""

ANSWER_LOST_S = 2.0
"""A shell that loses an answer without saying so must not stall the blob: asked again so much later."""

NEWS_TOLD_AFTER_S = 0.2
"""Pieces fetched within this time are told in one request."""

NOTHING_TO_DO_S = 0.02
"""A member whose last span has ended tells it nearly at once: at a file's end a span is one piece, and its connection was
without work for half of the time. One request per span at most."""

NEWS_REPLACES_S = 2.0
"""A request without an answer for so long is replaced ever more slowly: a lead that needs four seconds for each would otherwise never
get to answer the one that counts."""

LATE_FADES = 0.8
"""A lead that answers late has more to do than it can: it is told news at most twice in the time it is late. Half a dozen answers in
time make up for a late one."""

RETRY_AFTER_S = 0.2
"""Pause after a refusal or a failure."""


@dataclass(slots=True)
class _Outstanding:
    lead: str
    asked_at: float
    wait_s: float
    may_wait: bool
    claims: tuple[Claim, ...]


class Asking:
    """The conversation with the lead about one blob. ``known`` is the member's ledger, which it only reads. Set ``news`` when there
    is something to tell, ``nothing_to_do`` too when it is that the last span in hand has ended."""

    def __init__(self, following: Following, me: str, known: Ledger) -> None:
        self.following = following
        self.last_answer: LeadAnswer | None = None
        self.answered_at = float("-inf")
        self.sequence = 0
        self.news = True
        self.nothing_to_do = False
        self._me = me
        self._known = known
        self._unsent: dict[Claim, None] = dict.fromkeys(known.all_claims())
        self._outstanding: _Outstanding | None = None
        self._not_before = float("-inf")
        self._idle_until = float("-inf")
        self._lead: tuple[str, int] = ("", 0)
        self._last_term = 0
        self._version = 0
        self._synced = False
        self._late_s = 0.0
        self._missed = 0
        self._unanswered_since: float | None = None

    @property
    def last_term(self) -> int:
        """The highest term seen of any lead: a `Lead` made here takes a higher one."""
        return self._last_term

    @property
    def all_heard(self) -> bool:
        """The lead has answered the last news; claims may be left to tell."""
        return not self.news and self._outstanding is None

    def all_told(self, now: float) -> bool:
        """The lead to follow now has confirmed everything this member has to say."""
        return self.all_heard and not self._unsent and self._lead[0] == self.following.target(now)

    def learned(self, claims: Iterable[Claim]) -> None:
        """Claims from elsewhere than the lead, to be told to it."""
        for claim in claims:
            if claim in self._known:
                self._unsent[claim] = None
                self.news = True

    def due_at(self, now: float) -> float:
        """When the next request should go out, if nothing else happens."""
        out = self._outstanding
        if out is None:
            return self._not_before if self.news else max(self._not_before, self._idle_until)
        if out.lead != self.following.target(now):
            return now
        if not self.news:
            return out.asked_at + out.wait_s + self.grace_s + ANSWER_LOST_S
        unanswered_s = out.asked_at - (self._unanswered_since or out.asked_at)
        gathered_s = NOTHING_TO_DO_S if self.nothing_to_do else NEWS_TOLD_AFTER_S
        return out.asked_at + max(gathered_s, self._late_s / 2, (unanswered_s - NEWS_REPLACES_S) / 2)

    @property
    def grace_s(self) -> float:
        """How long an answer to the request under way may take beyond the time it asks to be held back."""
        return min(max(GRACE_S, LATE_FACTOR * self._late_s) * (1 << self._missed), GRACE_S_MAX)

    @property
    def _report_every_s(self) -> float:
        """The lead's wish; a request that waits no longer is always answered before it is repeated."""
        return 1.0 if self.last_answer is None else self.last_answer.report_every_s

    def request(
        self, report: Report, link: HubLink, room: int, may_wait: bool, now: float
    ) -> tuple[str, LeadRequest]:
        """Whom to ask, and the request; the former one counts as replaced. ``may_wait``: for news, at the lead.
        ``link`` tells how fast this member is."""
        self.sequence += 1
        lead = self.following.target(now)
        wait_s = self._report_every_s if may_wait and self._synced else 0.0
        self._outstanding = _Outstanding(lead, now, wait_s, may_wait, report.claims)
        self._unanswered_since = self._unanswered_since or now
        self.news = self.nothing_to_do = False
        known_lead, known_term = self._lead
        request = LeadRequest(
            sequence=self.sequence,
            lead=lead,
            report=report,
            last_term=self._last_term,
            version=self._version if known_lead == lead else 0,
            version_term=known_term if known_lead == lead else 0,
            claims_fingerprint=self._known.claims_fingerprint,
            room=room,
            rate_bytes_per_s=link.rate_bytes_per_s,
            behind_s=link.behind_s(now),
            wait_s=wait_s,
            unreachable=self.following.unreachable(now),
        )
        return lead, request

    def claims_to_tell(self) -> tuple[Claim, ...]:
        """What the next report carries, at most one message full."""
        claims: list[Claim] = []
        for claim in self._unsent:
            if self._synced or claim.claimant == self._me:
                claims.append(claim)
            if len(claims) == CLAIMS_PER_MESSAGE_MAX:
                break
        return tuple(claims)

    def answered(self, answer: LeadAnswer, now: float) -> bool:
        """Take an answer; False if it is not to the request under way and must be ignored.

        Call it before merging the answer's claims, and `merged` after.
        """
        out = self._outstanding
        if out is None or answer.sequence != self.sequence:
            return False
        self._outstanding = None
        self._late_s = max(now - out.asked_at - out.wait_s, LATE_FADES * self._late_s)
        self._missed = 0
        self._unanswered_since = None
        if (answer.lead, answer.term) != self._lead:
            self._unsent = dict.fromkeys(self._known.all_claims())
            self._lead = (answer.lead, answer.term)
        for claim in (*out.claims, *answer.claims):
            self._unsent.pop(claim, None)
        self._last_term = max(self._last_term, answer.term)
        self._version = answer.version
        self._synced = answer.synced
        self.last_answer = answer
        self.answered_at = now
        self._not_before = now
        self._idle_until = now if out.may_wait or not answer.synced else now + answer.report_every_s
        self.following.answered()
        return True

    def merged(self) -> None:
        """The answer's claims are in the ledger: if both know the same, there is nothing left to tell."""
        answer = self.last_answer
        if answer is not None and answer.claims_fingerprint == self._known.claims_fingerprint:
            self._unsent.clear()
        if self.claims_to_tell():
            self.news = True

    def refused(self, refusal: LeadRefusal, now: float) -> None:
        if self._outstanding is not None and refusal.sequence == self.sequence:
            self._outstanding = self._unanswered_since = None
            self.news = True
            self._not_before = now + RETRY_AFTER_S
            self.following.refused(refusal.by, refusal.follows, now)

    def failed(self, sequence: int, now: float) -> None:
        """The request of this sequence got no answer."""
        if self._outstanding is not None and sequence == self.sequence:
            lead = self._outstanding.lead
            self.following.failed(lead, now)
            self._missed = min(self._missed + 1, 2) if self.following.target(now) == lead else 0
            self._outstanding = self._unanswered_since = None
            self.news = True
            self._not_before = now + RETRY_AFTER_S
