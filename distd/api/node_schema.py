"""Answers to a request that names several nodes: a row for each, in order of their names.

In each row either `error` is null or nothing was told or done as far as this node knows; a node that gave no answer to
a change may have made it.
"""

from __future__ import annotations

from msgspec import Struct

from distd.api.schema import ErrorView, ModelView, NodeHoldingView, StatusView
from distd.core.audience import NodeState
from distd.core.refs import RepoType


class NodeStatusView(Struct, frozen=True):
    name: str
    zone: str
    state: NodeState
    error: ErrorView | None
    status: StatusView | None


class NodeModelsView(Struct, frozen=True):
    """`more`: the node holds more repos than are told here (1,000); ask it itself."""

    name: str
    zone: str
    state: NodeState
    error: ErrorView | None
    models: tuple[ModelView, ...]
    more: bool


class NodeRemovedView(Struct, frozen=True):
    name: str
    zone: str
    state: NodeState
    error: ErrorView | None
    removed: tuple[str, ...]
    freed_bytes: int


class NodePinView(Struct, frozen=True):
    name: str
    zone: str
    state: NodeState
    error: ErrorView | None
    model: ModelView | None


class WaitView(Struct, frozen=True):
    """What was waited for is published on `nodes`; `snapshot_path` is null where this node is not among them."""

    type: RepoType
    repo: str
    revision: str
    snapshot_path: str | None
    nodes: tuple[NodeHoldingView, ...]
