"""What members ask each other about blobs, as calls over the cluster; checked on both ends before any machine sees it."""

from __future__ import annotations

import logging

from distd.core.manifest import is_etag
from peers import lead_wire, wire
from peers.blob import Blob
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, ClusterError
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest, Report

log = logging.getLogger(__name__)

LEAD, REPORT, WANTED = "lead", "report", "wanted"
"""The calls' names: a request to a blob's lead, a lead's probe, and a copy that somebody waits for."""

PROBE_TIMEOUT_S = 8.0
"""As long as a new lead waits for what members have at most, where most are silent."""
WAKE_TIMEOUT_S = 1.5
"""Who does not open in time is woken again."""


class Calls:
    """The asking end. What goes wrong is logged and None: each machine asks again or does without."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def ask(
        self, lead: str, blob: Blob, request: LeadRequest, grace_s: float
    ) -> LeadAnswer | LeadRefusal | None:
        """``grace_s``: what an answer may take beyond the time that the lead was allowed to hold it back."""
        try:
            question = lead_wire.encode_request(blob, request, self._cluster.wire_version_with(lead))
            body = await self._cluster.call(lead, LEAD, question, request.wait_s + grace_s)
            return lead_wire.decode_answer(body, blob)
        except (ClusterError, wire.Unreadable) as error:
            log.debug("no answer from the lead %s for %s: %s", lead, blob.name, error)
            return None

    async def probe(self, member: str, blob: Blob) -> Report | None:
        """What the member has of the blob; None also when it has nothing. It hears first who leads, if that is new."""
        await self._cluster.introduce(member)
        try:
            question = lead_wire.encode_probe(blob, self._cluster.wire_version_with(member))
            body = await self._cluster.call(member, REPORT, question, PROBE_TIMEOUT_S)
            report = lead_wire.decode_report(body, blob)
        except (ClusterError, wire.Unreadable) as error:
            log.debug("%s does not tell what it has of %s: %s", member, blob.name, error)
            return None
        return report if report is None or report.member == member else None

    async def wake(self, member: str, blob: Blob) -> None:
        try:
            question = lead_wire.encode_probe(blob, self._cluster.wire_version_with(member))
            await self._cluster.call(member, WANTED, question, WAKE_TIMEOUT_S)
        except ClusterError as error:
            log.debug("waking %s for %s failed: %s", member, blob.name, error)


def asked_of_lead(sender: str, body: bytes) -> tuple[Blob, LeadRequest]:
    """The answering end of `Calls.ask`. Raises CallRefused."""
    try:
        blob, request = lead_wire.decode_request(body)
    except wire.Unreadable as error:
        raise CallRefused("invalid_request", str(error)) from error
    if request.report.member != sender:
        raise CallRefused("invalid_request", "a member speaks for itself only")
    return _named_by_etag(blob), request


def probed(body: bytes) -> Blob:
    """The answering end of `Calls.probe` and `Calls.wake`. Raises CallRefused."""
    try:
        return _named_by_etag(lead_wire.decode_probe(body))
    except wire.Unreadable as error:
        raise CallRefused("invalid_request", str(error)) from error


def _named_by_etag(blob: Blob) -> Blob:
    """Names from other members become file names here."""
    if not is_etag(blob.name):
        raise CallRefused("invalid_request", "the blob's name is no etag")
    return blob
