"""A blob that pulls of this node want, and who waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from distd.core.desk_events import Order
from distd.core.rates import SourceMeter
from distd.hub.fetcher import RemoteFile
from distd.pulls.supply import BlobListener


@dataclass
class Want:
    listener: BlobListener
    meter: SourceMeter


@dataclass
class Wanted:
    remote: RemoteFile
    order: Order
    wants: list[Want] = field(default_factory=list)
    arrived_told: bool = False
