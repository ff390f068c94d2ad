"""One blob on this node as a member of its swarm: does what `peers.member.BlobMember` decides.

Events go in through `feed`; actions are carried out in the order given by one task, the long ones as
tasks of their own whose ends are events again. The incoming file and its journal stay the truth: what
the swarm says it has is read back before it is noted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from distd.core.estimate import Outlook
from distd.core.rates import SourceMeter
from distd.errors import DistdError, NoSpace, StorageFailed
from distd.hub.fetcher import RemoteFile
from distd.sharing.duplicates import Duplicates
from distd.sharing.failures import error_of
from distd.sharing.findings import told_of
from distd.sharing.lead_talk import LeadTalk
from distd.sharing.means import Means, Outcome, outlook_of
from distd.sharing.open_swarm import OpenSwarm
from distd.sharing.reading import digests_of_file, journalled, read_back
from distd.sharing.spans import HubSpans
from distd.store.hashing import PrefixHasher, hash_open_file
from distd.store.incoming import IncomingBlob
from peers import member_actions as act
from peers import member_events as event
from peers.blob import Blob
from peers.ledger import Claim
from peers.member import BlobMember
from peers.messages import Report
from peers.metainfo import Kind
from peers.swarm import SwarmError
from peers.swarm_choice import Stage

log = logging.getLogger(__name__)

FAREWELL_S = 1.0
"""Closing waits so long for the lead to hear of it: then others fetch at once what was leased or held only here."""


class BlobDriver:
    """Open it with `open`; `changed` is called at each turn that somebody waiting may care about."""

    def __init__(
        self,
        blob: Blob,
        remote: RemoteFile | None,
        means: Means,
        *,
        order: tuple[int, ...],
        changed: Callable[[BlobDriver], None],
        tell: Callable[[str, str], None],
    ) -> None:
        self.blob = blob
        self.outcome: Outcome | None = None
        self.arrived = False
        self.idle_since = time.monotonic()
        self._remote = remote
        self._means = means
        self._order = order
        self._changed = changed
        self._tell = tell
        self._incoming: IncomingBlob | None = None
        self._hasher: PrefixHasher | None = None
        self._hashed_once = False
        self._sharers: Callable[[frozenset[str]], frozenset[str]] = frozenset
        self._spans: HubSpans | None = None
        self._from_hub: set[int] = set()
        self._machine: BlobMember | None = None
        self._duplicates: Duplicates | None = None
        self._actions: asyncio.Queue[act.MemberAction] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._talk = LeadTalk(blob, means.neighbours.ask_lead, self.feed)
        self._timer: asyncio.TimerHandle | None = None
        self.swarm = OpenSwarm(blob, means.swarm, means.terms)
        self._disk_error: DistdError | None = None
        self._heard = asyncio.Event()
        self.meters: list[SourceMeter] = []

    @property
    def stage(self) -> Stage:
        return self._machine.stage if self._machine else Stage.STARTING

    @property
    def last_term(self) -> int:
        return self._machine.asking.last_term if self._machine else 0

    @property
    def machine(self) -> BlobMember | None:
        """What decides, to be looked at; None before `open` and after `close`."""
        return self._machine

    @property
    def path(self) -> Path:
        """Where the content is, whole or not."""
        return Path(self._incoming.path) if self._incoming else self._means.blobs.path(self.blob.name)

    def progress(self) -> dict[str, int] | None:
        return self._incoming.bytes_by_source() if self._incoming else None

    def outlook(self) -> Outlook | None:
        return outlook_of(self.blob, self._hasher, self._machine)

    def report(self) -> Report | None:
        return self._machine.report(time.monotonic()) if self._machine else None

    def probed(self, lead: str) -> Report | None:
        """The report, to a member that asks for it as a lead of the blob."""
        self.feed(event.LeadHeard(lead))
        return self.report()

    async def open(self) -> None:
        """Begins to fill, or to serve when the store has the blob. Raises NoSpace or StorageFailed."""
        blob, means = self.blob, self._means
        claims = await asyncio.to_thread(means.ledgers.load, blob.name, blob.pieces)
        journal: dict[int, Claim] = {}
        published = means.blobs.has(blob.name, blob.size_bytes)
        if not published:
            self._incoming = await means.blobs.incoming(blob.name, blob.size_bytes, blob.piece_len_bytes)
            self._hasher = PrefixHasher(self._incoming, on_bad=self._lost)
            journal = await journalled(self._incoming, blob, claims, means.neighbours.me)
        if self._remote is not None:
            self._spans = HubSpans(
                blob,
                self._remote,
                means.fetcher,
                means.blobs.workers.disk,
                feed=self.feed,
                fetched=self._fetched,
                received=self._count_hub,
                dropped=means.tally.hub_repeated,
            )
        self._sharers = await means.sharers(blob.name)
        self._machine = BlobMember(
            blob,
            means.neighbours.me,
            self._sharers(means.neighbours.view.live),
            time.monotonic(),
            journalled=journal,
            claims=claims,
            published=published,
            draining=means.neighbours.view.draining,
            may_fetch=means.may_fetch() and self._remote is not None,
            link=means.link,
            order=self._order,
        )
        self._duplicates = Duplicates(blob, means.neighbours.me, self._machine.ledger, means.tally)
        self._spawn(self._do_in_order())
        self.feed(event.Ticked())

    def members_changed(self, *, shunned: bool) -> None:
        """`shunned`: most others ban this node, so what is under way asks the Hub for nothing."""
        view = self._means.neighbours.view
        self.feed(event.MembersChanged(self._sharers(view.live), view.draining))
        allowed = self._means.may_fetch() and not shunned and self._remote is not None
        if self._machine and self._machine.access.may_fetch != allowed and not self._machine.access.denied:
            self.feed(event.AccessChanged(allowed))

    def feed(self, happened: event.MemberEvent) -> None:
        """Something happened; what follows is done in order."""
        self._handle(happened)

    def _handle(self, happened: event.MemberEvent) -> list[act.MemberAction]:
        if self._machine is None:
            return []
        now = time.monotonic()
        before = self._machine.stage
        actions = self._machine.handle(happened, now)
        if self._duplicates:
            self._duplicates.look()
        for action in actions:
            self._actions.put_nowait(action)
        if self._machine.asking.all_heard:
            self._heard.set()
        else:
            self._heard.clear()
        if self._timer:
            self._timer.cancel()
        deadline = self._machine.deadline(now)
        if deadline != float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.001, deadline - now), self.feed, event.Ticked())
        if self._machine.stage is not before:
            self._changed(self)
        return actions

    def _fetched(self, happened: event.HubPieceFetched) -> bool:
        """Tells the machine of a piece from the Hub; whether its bytes will be taken with `HubSpans.take`."""
        placing = (act.AddPieceToSwarm(happened.piece), act.WritePiece(happened.piece))
        return any(action in placing for action in self._handle(happened))

    async def farewell(self) -> None:
        """Nobody here wants the blob any longer, or it failed: tells the lead. `close` follows."""
        if self._machine is None or self._machine.stage is Stage.PUBLISHED:
            return
        self.feed(event.BlobAbandoned())
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._heard.wait()

    async def close(self) -> None:
        """Leaves swarm and Hub; what is journalled stays. Idempotent."""
        if self._timer:
            self._timer.cancel()
        self._machine = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._spans:
            await self._spans.close()
        await self._leave()
        if self._hasher:
            await self._hasher.close()
        if self._incoming:
            await self._incoming.close()

    def _lost(self, index: int) -> None:
        """A piece that an earlier run journalled is not what it was then."""
        self._means.tally.piece_rejected("disk")
        self._from_hub.discard(index)
        self.feed(event.PieceLost(index))
        self._tell("piece_lost", f"piece {index} did not survive the last stop; it is fetched again")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guard(work))
        task.add_done_callback(lambda _: work.close())  # one cancelled before its first step was never begun
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._failed(error)

    async def _do_in_order(self) -> None:
        """Goes on after a failure: the machine answers it with the actions that end the blob."""
        while True:
            action = await self._actions.get()
            try:
                await self._do(action)
            except Exception as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, DistdError):
            self._disk_error = self._disk_error or error
        elif not isinstance(error, SwarmError | OSError):
            log.exception("blob %s failed", self.blob.name, exc_info=error)
            error = StorageFailed(self.blob.name, f"{type(error).__name__}: {error}")
        self.feed(event.DiskFailed(no_space=isinstance(error, NoSpace), detail=str(error)))

    async def _do(self, action: act.MemberAction) -> None:
        match action:
            case act.AskLead(lead, request, grace_s):
                self._talk.started(self._spawn(self._talk.ask(lead, request, grace_s)))
            case act.FetchSpan(fetch, span):
                if self._spans:
                    self._spans.start(fetch, span)
            case act.StopFetch(fetch):
                if self._spans:
                    self._spans.stop(fetch)
            case act.AddPieceToSwarm(piece) | act.WritePiece(piece):
                await self._place(piece, announce=isinstance(action, act.AddPieceToSwarm))
            case act.DigestPiece(piece, generation):
                self._spawn(self._digest(piece, generation))
            case act.JournalPiece(piece, claim):
                self._note(piece, claim)
            case act.UnjournalPiece(piece):
                if self._incoming:
                    self._incoming.forget((piece,))
            case act.RejectPiece(piece, from_hub):
                if self._machine and self._machine.table.missing >> piece & 1:
                    self._from_hub.discard(piece)
                self._means.tally.piece_rejected("hub" if from_hub else "peers")
                self._tell(*told_of(action))
            case act.FoundWrongWhole() | act.FoundWrongFetches() | act.FoundMembersSlow():
                self._tell(*told_of(action))
            case act.AskSuspect(member, piece):
                self._spawn(self._ask_suspect(member, piece))
            case act.BlameMember(evidence):
                self._tell(*told_of(action))
                self._means.suspects.blame(self.blob, evidence)
            case act.SealBlob():
                self._spawn(self._seal())
            case act.PublishBlob(serving):
                await self._publish(serving)
            case act.RecomputeLedger():
                self._spawn(self._recompute())
            case act.FailBlob():
                self._fail(action)
            case _:
                await self._do_in_swarm(action)

    async def _do_in_swarm(self, action: act.MemberAction) -> None:
        match action:
            case act.OpenHot(have):
                await self._join(Kind.HOT, have)
            case act.OpenSealed(have):
                await self._join(Kind.SEALED, have)
            case act.LeaveHot() | act.LeaveSealed():
                await self._leave()
            case act.ReenterSwarm():
                await self._reenter()
            case act.SetLeased(pieces):
                self.swarm.set_leased(pieces)
            case act.ConnectSwarm(members):
                self.swarm.connect(lambda kind: self._means.neighbours.swarm_endpoints(members, kind))
            case act.WakeHolders(members):
                for name in members:
                    self._spawn(self._means.neighbours.wake(name, self.blob))
            case act.PassHubTurn():
                self._means.neighbours.pass_hub_turn(self.blob.name)
            case act.LimitHubRate(rate_bytes_per_s):
                self._means.hub_share(self.blob.name, rate_bytes_per_s)

    async def _ask_suspect(self, member: str, piece: int) -> None:
        told = await self._means.suspects.ask(member, self.blob, piece)
        self.feed(event.SuspectAnswered(member, piece, told))

    def refused(self, piece: int) -> None:
        """A piece of the sealed swarm had another SHA-1: the engine dropped it and fetches it again."""
        self.feed(event.PieceRefused(piece))
        self._tell("piece_refused", f"piece {piece} from another member has wrong bytes; it is fetched again")

    def _count_hub(self, size_bytes: int) -> None:
        now = time.monotonic()
        self._means.hub_meter.add(size_bytes, now)
        for meter in self.meters:
            meter.add_from_hub(size_bytes, now)

    async def _place(self, piece: int, *, announce: bool) -> None:
        assert self._spans is not None
        data = self._spans.take(piece)
        self._from_hub.add(piece)
        try:
            if announce and self.swarm.kind:
                await self.swarm.add_piece(piece, data)  # PieceAdded follows
            elif self._incoming:
                fd, start = self._incoming.fd, piece * self.blob.piece_len_bytes
                await self._means.blobs.workers.run(os.pwrite, fd, data, start)
                self.feed(event.PieceHeld(piece))
        finally:
            await self._spans.placed()

    async def _digest(self, piece: int, generation: int) -> None:
        if self._incoming is None:
            return
        # By path, whatever swarm is open or being left: a held piece is in the file.
        try:
            xxh3 = await asyncio.to_thread(read_back, self._incoming.fd, self.blob, piece)
        except OSError:
            self.feed(event.PieceUnreadable(piece, generation))
        else:
            self.feed(event.PieceDigested(piece, generation, xxh3))

    def _note(self, piece: int, claim: Claim) -> None:
        if self._incoming is None:
            return
        self._means.ledgers.append(self.blob.name, claim)
        source = "hub" if piece in self._from_hub else "peers"
        self._incoming.note(piece, source, claim.digests.xxh3)
        if source == "peers":
            now, size = time.monotonic(), self.blob.piece_bytes(piece)
            self._means.peers_meter.add(size, now)
            for meter in self.meters:
                meter.add_from_peers(size, now)
        if self._incoming.complete and not self.arrived:
            self.arrived = True
            self._changed(self)

    async def _join(self, kind: Kind, have: int) -> None:
        hashes: Sequence[bytes] = ()
        if kind is Kind.SEALED:
            assert self._machine is not None
            hashes = self._machine.ledger.piece_hashes()
        self.idle_since = time.monotonic()
        await self.swarm.enter(kind, str(self.path), have, hashes)

    async def _reenter(self) -> None:
        """Under other terms the same swarm is another torrent: out and in again, with what is on the disk then."""
        if not self.swarm.outdated:
            return
        kind = await self.swarm.leave(flush=True)
        if self._machine is not None and kind is not None:
            if kind is Kind.SEALED and not self._machine.ledger.complete:
                return  # it is void, and leaving it is already on its way
            await self._join(kind, self._machine.swarm_reentered())
            log.info(
                "the %s swarm of %s is entered anew: members meet under other terms",
                kind.value,
                self.blob.name,
            )

    async def _leave(self) -> None:
        kind = await self.swarm.leave()
        if self.outcome is not None and kind is Kind.HOT:
            await asyncio.to_thread(self._means.blobs.release, self.blob.name)

    async def _seal(self) -> None:
        incoming, hasher = self._incoming, self._hasher
        assert incoming is not None and hasher is not None  # noqa: PT018  # one thing: the blob is open
        if incoming.complete:
            if self._hashed_once:
                hasher.restart()
            self._hashed_once = True
            actual = await hasher.finish()
            if actual != self.blob.name:
                self._means.tally.file_rejected()
        else:  # a dispute is decided by hashing with the bytes at hand
            actual = await self._means.blobs.workers.run_long(hash_open_file, incoming.fd, self.blob.name)
        self.feed(event.SealFinished(actual == self.blob.name, actual))

    async def _publish(self, serving: bool) -> None:
        incoming, hasher = self._incoming, self._hasher
        assert incoming is not None
        assert hasher is not None
        assert self._machine is not None
        by_source = incoming.bytes_by_source()
        await hasher.close()
        await self._means.blobs.accept(incoming, self.blob.name, keep_name=serving)
        self._incoming = self._hasher = None
        await self._means.ledgers.keep(self.blob.name, self._machine.ledger.all_claims())
        self.outcome = Outcome(by_source)
        self.feed(event.BlobPublished())

    async def _recompute(self) -> None:
        self.feed(event.LedgerRecomputed(await asyncio.to_thread(digests_of_file, self.path, self.blob)))

    def _fail(self, failure: act.FailBlob) -> None:
        path = self._remote.file.path if self._remote else self.blob.name
        told = error_of(failure, path, self._means.fetcher.endpoint)
        of_disk = failure.failure in (act.BlobFailure.NO_SPACE, act.BlobFailure.DISK)
        self.outcome = Outcome({}, (self._disk_error or told) if of_disk else told)
        self._changed(self)
