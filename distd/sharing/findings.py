"""What a blob's machine found out about wrong bytes and slow members, as events and sentences of a pull's story."""

from __future__ import annotations

from peers import member_actions as act
from peers import piece_set
from peers.piece_set import PieceSet
from peers.suspicion import Evidence, EvidenceKind

RUNS_NAMED_MAX = 5
"""A line in a story stays a line, however many pieces were wrong."""

Finding = (
    act.RejectPiece | act.FoundWrongWhole | act.FoundWrongFetches | act.FoundMembersSlow | act.BlameMember
)


def told_of(finding: Finding) -> tuple[str, str]:
    """The event's name and the sentence."""
    match finding:
        case act.RejectPiece(piece, from_hub):
            source = "the Hub" if from_hub else "the swarm"
            return "piece_rejected", f"piece {piece} from {source} does not match the ledger"
        case act.FoundWrongWhole(fetchers):
            by = f"fetched by {', '.join(fetchers)}, " if fetchers else ""
            return "whole_wrong", (
                f"every piece is what was claimed, {by}but the whole does not have the Hub's hash: "
                "pieces are fetched again and compared, suspects first"
            )
        case act.FoundMembersSlow(pieces, wait_s, fetch_s):
            return "members_slow", (
                f"what members have and this node lacks, {pieces.bit_count()} pieces of this file among it, would come from "
                f"them in {wait_s:.0f} s and from the Hub in {fetch_s:.0f} s: what comes last is fetched from the Hub as well"
            )
        case act.BlameMember(evidence):
            return (
                "member_banned",
                f"member {evidence.member} is banned by this node: {evidence_text(evidence)}",
            )
        case act.FoundWrongFetches(member, pieces, proven):
            many = pieces.bit_count() > 1
            told = f"{named(pieces)} came from the Hub to {member} with wrong bytes: "
            if not proven:
                return "fetch_outvoted", told + "two other members got the same, and others than it"
            are = "they were" if many else "it was"
            return "fetch_wrong", told + f"{are} fetched again by others, and the whole is right with theirs"


def evidence_text(evidence: Evidence) -> str:
    """What is known against the member, with the digests of one piece to compare."""
    digests = f"of piece {evidence.piece}, xxh3 {evidence.wrong.hex()} instead of {evidence.right.hex()}"
    if evidence.kind is EvidenceKind.COPY:
        return f"asked for {named(evidence.pieces)}, it sent other bytes than it says it holds ({digests})"
    return f"it claims false digests of {named(evidence.pieces)}: the whole is right with others ({digests})"


def named(pieces: PieceSet) -> str:
    """The pieces in words, as runs: "piece 9", "pieces 3-7, 12"."""
    runs = [
        f"{span.start}" if len(span) == 1 else f"{span.start}-{span.stop - 1}"
        for span in piece_set.runs(pieces)
    ]
    more = f" and others, {pieces.bit_count()} in all" if len(runs) > RUNS_NAMED_MAX else ""
    word = "piece" if pieces.bit_count() == 1 else "pieces"
    return f"{word} {', '.join(runs[:RUNS_NAMED_MAX])}{more}"
