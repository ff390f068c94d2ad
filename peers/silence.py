"""Which members a lead asks whether they are there still: those at work that were not heard for long.

One may have died and started anew faster than gossip notices, and nothing of what it had reported is true any more. Pure. Times
are monotonic seconds of the lead.
"""

from __future__ import annotations

from peers.standing import Standings

SILENT_REPORTS = 15
"""Reports missed by a member at work before it is probed."""


class Silence:
    def __init__(self, standings: Standings, now: float) -> None:
        self._standings = standings
        self._probed_at = now

    def of(self, report_every_s: float, now: float) -> frozenset[str]:
        """Who is silent, where members report so often."""
        return self._standings.silent(now - SILENT_REPORTS * report_every_s)

    def to_probe(self, report_every_s: float, now: float) -> list[str]:
        if now - self._probed_at < SILENT_REPORTS or not (silent := self.of(report_every_s, now)):
            return []
        self._probed_at = now
        return sorted(silent)
