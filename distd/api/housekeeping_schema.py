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


class AdoptRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`path`: a Hugging Face cache on the daemon's machine. `copy`: what cannot be linked or cloned may be copied."""

    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    copy: bool = False


class AdoptedView(Struct, frozen=True):
    """One snapshot. Bytes by what became of them; `files_missing` are those of the commit that were not there or not taken."""

    type: str
    repo: str
    commit: str
    refs: tuple[str, ...] = ()
    files: int = 0
    files_missing: int = 0
    bytes_linked: int = 0
    bytes_cloned: int = 0
    bytes_copied: int = 0
    bytes_held: int = 0
    bytes_not_taken: int = 0
    wrong: tuple[str, ...] = ()
    """Files with another hash than the list says, or that cannot be read."""
    snapshot_path: str | None = None
    """Null when nothing of it could be published."""
    reason: str | None = None
    """What is in the way of the rest, and what to do."""


class AdoptView(Struct, frozen=True):
    path: str
    snapshots: tuple[AdoptedView, ...]


class ScrubView(Struct, frozen=True):
    """Hashing again what is stored. Bytes and rotten files are of this run of the daemon."""

    interval_s: float
    oldest_check_at: str | None
    """RFC 3339: when the file that waits longest was checked or written."""
    bytes_checked: int
    rotten_files: int
