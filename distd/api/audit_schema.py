"""The audit as JSON."""

from __future__ import annotations

from msgspec import Struct


class AuditView(Struct, frozen=True):
    """What somebody changed, or was refused. `outcome` is `done` or a problem's code; `detail` the request's own words."""

    seq: int
    time: str
    actor: str
    deed: str
    subject: str
    outcome: str
    detail: str
