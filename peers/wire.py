"""What members send each other, as bytes: msgpack, every size bounded, unknown fields ignored.

Every body is an envelope ``[wire_version, content]``. A member reads its own wire version and the one below. Content is
a map of named fields, except lines of the membership table, which are arrays, because there are many; fields are
only added, at the end, with a default. What does not fit is refused whole: nothing here trusts its input, members included.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from peers import addresses
from peers.auth import SECRET_ID_BYTES
from peers.ledger import MEMBER_NAME_BYTES_MAX
from peers.membership import MEMBERS_MAX, MemberEntry, MemberFacts, MemberState, Said
from peers.metainfo import WIRE_VERSION
from peers.roster import BUCKETS, SUM_BYTES
from peers.secret import SECRETS_MAX

MESSAGE_BYTES_MAX = 4 << 20
"""Four times the largest message there is: a membership table of 4,096 members with long names is about 1 MiB, a lead's
answer with 1,024 claims and a set of 45,000 pieces 60 KB."""

SUMS_SINCE_VERSION = 1
"""From this wire version on members compare sums of their tables; before, whole tables were exchanged."""

TEXT_CHARS_MAX = 1024
"""Details for people."""

_VERSION_MAX = 65_535

T = TypeVar("T")

_Name = Annotated[str, Meta(min_length=1, max_length=MEMBER_NAME_BYTES_MAX)]
_Address = Annotated[str, Meta(max_length=MEMBER_NAME_BYTES_MAX + len("[]:65535"))]
_Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
_Version = Annotated[int, Meta(ge=0, le=_VERSION_MAX)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 62))]
_Rate = Annotated[float, Meta(ge=0, le=1e15)]
_Clock = Annotated[float, Meta(ge=0, le=1e12)]


class Unreadable(ValueError):
    """Bytes that no member of a wire version spoken here writes. Sending them again does not help."""

    retryable = False

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.what} unreadable: {self.reason}"


class _Envelope(Struct, array_like=True):
    wire_version: _Version
    content: msgspec.Raw


class Refusal(Struct, frozen=True):
    """The body of every proven answer that is not 200. Whoever refuses names itself, so that a sender can learn whom it
    reached; ``clock_s`` is its time of day in seconds since the epoch."""

    code: _Text
    member: _Name
    start_id: Annotated[bytes, Meta(max_length=16)]
    wire_version: _Version
    clock_s: _Clock
    detail: _Text = ""
    retryable: bool = False


class _Row(Struct, array_like=True):
    name: _Name
    incarnation: _Count
    state: MemberState
    address: _Address
    zone: _Text = ""
    hot_address: _Address = ""
    sealed_address: _Address = ""
    fetches_hub: bool = True
    hub_down_cluster: _Rate = 0.0
    hub_busy: bool = False
    wire_version: _Version = 1
    secret_ids: Annotated[bytes, Meta(max_length=SECRETS_MAX * SECRET_ID_BYTES)] = b""
    forgotten: bool = False
    draining: bool = False


class _Gossip(Struct):
    rows: Annotated[list[_Row], Meta(max_length=MEMBERS_MAX)]
    clock_s: _Clock = 0.0
    sums: Annotated[bytes, Meta(max_length=BUCKETS * SUM_BYTES)] = b""
    members: Annotated[int, Meta(ge=0, le=MEMBERS_MAX)] = 0
    wants_all: bool = False


_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPES = msgspec.msgpack.Decoder(_Envelope)


def versions_spoken(own: int = WIRE_VERSION) -> frozenset[int]:
    """One's own and the neighbour below, for one release."""
    return frozenset({own, max(own - 1, 0)})


def encode(content: object, wire_version: int = WIRE_VERSION) -> bytes:
    """Put anything msgspec encodes into an envelope. Raises Unreadable when it is too long to be accepted."""
    body = _ENCODER.encode(_Envelope(wire_version, msgspec.Raw(_ENCODER.encode(content))))
    if len(body) > MESSAGE_BYTES_MAX:
        raise Unreadable(type(content).__name__, f"{len(body)} bytes of at most {MESSAGE_BYTES_MAX}")
    return body


def decode(body: bytes, kind: type[T], own_version: int = WIRE_VERSION) -> T:
    """Take the content out of an envelope. Raises Unreadable."""
    if len(body) > MESSAGE_BYTES_MAX:
        raise Unreadable(kind.__name__, f"{len(body)} bytes of at most {MESSAGE_BYTES_MAX}")
    try:
        envelope = _ENVELOPES.decode(body)
        if envelope.wire_version not in versions_spoken(own_version):
            raise Unreadable(kind.__name__, f"wire version {envelope.wire_version} is not spoken here")
        return msgspec.msgpack.decode(envelope.content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(kind.__name__, str(error)) from error


def version_of(body: bytes) -> int:
    """The wire version a received body is written in: answer in the same. Raises Unreadable."""
    try:
        return _ENVELOPES.decode(body).wire_version
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Unreadable("message", str(error)) from error


def encode_gossip(said: Said, clock_s: float, wire_version: int = WIRE_VERSION) -> bytes:
    """Lines of the membership table, with the sender's time of day in seconds since the epoch."""
    rows = [
        _Row(
            entry.name,
            entry.incarnation,
            entry.state,
            entry.facts.address,
            entry.facts.zone,
            entry.facts.hot_address,
            entry.facts.sealed_address,
            entry.facts.fetches_hub and not entry.facts.draining,  # told so to releases that know no draining
            entry.facts.hub_down_cluster,
            entry.facts.hub_busy,
            entry.facts.wire_version,
            b"".join(entry.facts.secret_ids),
            entry.forgotten,
            entry.facts.draining,
        )
        for entry in said.lines
    ]
    sums = b"".join(each.to_bytes(SUM_BYTES, "big") for each in said.sums)
    return encode(_Gossip(rows, clock_s, sums, said.members, said.wants_all), wire_version)


def decode_gossip(body: bytes, own_version: int = WIRE_VERSION) -> tuple[Said, float]:
    """What was said and the sender's time of day. Raises Unreadable."""
    gossip = decode(body, _Gossip, own_version)
    if len(gossip.sums) not in (0, BUCKETS * SUM_BYTES):
        raise Unreadable("gossip", f"{len(gossip.sums)} bytes of sums")
    sums = tuple(
        int.from_bytes(gossip.sums[start : start + SUM_BYTES], "big")
        for start in range(0, len(gossip.sums), SUM_BYTES)
    )
    lines = tuple(_entry(row) for row in gossip.rows)
    return Said(lines, sums, gossip.members, gossip.wants_all), gossip.clock_s


def _entry(row: _Row) -> MemberEntry:
    if len(row.name.encode()) > MEMBER_NAME_BYTES_MAX:
        raise Unreadable("member", f"a name of more than {MEMBER_NAME_BYTES_MAX} bytes")
    try:
        for address in (row.address, row.hot_address, row.sealed_address):
            if address or address is row.address:
                addresses.split(address)
    except ValueError as error:
        raise Unreadable(f"member {row.name}", str(error)) from error
    ids = row.secret_ids
    if len(ids) % SECRET_ID_BYTES:
        raise Unreadable(f"member {row.name}", "ids of secrets of another length")
    facts = MemberFacts(
        row.address,
        row.zone,
        row.hot_address,
        row.sealed_address,
        row.fetches_hub,
        row.hub_down_cluster,
        row.hub_busy,
        row.wire_version,
        tuple(ids[start : start + SECRET_ID_BYTES] for start in range(0, len(ids), SECRET_ID_BYTES)),
        row.draining,
    )
    return MemberEntry(row.name, row.incarnation, row.state, facts, row.forgotten)


def encode_refusal(refusal: Refusal) -> bytes:
    """Without an envelope: it is how members of distant wire versions learn which they speak."""
    return _ENCODER.encode(refusal)


def decode_refusal(body: bytes) -> Refusal:
    """Raises Unreadable."""
    try:
        return msgspec.msgpack.decode(body, type=Refusal)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Unreadable("refusal", str(error)) from error
