"""All that the daemon looks at for `GET /v1/doctor` beside its disk: bounded, and no check ends the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from distd.api.schema import Finding
from distd.config import Config
from distd.diagnosis.network import hub_findings
from distd.diagnosis.readers import reader_findings, reads_findings
from distd.hub.resolver import Resolver

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[list[Finding]]]


class Examination:
    """Implements `node.Examination`. `of_members` are the checks of a cluster, none for a daemon that works alone."""

    def __init__(self, config: Config, resolver: Resolver, of_members: Sequence[Check]) -> None:
        self._checks: list[Check] = [
            lambda: asyncio.to_thread(reader_findings, config.hub_dir),
            lambda: asyncio.to_thread(reads_findings, config.hub_dir),
            lambda: hub_findings(config, resolver),
            *of_members,
        ]

    async def findings(self) -> list[Finding]:
        found: list[Finding] = []
        for answer in await asyncio.gather(*(check() for check in self._checks), return_exceptions=True):
            if isinstance(answer, BaseException):
                log.error("a check of the doctor failed", exc_info=answer)
                advice = "please report it with the daemon's log"
                found.append(Finding("self-check", "fail", f"a check failed: {answer!r}", advice))
            else:
                found += answer
        return found
