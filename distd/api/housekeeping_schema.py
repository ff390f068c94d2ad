"""Housekeeping as JSON: what goes to make room, and what stays and why. Sizes are bytes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class GcRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`free_bytes`: so much has to come free, whether quota and reserve demand it or not."""

    dry_run: bool = False
    free_bytes: Annotated[int, Meta(ge=0, le=1 << 60)] = 0


class EvictedView(Struct, frozen=True):
    type: str
    repo: str
    commit: str
    bytes: int
    last_used_at: str | None
    """RFC 3339; null when no use is known."""


class KeptView(Struct, frozen=True):
    """A snapshot that must not go, and why."""

    type: str
    repo: str
    commit: str
    bytes: int
    reason: str


class GcView(Struct, frozen=True, kw_only=True):
    """What went, or would go where `dry_run`. `enough` is false when quota, reserve or the wish are not met by it."""

    dry_run: bool
    freed_bytes: int
    """On the disk: less than the sizes where somebody else links the files."""
    enough: bool
    evicted: tuple[EvictedView, ...]
    unpublished_blobs: int
    """Blobs that no snapshot has any more."""
    unpublished_bytes: int
    parts: int
    """Begun blobs that no pull wants."""
    kept: tuple[KeptView, ...]
    reads_known: bool
    """False on a file system that keeps no access times: then only open files and uses through distctl are known."""


class ImportedView(Struct, frozen=True):
    """A snapshot that was imported and is published. `refs` lead to it now."""

    type: str
    repo: str
    commit: str
    refs: tuple[str, ...]
    files: int
    bytes: int
    bytes_reused: int
    snapshot_path: str
