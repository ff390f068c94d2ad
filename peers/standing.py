"""What a lead knows of each member of a blob: the last report, as sets ready for deciding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peers import piece_set, rendezvous
from peers.messages import SWARM_NAMES_MAX, Report, SwarmMember, SwarmPhase
from peers.piece_set import PieceSet

ACROSS_ZONES = 8
"""Of the members named in a large swarm, so many are of other zones: a piece enters a zone by several of them, and a zone
whose connections across fail one by one does not fall out of the swarm."""

COMPANY_MIN = 8
"""A member that was told of fewer to connect to is told of the next one at once: it has nobody else to get pieces from."""

REPORTS_PER_S = 200.0
"""Reports one lead handles comfortably; a larger swarm is asked to report less often."""

NO_ZONES: Mapping[str, str] = {}


@dataclass(slots=True)
class Standing:
    """One member as of its last report."""

    held: PieceSet = 0
    stuck: PieceSet = 0
    may_fetch: bool = False
    hub_retry_at: float = 0.0
    phase: SwarmPhase = SwarmPhase.NONE
    published: bool = False
    seal_failed: bool = False
    reported_at: float = 0.0


class Standings:
    """All members that reported, and the union of what they hold. Nothing here outlives its member."""

    def __init__(
        self, pieces: int, draining: frozenset[str] = frozenset(), zones: Mapping[str, str] = NO_ZONES
    ) -> None:
        self._pieces = pieces
        self._draining = draining
        self._zones = zones
        self._members: dict[str, Standing] = {}
        self._unions: dict[frozenset[str], PieceSet] = {}
        self._unfinished_hot: int | None = None
        self._sharers: dict[bool, int] = {}
        self._roster: tuple[SwarmMember, ...] | None = None
        self._chosen: dict[str, tuple[SwarmMember, ...]] = {}
        self._named: dict[str, int] = {}

    def __contains__(self, member: str) -> bool:
        return member in self._members

    def __getitem__(self, member: str) -> Standing:
        return self._members[member]

    @property
    def members(self) -> dict[str, Standing]:
        return self._members

    @property
    def report_every_s(self) -> float:
        return max(1.0, len(self._members) / REPORTS_PER_S)

    def note(self, report: Report, now: float) -> Standing:
        """Replace what was known of the member by its report."""
        standing = Standing(
            held=piece_set.from_bytes(report.held, self._pieces),
            stuck=piece_set.from_bytes(report.stuck, self._pieces),
            may_fetch=report.may_fetch,
            hub_retry_at=now + report.hub_retry_s,
            phase=report.phase,
            published=report.published,
            seal_failed=report.seal_failed,
            reported_at=now,
        )
        before = self._members.get(report.member)
        self._members[report.member] = standing
        if before is None or before.held != standing.held:
            self._unions.clear()
            if self._draining:
                self._roster = None
        if before is None or (before.phase, before.published) != (standing.phase, standing.published):
            self._roster = None
        self._unfinished_hot = None
        self._sharers.clear()
        return standing

    def note_nothing(self, member: str, now: float) -> None:
        """The member has nothing of the blob and does not take part."""
        self.forget(member)
        self._members[member] = Standing(reported_at=now)

    def forget(self, member: str) -> None:
        self._members.pop(member, None)
        self._named.pop(member, None)
        self._unions.clear()
        self._unfinished_hot = self._roster = None
        self._sharers.clear()

    def members_changed(self, draining: frozenset[str], zones: Mapping[str, str]) -> None:
        """Who is being taken out of service, and where everybody is."""
        if (draining, zones) != (self._draining, self._zones):
            self._draining, self._zones, self._roster = draining, zones, None

    def silent(self, since: float) -> frozenset[str]:
        """Members that were at work, who report all the time, and were not heard since then."""
        return frozenset(
            name
            for name, each in self._members.items()
            if each.reported_at < since
            and (each.phase is not SwarmPhase.NONE or (not each.published and (each.held or each.may_fetch)))
        )

    def held_by_any(self, but: frozenset[str]) -> PieceSet:
        """The pieces that someone holds, not counting the members in ``but``."""
        if but not in self._unions:
            held: PieceSet = 0
            for name, standing in self._members.items():
                if name not in but:
                    held |= standing.held
            self._unions[but] = held
        return self._unions[but]

    def holds_alone(self, member: str) -> bool:
        """Whether nobody else has some piece of this member's, though others lack something."""
        held = self._members[member].held
        return bool(held & ~self.held_by_any(but=frozenset({member}))) and len(self._members) > 1

    def fetchers(self) -> frozenset[str]:
        """Members that may fetch from the Hub at all, whatever they wait for now."""
        return frozenset(name for name, standing in self._members.items() if standing.may_fetch)

    def stuck_without_access(self) -> PieceSet:
        """Pieces that members who cannot fetch themselves are stuck on."""
        stuck: PieceSet = 0
        for standing in self._members.values():
            if not standing.may_fetch:
                stuck |= standing.stuck
        return stuck

    def sharers(self, even_complete: bool) -> int:
        """Members that may fetch and lack something; those that lack nothing too, if asked for. Counted once per report, for
        a lead asks for each of its members."""
        if even_complete not in self._sharers:
            everything = piece_set.full(self._pieces)
            self._sharers[even_complete] = sum(
                each.may_fetch and (even_complete or each.held != everything)
                for each in self._members.values()
            )
        return self._sharers[even_complete]

    def unfinished_hot(self) -> int:
        """Members still filling in the hot swarm."""
        if self._unfinished_hot is None:
            everything = piece_set.full(self._pieces)
            self._unfinished_hot = sum(
                standing.phase is SwarmPhase.HOT and standing.held != everything
                for standing in self._members.values()
            )
        return self._unfinished_hot

    def roster(self) -> tuple[SwarmMember, ...]:
        """Members in a swarm of the blob, or able to enter one, by name; those that are being taken out of service only as
        long as they hold what nobody else does."""
        if self._roster is None:
            self._chosen.clear()
            left_alone = self._left_alone()
            self._roster = tuple(
                SwarmMember(name, standing.phase, standing.published)
                for name, standing in sorted(self._members.items())
                if (standing.phase is not SwarmPhase.NONE or standing.published) and name not in left_alone
            )
        return self._roster

    def _left_alone(self) -> frozenset[str]:
        draining = self._draining & self._members.keys()
        held = self.held_by_any(but=self._draining) if draining else 0
        return frozenset(name for name in draining if not self._members[name].held & ~held)

    def swarm_for(self, member: str, blob: str) -> tuple[SwarmMember, ...]:
        """Members for this one to connect to; in a large swarm each gets its own choice, alike on every lead."""
        roster = self.roster()
        if len(roster) <= SWARM_NAMES_MAX:
            return tuple(other for other in roster if other.name != member)
        if member not in self._chosen:
            others = rendezvous.order(
                f"{blob}/{member}", (each.name for each in roster if each.name != member)
            )
            names = set(self._near_first(member, others))
            self._chosen[member] = tuple(other for other in roster if other.name in names)
        return self._chosen[member]

    def name_swarm(self, member: str, blob: str) -> tuple[SwarmMember, ...]:
        """The same, to be told to the member now."""
        swarm = self.swarm_for(member, blob)
        self._named[member] = self._alike(member, swarm)
        return swarm

    def has_company_to_tell(self, member: str, blob: str) -> bool:
        """Whether the member, told of few to connect to, could be told of more."""
        named = self._named.get(member, 0)
        return named < COMPANY_MIN and self._alike(member, self.swarm_for(member, blob)) > named

    def _alike(self, member: str, swarm: tuple[SwarmMember, ...]) -> int:
        """How many of them are in the swarm the member is in."""
        mine = self._members[member].phase if member in self._members else SwarmPhase.NONE
        return 0 if mine is SwarmPhase.NONE else sum(other.phase is mine for other in swarm)

    def _near_first(self, member: str, others: Sequence[str]) -> Sequence[str]:
        """Those of the member's own zone, and some of others: as many as may be named."""
        zone = self._zones.get(member, "")
        near = [name for name in others if self._zones.get(name, "") == zone]
        far = [name for name in others if self._zones.get(name, "") != zone]
        across = max(SWARM_NAMES_MAX - len(near), min(ACROSS_ZONES, len(far)))
        return [*near[: SWARM_NAMES_MAX - across], *far[:across]]
