"""Pulls as the API shows them: the record, what the transfers know right now, and the estimate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from distd.api.schema import ErrorView, FileState, FileView, PullRequest, PullView
from distd.core.estimate import Estimate
from distd.core.manifest import ManifestFile
from distd.core.pull import BlobNeed, PullRecord, own_share
from distd.core.rates import SourceMeter
from distd.errors import Problem

RATE_WINDOW_S = 5.0
"""Long enough to smooth what one piece of 16 MiB does to the number, short enough to follow a change."""

Progress = Callable[[str], dict[str, int] | None]


def rfc3339(epoch_s: float | None) -> str | None:
    """Seconds since the epoch as `2026-01-31T12:00:00.123Z`; None stays None."""
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error_view(problem: Problem | None) -> ErrorView | None:
    if problem is None:
        return None
    return ErrorView(problem.code, problem.title, problem.detail, problem.retryable)


def need_sources(record: PullRecord, need: BlobNeed, progress: Progress) -> dict[str, int]:
    """Accepted bytes of one needed blob by source, as this pull counts them."""
    if need.etag in record.got:
        return record.got[need.etag]
    sources = progress(need.etag)
    return own_share(need, sources) if sources is not None else {"reused": need.reused_bytes}


def pull_view(
    request: PullRequest,
    record: PullRecord,
    *,
    progress: Progress,
    files: tuple[ManifestFile, ...] | None,
    meter: SourceMeter,
    now: float,
    stalled_reason: str | None,
    left: Estimate | None,
) -> PullView:
    """The pull as JSON types. `files` None leaves the file list out (for lists of pulls). `now` is monotonic."""
    by_need = {need.etag: need_sources(record, need, progress) for need in record.needs}
    hub = sum(sources.get("hub", 0) for sources in by_need.values())
    peers = sum(sources.get("peers", 0) for sources in by_need.values())
    reused = record.reused_bytes + sum(sources.get("reused", 0) for sources in by_need.values())
    done = hub + peers + reused
    active = record.state in ("downloading", "verifying")
    hub_rate = meter.hub.rate(RATE_WINDOW_S, now) if active else 0.0
    peers_rate = meter.peers.rate(RATE_WINDOW_S, now) if active else 0.0
    if record.state == "complete":
        left = Estimate(0.0, 0.0, 0.0, "waiting")
    file_views = tuple(_file_view(record, by_need, file) for file in files or ())
    return PullView(
        id=record.id,
        repo=request.repo,
        type=request.type,
        revision=request.revision,
        commit=record.commit,
        state=record.state,
        include=request.include,
        exclude=request.exclude,
        weights=request.weights,
        priority=request.priority,
        pin=request.pin,
        bytes_total=record.bytes_total,
        bytes_done=done,
        bytes_from_hub=hub,
        bytes_from_peers=peers,
        bytes_reused=reused,
        files_total=len(files) if files is not None and record.commit is not None else None,
        files_done=(
            sum(view.state == "verified" for view in file_views)
            if files is not None and record.commit is not None
            else None
        ),
        rate_bytes_per_s=hub_rate + peers_rate,
        rate_hub_bytes_per_s=hub_rate,
        rate_peers_bytes_per_s=peers_rate,
        eta_s=left.eta_s if left else None,
        eta_low_s=left.low_s if left else None,
        eta_high_s=left.high_s if left else None,
        limited_by=_limited_by(record, left, stalled_reason),
        stalled_reason=stalled_reason,
        files=file_views,
        error=error_view(record.problem),
        snapshot_path=record.snapshot_path,
        created_at=rfc3339(record.created_at) or "",
        started_at=rfc3339(record.started_at),
        finished_at=rfc3339(record.finished_at),
    )


def _limited_by(record: PullRecord, left: Estimate | None, stalled_reason: str | None) -> str | None:
    if record.state == "complete":
        return None
    if left is not None:
        return left.limited_by
    return "waiting" if stalled_reason is not None else None


def _file_view(record: PullRecord, by_need: dict[str, dict[str, int]], file: ManifestFile) -> FileView:
    sources = by_need.get(file.etag)
    if sources is None or file.etag in record.got:
        return FileView(file.path, file.size_bytes, file.etag, "verified", file.size_bytes)
    done = sum(sources.values())
    state: FileState = "waiting" if done == 0 else "downloading"
    if done == file.size_bytes and file.size_bytes:
        state = "verifying"
    if record.state == "failed":
        state = "failed"
    return FileView(file.path, file.size_bytes, file.etag, state, done)
