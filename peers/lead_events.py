"""What can happen to the lead of a blob (past tense), and what it asks of its host (imperative)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from peers.messages import LeadAnswer, LeadRefusal, LeadRequest, Report


@dataclass(frozen=True, slots=True)
class Asked:
    """A member's request arrived, from this host or another."""

    request: LeadRequest


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """A member answered `ProbeMember`; ``report`` is None when it has nothing of the blob."""

    member: str
    report: Report | None


@dataclass(frozen=True, slots=True)
class LiveMembersChanged:
    """The membership table changed.

    ``hub_down_cluster`` is the lowest limit among live members in bytes per second (0 none); ``hub_busy`` are the members
    that fetch from the Hub for any blob, so that one limit covers all blobs. ``draining`` are being taken out of service;
    ``zones`` are those of the members that have one.
    """

    live: frozenset[str]
    hub_down_cluster: float = 0.0
    hub_busy: frozenset[str] = frozenset()

    def hub_share(self, fetching: frozenset[str]) -> float:
        """The cluster's limit shared out evenly over all that fetch, for this blob or another."""
        return self.hub_down_cluster / len(fetching | (self.hub_busy & self.live))

    draining: frozenset[str] = frozenset()
    zones: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeadTicked:
    """The time named by `Lead.deadline` has come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this answer to the member's request of the same sequence."""

    member: str
    answer: LeadAnswer


@dataclass(frozen=True, slots=True)
class Refuse:
    """Send this refusal to the member's request of the same sequence."""

    member: str
    refusal: LeadRefusal


@dataclass(frozen=True, slots=True)
class ProbeMember:
    """Ask this member what it has of the blob and answer with `ProbeAnswered`; a lost probe needs no event."""

    member: str


LeadEvent: TypeAlias = Asked | ProbeAnswered | LiveMembersChanged | LeadTicked
LeadAction: TypeAlias = Answer | Refuse | ProbeMember
