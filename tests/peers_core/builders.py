"""Short ways to say what the tests of the pure core talk about."""

from __future__ import annotations

import hashlib

from peers import piece_set
from peers.blob import Blob
from peers.lead import Lead
from peers.lead_events import Asked, LeadAction, LiveMembersChanged
from peers.ledger import Claim, Digests
from peers.messages import LeadAnswer, LeadRequest, Report

MIB = 1 << 20
PIECES = 8
BLOB = Blob("blob", PIECES * MIB, MIB)


def digests(piece: int, variant: int = 0) -> Digests:
    told = f"{piece}/{variant}".encode()
    return Digests(hashlib.blake2b(told, digest_size=16).digest(), hashlib.sha1(told).digest())


def claim(piece: int, claimant: str, variant: int = 0, fetch: int = 1, sealed: bool = False) -> Claim:
    return Claim(piece, claimant, fetch, digests(piece, variant), sealed)


def held(*pieces: int) -> bytes:
    return piece_set.to_bytes(sum(piece_set.single(piece) for piece in pieces), PIECES)


def report(member: str, *pieces: int, **more: object) -> Report:
    return Report(member=member, held=held(*pieces), **more)  # type: ignore[arg-type]  # facts named by the caller


def request(asker: Report, lead: str, sequence: int = 1, **more: object) -> LeadRequest:
    return LeadRequest(sequence=sequence, lead=lead, report=asker, **more)  # type: ignore[arg-type]  # as above


def lead_of(*live: str, me: str, now: float = 0.0, cap: float = 0.0) -> Lead:
    return Lead(BLOB, me, 1, LiveMembersChanged(frozenset(live), cap), now)


def ask(lead: Lead, asker: Report, now: float, **more: object) -> list[LeadAction]:
    return lead.handle(Asked(request(asker, lead.me, 1, **more)), now)


def answer(**facts: object) -> LeadAnswer:
    usual: dict[str, object] = {
        "sequence": 1,
        "lead": "a",
        "term": 1,
        "ready": True,
        "leases": (),
        "claims": (),
        "version": 0,
        "synced": True,
        "claims_fingerprint": 0,
        "hub_rate_bytes_per_s": 0.0,
        "hub_pause_s": 0.0,
        "report_every_s": 1.0,
        "fetchers": 1,
        "unfinished_hot": 0,
        "audited": False,
    }
    return LeadAnswer(**{**usual, **facts})  # type: ignore[arg-type]  # facts named by the caller
