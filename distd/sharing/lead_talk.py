"""A blob's requests to its lead: one counts, and those that it replaced are left to end.

A replaced request is answered by the lead at once, with a refusal that nobody reads. Cancelling it would close its
connection, and the next request would have to open another: five times the cost of a request (measured).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from peers import member_events as event
from peers.blob import Blob
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest

REPLACED_MAX = 2
"""Replaced requests that may be under way. A lead that answers lets them go within a round trip."""

Ask = Callable[[str, Blob, LeadRequest, float], Awaitable[LeadAnswer | LeadRefusal | None]]


class LeadTalk:
    """`started` takes each request's task, which is to run `ask`."""

    def __init__(self, blob: Blob, ask: Ask, feed: Callable[[event.MemberEvent], None]) -> None:
        self._blob = blob
        self._ask_lead = ask
        self._feed = feed
        self._tasks: deque[asyncio.Task[None]] = deque()

    async def ask(self, lead: str, request: LeadRequest, grace_s: float) -> None:
        """What the lead says, told to the machine, which knows to which request it listens."""
        word = await self._ask_lead(lead, self._blob, request, grace_s)
        if isinstance(word, LeadAnswer):
            self._feed(event.LeadAnswered(word))
        elif isinstance(word, LeadRefusal):
            self._feed(event.LeadRefused(word))
        else:
            self._feed(event.LeadUnreachable(request.sequence))

    def started(self, task: asyncio.Task[None]) -> None:
        self._tasks = deque(each for each in self._tasks if not each.done())
        while len(self._tasks) > REPLACED_MAX:
            self._tasks.popleft().cancel()
        self._tasks.append(task)
