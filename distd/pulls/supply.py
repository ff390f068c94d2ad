"""Where a pull's missing blobs come from: the port, and the choice between the Hub alone and the swarm."""

from __future__ import annotations

from typing import Protocol

from distd.core.desk_events import Order
from distd.core.estimate import Outlook
from distd.core.rates import SourceMeter
from distd.errors import DistdError
from distd.hub.fetcher import RemoteFile


class BlobListener(Protocol):
    """Who wants a blob is told what becomes of it. Called on the event loop; must not block."""

    def blob_arrived(self, etag: str) -> None: ...
    def blob_returned(self, etag: str) -> None: ...
    def blob_verified(self, etag: str, by_source: dict[str, int]) -> None: ...
    def blob_failed(self, etag: str, error: DistdError) -> None: ...
    def tell(self, event: str, text: str) -> None: ...


class BlobSupply(Protocol):
    """Gets blobs into the store."""

    def want(self, remote: RemoteFile, order: Order, listener: BlobListener, meter: SourceMeter) -> None:
        """Have the blob fetched; the listener hears of it. `meter` counts its bytes by source as they arrive."""

    def drop(self, etag: str, listener: BlobListener, *, discard: bool) -> None:
        """This listener wants the blob no more; when nobody does, it stops. Idempotent.

        `discard` frees what is stored of it too.
        """

    def progress(self, etag: str) -> dict[str, int] | None:
        """Accepted bytes by source of a blob being fetched; None when it is not open."""

    def outlook(self, etag: str) -> Outlook | None:
        """What there is to know about its end beyond `progress`; None when it is not open."""

    def is_open(self, etag: str) -> bool:
        """Whether the incoming file exists at full length, so that its space is taken."""

    def stalled_reason(self, etag: str) -> str | None:
        """Why nothing of it is arriving, None when there is no particular reason."""
