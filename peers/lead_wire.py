"""What a member and a blob's lead tell each other, as bytes.

Messages travel as they are, but for their claims, which go packed beside them. Every message names its blob or is read
as being about one, so that numbers which mean nothing for that blob are refused before any machine sees them. Members
are not trusted to be free of faults: one wrong value refuses the whole message.
"""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from peers.blob import Blob
from peers.ledger import MEMBER_NAME_BYTES_MAX, Claim
from peers.ledger_wire import ClaimsUnreadable, PackedClaims, pack, unpack
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest, Report
from peers.metainfo import WIRE_VERSION
from peers.piece_set import Span
from peers.wire import Unreadable, decode, encode

BLOB_BYTES_MAX = 1 << 42
"""4 TiB, some ten times the largest file in use: a set of its pieces is 32 KB, so no message makes a machine build sets
that fill memory."""

ITEMS_MAX = 4096
"""Of any list in a message: leases, members, spans under way. Each has a smaller limit of its own where it is made."""

_INT_MAX = (1 << 64) - 1

_BlobName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
_Size = Annotated[int, Meta(ge=1, le=BLOB_BYTES_MAX)]


class _Asked(Struct):
    blob: _BlobName
    size_bytes: _Size
    request: LeadRequest
    claims: PackedClaims


class _Answered(Struct):
    """Exactly one of the two."""

    answer: LeadAnswer | None
    refusal: LeadRefusal | None
    claims: PackedClaims


class _Probed(Struct):
    blob: _BlobName
    size_bytes: _Size


class _Reported(Struct):
    report: Report | None
    claims: PackedClaims


def encode_request(blob: Blob, request: LeadRequest, wire_version: int = WIRE_VERSION) -> bytes:
    claims = pack(request.report.claims)
    bare = replace(request, report=replace(request.report, claims=()))
    return encode(_Asked(blob.name, blob.size_bytes, bare, claims), wire_version)


def decode_request(body: bytes, own_version: int = WIRE_VERSION) -> tuple[Blob, LeadRequest]:
    """Raises Unreadable."""
    asked = decode(body, _Asked, own_version)
    blob = Blob.of(asked.blob, asked.size_bytes)
    _require_sound(asked.request, blob)
    report = replace(asked.request.report, claims=_claims(asked.claims, blob))
    return blob, replace(asked.request, report=report)


def encode_answer(answer: LeadAnswer | LeadRefusal, wire_version: int = WIRE_VERSION) -> bytes:
    if isinstance(answer, LeadRefusal):
        return encode(_Answered(None, answer, pack(())), wire_version)
    return encode(_Answered(replace(answer, claims=()), None, pack(answer.claims)), wire_version)


def decode_answer(body: bytes, blob: Blob, own_version: int = WIRE_VERSION) -> LeadAnswer | LeadRefusal:
    """The answer to a request about ``blob``. Raises Unreadable."""
    answered = decode(body, _Answered, own_version)
    if answered.refusal is not None:
        _require_sound(answered.refusal, blob)
        return answered.refusal
    if answered.answer is None:
        raise Unreadable("answer of a lead", "it says nothing")
    _require_sound(answered.answer, blob)
    return replace(answered.answer, claims=_claims(answered.claims, blob))


def encode_probe(blob: Blob, wire_version: int = WIRE_VERSION) -> bytes:
    """The lead asks a member what it has of a blob."""
    return encode(_Probed(blob.name, blob.size_bytes), wire_version)


def decode_probe(body: bytes, own_version: int = WIRE_VERSION) -> Blob:
    """Raises Unreadable."""
    probed = decode(body, _Probed, own_version)
    return Blob.of(probed.blob, probed.size_bytes)


def encode_report(report: Report | None, wire_version: int = WIRE_VERSION) -> bytes:
    """The answer to a probe; None: this member has nothing of the blob."""
    if report is None:
        return encode(_Reported(None, pack(())), wire_version)
    return encode(_Reported(replace(report, claims=()), pack(report.claims)), wire_version)


def decode_report(body: bytes, blob: Blob, own_version: int = WIRE_VERSION) -> Report | None:
    """The answer to a probe about ``blob``. Raises Unreadable."""
    reported = decode(body, _Reported, own_version)
    if reported.report is None:
        return None
    _require_sound(reported.report, blob)
    return replace(reported.report, claims=_claims(reported.claims, blob))


def _claims(packed: PackedClaims, blob: Blob) -> tuple[Claim, ...]:
    try:
        return unpack(packed, blob.pieces)
    except (ClaimsUnreadable, UnicodeError) as error:
        raise Unreadable("claims", str(error)) from error


def _require_sound(message: object, blob: Blob) -> None:
    if not _is_sound(message, blob):
        raise Unreadable(type(message).__name__, "a value in it means nothing for this blob")


def _is_sound(value: object, blob: Blob) -> bool:
    """Whether a value, with all that it is made of, lies within what such a value can be for this blob."""
    match value:
        case None | bool() | Enum():
            return True
        case int():
            return 0 <= value <= _INT_MAX
        case float():
            return math.isfinite(value) and value >= 0
        case str():
            return len(value.encode()) <= MEMBER_NAME_BYTES_MAX
        case bytes():
            return len(value) <= (blob.pieces + 7) // 8
        case Span():
            return 0 <= value.start <= value.stop <= blob.pieces
        case tuple():
            return len(value) <= ITEMS_MAX and all(_is_sound(each, blob) for each in value)
    return is_dataclass(value) and all(_is_sound(getattr(value, each.name), blob) for each in fields(value))
