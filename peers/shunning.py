"""Members that ban this one: what it does when it is told so.

It treats them alike for a while, so that it does not lead, lease or connect against the will of those who have evidence against
it. Whom this member bans itself stands in the membership table. Times are seconds of the clock given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from peers.cluster_errors import CallRefused
from peers.membership import TellLive

log = logging.getLogger(__name__)

REFUSAL = "banned"
"""The code of a refusal, on the wire too."""

BELIEVED_S = 60.0
"""A member that said so does not count as live for so long, unless it talks with this one before."""


class Shunning:
    """``changed`` is called, on the event loop, when who is in the company changed by it."""

    def __init__(self, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._until: dict[str, float] = {}

    @property
    def by(self) -> frozenset[str]:
        """The members that said so of late."""
        if self._until:
            now = self._clock()
            self._until = {name: until for name, until in self._until.items() if until > now}
        return frozenset(self._until)

    def outnumber(self, company: frozenset[str]) -> bool:
        """Whether they are more than the others that are left."""
        return len(self.by) > len(company)

    def without(self, view: TellLive) -> TellLive:
        """The view of the members without those."""
        by = self.by
        if not by & view.live:
            return view
        return replace(view, live=view.live - by, hub_busy=view.hub_busy - by, draining=view.draining - by)

    @contextmanager
    def asking(self, member: str) -> Iterator[None]:
        """Around a question to a member: what it answers tells whether it bans this one."""
        try:
            yield
            self.friendly(member)
        except CallRefused as refused:
            if refused.code == REFUSAL:
                self._heard(member, refused.detail)
            raise

    def friendly(self, member: str) -> None:
        """The member talks with this one: it does not ban it any more."""
        if self._until.pop(member, None) is not None:
            log.warning("member %s talks with this node again", member)
            self._changed()

    def _heard(self, member: str, reason: str) -> None:
        if member not in self.by:
            log.error("member %s bans this node: %s", member, reason)
        self._until[member] = self._clock() + BELIEVED_S
        asyncio.get_running_loop().call_later(BELIEVED_S + 1.0, self._changed)
        self._changed()
