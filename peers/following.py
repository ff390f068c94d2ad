"""Whom a member asks for leases: the lead it believes in, and what it does when that one cannot be reached.

The first live member in rendezvous order is asked. One that fails twice in a row is passed over for a while; one that
refuses names whom to try instead. After some refusals in a row (views differ, or only some can be reached) the member
leads itself for a while: progress costs upstream bytes then, but never stalls. Times are monotonic seconds.
"""

from __future__ import annotations

from peers import rendezvous

FAILURES_BEFORE_AVOIDING = 2
"""One lost message does not unseat a lead; a second failure in a row does."""

AVOID_S = 5.0
"""How long an unreachable lead is passed over before it is tried again."""

PASSED_OVER_S = 20.0
"""How long a lead is passed over that answers and does not help: it may be banned by those that could."""

REFUSALS_BEFORE_SOLO = 8
"""Each hint names a member further ahead, so a chain of them ends after about the logarithm of the members. With 3, of 200 that
join within a second some led themselves, and the Hub sent a copy more (simulated)."""

SOLO_S = 10.0
"""How long a member leads itself before it looks for the cluster's lead again."""

PASSED_MAX = 16
"""Named to a candidate: with more on their way out at once, the candidate has heard of it."""


class Following:
    """One member's choice of lead for one blob."""

    def __init__(
        self, blob: str, me: str, live: frozenset[str], draining: frozenset[str] = frozenset()
    ) -> None:
        self.blob = blob
        self.me = me
        self._order: list[str] = []
        self._passed: tuple[str, ...] = ()
        self._set_order(live, draining)
        self._left_out: frozenset[str] = frozenset()
        self._hint: str | None = None
        self._failures = 0
        self._refusals = 0
        self._avoided: dict[str, float] = {}
        self._passed_over = ""
        self._solo_until = self._passed_over_until = float("-inf")

    def target(self, now: float) -> str:
        """The member to ask now; this member itself when it leads or cannot find a lead."""
        if self._avoided:
            self._avoided = {member: until for member, until in self._avoided.items() if until > now}
        if now < self._solo_until:
            return self.me
        if self._hint is not None and self._hint not in self._avoided:
            return self._hint
        return next(name for name in self._order if name == self.me or name not in self._avoided)

    def changes_at(self, now: float) -> float:
        """When `target` may change by time alone."""
        times = [*self._avoided.values(), self._solo_until]
        return min((when for when in times if when > now), default=float("inf"))

    def unreachable(self, now: float) -> tuple[str, ...]:
        """Members passed over at the moment, for the next candidate to know why it is asked: it may not have heard yet that
        they are on their way out of service."""
        avoided = {member for member, until in self._avoided.items() if until > now}
        return tuple(sorted(avoided.union(self._passed)))

    def live_changed(self, live: frozenset[str], draining: frozenset[str] = frozenset()) -> None:
        self._left_out = (self._left_out | frozenset(self._order)) - live
        self._set_order(live, draining)
        self._hint = None

    def _set_order(self, live: frozenset[str], draining: frozenset[str]) -> None:
        self._order = rendezvous.lead_order(self.blob, live | {self.me}, draining)
        if draining:
            plain = rendezvous.order(self.blob, live | {self.me})
            self._passed = tuple(plain[: plain.index(self._order[0])][:PASSED_MAX])
        else:
            self._passed = ()

    def pass_over(self, who: str, now: float) -> None:
        """``who`` leads and does not help: the next one in order is asked for a while. At most once in that while, so that
        it has time to help."""
        if who != self.me and now >= self._passed_over_until:
            self._passed_over, self._passed_over_until = who, now + PASSED_OVER_S
            self._avoided[who] = self._passed_over_until
            self._hint = None

    def heard(self, member: str) -> None:
        """The member asked this one as a lead does: it is there, whatever failed before."""
        if member != self._passed_over:
            self._avoided.pop(member, None)

    def answered(self) -> None:
        """The target answered as lead."""
        self._failures = self._refusals = 0

    def refused(self, by: str, follows: str, now: float) -> None:
        """``by`` does not lead and follows ``follows``."""
        self._failures = 0
        self._refusals += 1
        if self._refusals >= REFUSALS_BEFORE_SOLO:
            self._solo_until = now + SOLO_S
            self._refusals = 0
            self._hint = None
        elif follows == self.me or follows in self._avoided:
            self._hint = None
            self._avoided[by] = now + AVOID_S
        elif follows in self._left_out:
            # Dead or banned here, and ``by`` has not heard of it: asked again, and told so, it leads itself.
            self._hint = None
            self._avoided[follows] = now + AVOID_S
        else:
            self._hint = follows

    def failed(self, who: str, now: float) -> None:
        """``who`` did not answer."""
        self._failures += 1
        if self._failures >= FAILURES_BEFORE_AVOIDING and who != self.me:
            self._avoided[who] = now + AVOID_S
            self._failures = 0
            self._hint = None
