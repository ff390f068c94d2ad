"""Hosts the `Lead` machines of blobs that this node leads, and holds back answers until there is news."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from peers import lead_events as led
from peers.blob import Blob
from peers.lead import Lead
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest, Report

LEAD_IDLE_S = 120.0
"""A lead that nobody asked for so long is forgotten: its state is soft, the next request makes a new one."""
LEADS_MAX = 4096
"""Blobs led at once; a repo of many shards has some hundreds. Beyond it the longest idle one goes."""

Word = LeadAnswer | LeadRefusal
_Name = tuple[str, int]
"""Name and size: a member that has a wrong size of a blob must not spoil the lead of those with the right one."""


class NotAnswered(Exception):
    """The request will get no answer: a newer one replaced it, or this lead is no more. Asking again helps."""


@dataclass
class _Hosted:
    lead: Lead
    blob: Blob
    asked_at: float
    waiting: dict[str, tuple[int, asyncio.Future[Word]]] = field(default_factory=dict)
    """By member, which has one request under way: its sequence, and who waits for the answer."""
    timer: asyncio.TimerHandle | None = None


class LeadHost:
    """`ask` is the door for requests, from this node or another.

    `probe` asks a member what it has of a blob; `last_term` is the highest term this node's own machine
    of the blob has seen.
    """

    def __init__(
        self,
        me: str,
        *,
        probe: Callable[[str, Blob], Awaitable[Report | None]],
        last_term: Callable[[str], int],
    ) -> None:
        self._me = me
        self._probe = probe
        self._last_term = last_term
        self._hosted: dict[_Name, _Hosted] = {}
        self._closed = False
        self._live = led.LiveMembersChanged(frozenset({me}))
        self._probes: set[asyncio.Task[None]] = set()

    def members_changed(self, happened: led.LiveMembersChanged) -> None:
        self._live = happened
        for hosted in list(self._hosted.values()):
            self._feed(hosted, happened)

    async def ask(self, blob: Blob, request: LeadRequest) -> Word:
        """The answer to a member's request, after at most `request.wait_s` and a little. Raises NotAnswered."""
        if self._closed:
            raise NotAnswered("this member is stopping")
        hosted = self._hosted.get(_name(blob)) or self._new(blob, request)
        hosted.asked_at = time.monotonic()
        member = request.report.member
        if (waiting := hosted.waiting.get(member)) and not waiting[1].done():
            if waiting[0] > request.sequence:  # it took longer on its way; what it tells is not true any more
                raise NotAnswered("a newer request is under way")
            waiting[1].set_exception(NotAnswered("a newer request replaced it"))
        future: asyncio.Future[Word] = asyncio.get_running_loop().create_future()
        hosted.waiting[member] = (request.sequence, future)
        try:
            self._feed(hosted, led.Asked(request))
            return await future
        finally:
            if hosted.waiting.get(member) == (request.sequence, future):
                del hosted.waiting[member]

    def close(self) -> None:
        """Whoever waits gets NotAnswered, and so does whoever asks from now on."""
        self._closed = True
        for hosted in self._hosted.values():
            self._end(hosted)
        self._hosted.clear()
        for probe in self._probes:
            probe.cancel()

    def _new(self, blob: Blob, request: LeadRequest) -> _Hosted:
        now = time.monotonic()
        for name, hosted in list(self._hosted.items()):
            if not hosted.waiting and now - hosted.asked_at > LEAD_IDLE_S:
                self._end(self._hosted.pop(name))
        if len(self._hosted) >= LEADS_MAX:
            oldest = min(self._hosted, key=lambda name: self._hosted[name].asked_at)
            self._end(self._hosted.pop(oldest))
        # Terms of one blob only rise, also over restarts of this node: they begin at the time of day.
        term = max(int(time.time() * 1000), request.last_term + 1, self._last_term(blob.name) + 1)
        hosted = _Hosted(Lead(blob, self._me, term, self._live, now), blob, now)
        self._hosted[_name(blob)] = hosted
        return hosted

    def _feed(self, hosted: _Hosted, happened: led.LeadEvent) -> None:
        now = time.monotonic()
        for action in hosted.lead.handle(happened, now):
            match action:
                case led.Answer(member, answer):
                    self._tell(hosted, member, answer)
                case led.Refuse(member, refusal):
                    self._tell(hosted, member, refusal)
                case led.ProbeMember(member):
                    task = asyncio.create_task(self._ask_member(hosted, member))
                    self._probes.add(task)
                    task.add_done_callback(self._probes.discard)
        if hosted.timer:
            hosted.timer.cancel()
        deadline = hosted.lead.deadline()
        if deadline != float("inf"):
            loop = asyncio.get_running_loop()
            delay_s = max(0.001, deadline - now)
            hosted.timer = loop.call_later(delay_s, self._feed, hosted, led.LeadTicked())

    def _tell(self, hosted: _Hosted, member: str, word: Word) -> None:
        sequence, future = hosted.waiting.get(member, (0, None))
        if future is not None and sequence == word.sequence and not future.done():
            future.set_result(word)

    async def _ask_member(self, hosted: _Hosted, member: str) -> None:
        report = await self._probe(member, hosted.blob)
        if self._hosted.get(_name(hosted.blob)) is hosted:
            self._feed(hosted, led.ProbeAnswered(member, report))

    def _end(self, hosted: _Hosted) -> None:
        if hosted.timer:
            hosted.timer.cancel()
        for _, future in hosted.waiting.values():
            if not future.done():
                future.set_exception(NotAnswered("this lead is no more"))


def _name(blob: Blob) -> _Name:
    return blob.name, blob.size_bytes
