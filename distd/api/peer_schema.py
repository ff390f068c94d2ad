"""What is said of other members by this node's operators, as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from distd.api.schema import ErrorView
from distd.core.audience import NodeState
from distd.core.bans import REASON_CHARS_MAX
from distd.core.draining import DrainState
from distd.core.refs import RepoType


class BanRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /v1/peers/{name}/ban`."""

    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


class BanView(Struct, frozen=True):
    """A member that this node has nothing to do with. `by`: a person, or `distd` where `evidence` says what it saw."""

    member: str
    reason: str
    by: str
    since: str
    evidence: tuple[str, ...]


class RecheckView(Struct, frozen=True):
    """What a member that was banned on evidence sent when asked again. `copies`: that were right; `ban` null: it is back."""

    member: str
    verdict: Literal["clean", "wrong", "unknown"]
    copies: int
    text: str
    ban: BanView | None


class BanWord(Struct, frozen=True):
    """How it stands now with one member; null: it is not banned."""

    ban: BanView | None


class SoleView(Struct, frozen=True):
    """A snapshot that no other member in service has. `to`: who is pulling it; `trouble`: why the last one asked did not."""

    type: RepoType
    repo: str
    commit: str
    bytes: int
    to: str | None
    trouble: str | None


class DrainView(Struct, frozen=True):
    """A node on its way out of service. `pulls` are at work, `paused` go on when it is back in service."""

    node: str
    state: DrainState
    since: str | None = None
    by: str | None = None
    pulls: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    only_here: tuple[SoleView, ...] = ()


class ForgottenView(Struct, frozen=True):
    member: str


class NodeBanView(Struct, frozen=True):
    """One node's row: its ban, or its error; both null: the ban is lifted there."""

    name: str
    zone: str
    state: NodeState
    error: ErrorView | None
    ban: BanView | None
