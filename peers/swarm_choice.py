"""Which swarm of a blob a member is in, and when it changes.

    nothing yet -> hot      the ledger is not complete: the blob is still arriving from the Hub
    nothing yet -> sealed   the ledger was complete when this member came
    hot -> hot              many pieces came wrong: entered anew without them, and wary from then on
    hot -> sealed           the ledger is complete and the hot swarm brings nothing more, or brought wrong pieces
    sealed -> none          a digest changed or is disputed: the sealed metainfo is void until the ledger is complete again
    any -> none -> publish  the seal was right

Nothing is repaired inside the hot swarm: its engine believes to have every piece that once arrived. A wary member asks peers
only for pieces that somebody claims to have fetched, so that what nobody can have yet is not taken from whoever offers it.
"""

from __future__ import annotations

from enum import Enum

from peers import member_actions as act
from peers.ledger import Ledger
from peers.member_actions import MemberAction
from peers.messages import LeadAnswer, SwarmPhase
from peers.piece_set import PieceSet
from peers.piece_table import PieceTable

HOT_STALL_S = 8.0
"""Without a piece from the hot swarm this long, and with a complete ledger, the sealed swarm is tried."""

HOT_SPOILED_STALL_S = 3.0
"""The same when wrong bytes have come, which only the sealed swarm replaces: who lacks a piece may lack it because all others'
copies are as wrong."""

HOT_SERVE_S_MAX = 3600.0
"""A member that has published stays in the hot swarm while others still fill from it, at most this long: the slowest link
worth waiting for. Whoever is left behind has the sealed swarm."""

HOLDERS_AWAITED_S = 2.0
"""A first member waits this long for the ledger of those that published the blob earlier, before it enters the hot swarm."""

STUCK_S = 10.0
"""Without a piece from the sealed swarm this long, a member asks to fetch what is missing itself."""

STUCK_HOT_S = 20.0
"""The same in the hot swarm, which may be idle for longer while others fetch."""

LEFT_ALONE_S = 15.0
"""Without a piece from the sealed swarm this long, a member that cannot fetch asks another lead who has the blob."""

SPOILED_MIN = 8
SPOILED_SHARE = 32
"""So many wrong pieces, and one of so many of the blob, are more than the sealed swarm should bring at the end."""

REENTER_S = 3.0
"""The others enter anew at about the same time: before that, what they relay is as wrong as it was."""

WAKE_EVERY_S = 5.0
HOLDERS_WOKEN_MAX = 8
"""A few seeds fill a newcomer's link; the others are left in peace."""


class Stage(Enum):
    """Where the blob stands on this member."""

    STARTING = "starting"
    FILLING = "filling"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    FAILED = "failed"
    ABANDONED = "abandoned"


class SwarmChoice:
    """Stage of one blob on the member ``me`` and the swarm it is in."""

    def __init__(self, me: str, now: float, published: bool) -> None:
        self.stage = Stage.PUBLISHED if published else Stage.STARTING
        self.phase = SwarmPhase.NONE
        self.was_published = published
        self.wanted = False
        self.recomputing = False
        self.distrusted: PieceSet = 0
        self.wary = False
        self._me = me
        self._since = now
        self._last_gain = now
        self._entered_at = now
        self._sealed_at = now
        self._seal_right = False
        self._unneeded = False
        self._metainfo = 0
        self._woken_at = float("-inf")
        self._connected: tuple[str, ...] = ()
        self._connected_for: tuple[int, SwarmPhase] = (0, SwarmPhase.NONE)

    def gained(self, now: float) -> None:
        """The swarm brought a piece."""
        self._last_gain = now

    def idle_s(self, now: float) -> float:
        """How long the swarm has brought nothing."""
        return now - self._last_gain

    def sealed(self, now: float) -> None:
        self._seal_right = True
        self._sealed_at = now

    def published(self) -> None:
        self.stage = Stage.PUBLISHED

    def idled(self) -> None:
        """Nobody is connected to the open swarm any more."""
        self.wanted = False
        self._unneeded = True

    def disconnected(self) -> None:
        """The swarm is about to be entered anew: whoever is in it has to be connected to again."""
        self._connected = ()
        self._connected_for = (0, SwarmPhase.NONE)

    def reentered(self, table: PieceTable) -> PieceSet:
        """What the swarm has again, besides what is still on its way to it."""
        if self.stage is not Stage.FILLING:
            return table.in_swarm
        have = table.checked if self.phase is SwarmPhase.SEALED else ~table.missing & (1 << table.pieces) - 1
        have &= ~table.arriving_pieces
        table.in_swarm = have | (table.in_swarm & table.arriving_pieces)
        return have

    def stuck(self, table: PieceTable, fetching: PieceSet, now: float) -> PieceSet:
        """Pieces that others are said to hold and that do not come."""
        patience_s = STUCK_S if self.phase is SwarmPhase.SEALED else STUCK_HOT_S
        if self.stage is not Stage.FILLING:
            return 0
        missing = table.missing & ~table.arriving_pieces & ~fetching
        return missing if self.idle_s(now) >= patience_s else missing & self.distrusted

    def left_alone_by(self, table: PieceTable, answer: LeadAnswer | None, now: float) -> str:
        """The lead whose swarm has brought nothing for so long that its members are not those that could help, the sealed one or
        the hot one in which nobody fetches; else empty."""
        if answer is None or not table.missing or self.stage is not Stage.FILLING:
            return ""
        vain = self.phase is SwarmPhase.SEALED or not answer.fetchers
        return answer.lead if vain and self.idle_s(now) >= LEFT_ALONE_S else ""

    def rejected(self, pieces: PieceSet) -> None:
        """Bytes that passed the sealed swarm's SHA-1 do not match the ledger's xxh3: the claim contradicts itself."""
        if self.phase is SwarmPhase.SEALED:
            self.distrusted |= pieces

    def decide(
        self, table: PieceTable, ledger: Ledger, answer: LeadAnswer | None, fetching: bool, now: float
    ) -> list[MemberAction]:
        """What is due about the swarms, given everything known."""
        actions: list[MemberAction] = []
        if self.stage is Stage.STARTING:
            actions += self._start(table, ledger, answer, now)
        elif self.stage is Stage.FILLING and self._seal_right:
            actions += self._publish(table, answer)
        elif self.stage is Stage.FILLING:
            actions += self._fill(table, ledger, answer, fetching, now)
        elif self.stage is Stage.PUBLISHED:
            actions += self._serve(table, ledger, answer, now)
        if answer is not None and self.stage in (Stage.STARTING, Stage.FILLING):
            actions += self._wake_holders(table, answer, now)
        if answer is not None and self.phase is not SwarmPhase.NONE:
            actions += self._connect(answer)
        return actions

    def end(self, stage: Stage, table: PieceTable) -> list[MemberAction]:
        """Leave the swarms for good."""
        self.stage = stage
        return self._leave(table)

    def _start(
        self, table: PieceTable, ledger: Ledger, answer: LeadAnswer | None, now: float
    ) -> list[MemberAction]:
        if answer is None or not answer.synced:
            return []
        holders = any(member.published for member in answer.swarm)
        if ledger.complete:
            self.stage = Stage.FILLING
            return self._open_sealed(table.checked, table, ledger, now)
        if holders and now - self._since < HOLDERS_AWAITED_S:
            return []
        self.stage = Stage.FILLING
        return self._open_hot(table, now)

    def _open_hot(self, table: PieceTable, now: float) -> list[MemberAction]:
        self.phase = SwarmPhase.HOT
        self._last_gain = self._entered_at = now
        table.in_swarm = table.checked
        return [act.OpenHot(table.checked)]

    def unwanted(self, ledger: Ledger) -> PieceSet:
        """Pieces not to be asked of peers, apart from those leased here."""
        wary = self.wary and self.phase is SwarmPhase.HOT
        return ((1 << ledger.pieces) - 1) & ~ledger.agreed if wary else 0

    def _fill(
        self, table: PieceTable, ledger: Ledger, answer: LeadAnswer | None, fetching: bool, now: float
    ) -> list[MemberAction]:
        if self.phase is SwarmPhase.SEALED and self._sealed_is_void(table, ledger):
            return self._leave(table)
        if self.phase is SwarmPhase.HOT and self._hot_is_over(table, ledger, answer, fetching, now):
            return self._leave(table) + self._open_sealed(table.checked, table, ledger, now)
        if self.phase is SwarmPhase.HOT and self._is_spoiled(table, now):
            self.wary = True
            table.forget_held()
            return self._leave(table) + self._open_hot(table, now)
        if self.phase is SwarmPhase.NONE and ledger.complete:
            return self._open_sealed(table.checked, table, ledger, now)
        return []

    def _is_spoiled(self, table: PieceTable, now: float) -> bool:
        """Whether the engine believes to have many pieces that were wrong, and nothing is on its way through it."""
        spoiled = (table.missing & table.in_swarm).bit_count()
        many = spoiled >= max(SPOILED_MIN, table.pieces // SPOILED_SHARE)
        return many and not table.arriving and now - self._entered_at >= REENTER_S

    def _sealed_is_void(self, table: PieceTable, ledger: Ledger) -> bool:
        """Whether the metainfo is outdated, or the engine believes to have a piece that rotted on the disk."""
        rotten = table.missing & table.in_swarm & ~self.distrusted & ~table.arriving_pieces
        return ledger.agreed_fingerprint != self._metainfo or bool(rotten and not table.undigested())

    def _hot_is_over(
        self, table: PieceTable, ledger: Ledger, answer: LeadAnswer | None, fetching: bool, now: float
    ) -> bool:
        """Whether the rest can only come from the sealed swarm; bytes on their way to the disk are waited for."""
        unsettled = bool(fetching or table.arriving or table.undigested())
        if not ledger.complete or table.all_checked or unsettled:
            return False
        only_spoiled = not table.missing & ~table.in_swarm
        patience_s = HOT_SPOILED_STALL_S if table.missing & table.in_swarm else HOT_STALL_S
        nobody_left = answer is not None and all(m.phase is not SwarmPhase.HOT for m in answer.swarm)
        return only_spoiled or nobody_left or self.idle_s(now) >= patience_s

    def _publish(self, table: PieceTable, answer: LeadAnswer | None) -> list[MemberAction]:
        others_fill = answer is not None and answer.unfinished_hot > 0
        complete = table.in_swarm == (1 << table.pieces) - 1  # the engine writes nothing any more
        self.stage = Stage.PUBLISHING
        if self.phase is SwarmPhase.HOT and others_fill and complete:
            return [act.PublishBlob(serving=True)]
        return [*self._leave(table), act.PublishBlob()]

    def _serve(
        self, table: PieceTable, ledger: Ledger, answer: LeadAnswer | None, now: float
    ) -> list[MemberAction]:
        if self.phase is SwarmPhase.HOT:
            needed = answer is None or answer.unfinished_hot > 0
            if needed and not self.wanted and not self._unneeded and now - self._sealed_at < HOT_SERVE_S_MAX:
                return []
            return self._leave(table)
        outdated = ledger.agreed_fingerprint != self._metainfo or not ledger.complete
        if self.phase is SwarmPhase.SEALED and (outdated or not self.wanted):
            return self._leave(table)
        if not self.wanted or self.phase is SwarmPhase.SEALED:
            return []
        if ledger.complete:
            return self._open_sealed((1 << table.pieces) - 1, table, ledger, self._last_gain)
        if not self.recomputing:
            self.recomputing = True
            return [act.RecomputeLedger()]
        return []

    def _wake_holders(self, table: PieceTable, answer: LeadAnswer, now: float) -> list[MemberAction]:
        # Who is alone in the hot swarm gets nothing there, however short the wait was; from members that fill it too, soon.
        fills = self.phase is SwarmPhase.HOT and any(m.phase is SwarmPhase.HOT for m in answer.swarm)
        waiting = not fills or self.idle_s(now) >= HOT_STALL_S
        if table.all_checked or not waiting or now - self._woken_at < WAKE_EVERY_S:
            return []
        asleep = [m.name for m in answer.swarm if m.published and m.phase is not SwarmPhase.SEALED]
        if not asleep:
            return []
        self._woken_at = now
        return [act.WakeHolders(tuple(asleep[:HOLDERS_WOKEN_MAX]))]

    def _connect(self, answer: LeadAnswer) -> list[MemberAction]:
        if self._connected_for == (answer.sequence, self.phase):
            return []
        self._connected_for = (answer.sequence, self.phase)
        members = tuple(member.name for member in answer.swarm if member.phase is self.phase)
        if members == self._connected:
            return []
        self._connected = members
        return [act.ConnectSwarm(members)]

    def _open_sealed(
        self, have: PieceSet, table: PieceTable, ledger: Ledger, now: float
    ) -> list[MemberAction]:
        self.phase = SwarmPhase.SEALED
        self._metainfo = ledger.agreed_fingerprint
        self._last_gain = now
        self._connected = ()
        table.in_swarm = have
        return [act.OpenSealed(have)]

    def _leave(self, table: PieceTable) -> list[MemberAction]:
        left: list[MemberAction] = []
        if self.phase is SwarmPhase.HOT:
            left.append(act.LeaveHot())
        elif self.phase is SwarmPhase.SEALED:
            left.append(act.LeaveSealed())
        self.phase = SwarmPhase.NONE
        self._connected = ()
        table.in_swarm = 0
        return left
