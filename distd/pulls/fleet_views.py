"""A pull on several nodes as the API shows it.

Bytes, rates, files and the snapshot's path are those of this node's own part, as for any pull, and stay
empty where it has none; state, error, times and estimate are the whole's. What every node does stands in
`nodes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from distd.api.schema import NodePullView, PullRequest, PullView
from distd.core.fleet import FleetRecord, Part, Report
from distd.core.pull import FINISHED
from distd.errors import Problem
from distd.pulls.views import error_view, rfc3339


def fleet_view(
    request: PullRequest,
    record: FleetRecord,
    own: PullView | None,
    me: str,
    troubles: Mapping[str, str | None],
) -> PullView:
    """`own` is this node's pull as it is now, None without one; `troubles` why a node's numbers are old."""
    parts = dict(record.parts)
    if own is not None and not parts[me].finished:
        parts[me] = Part(report=report_of(own))  # at hand, so fresher than the last round
    reports = [part.report for part in parts.values() if part.report is not None]
    is_finished = record.state in FINISHED
    return PullView(
        id=record.id,
        repo=request.repo,
        type=request.type,
        revision=request.revision,
        commit=next((report.commit for report in reports if report.commit), None),
        state=record.state,
        include=request.include,
        exclude=request.exclude,
        weights=request.weights,
        priority=request.priority,
        pin=request.pin,
        bytes_total=own.bytes_total if own else None,
        bytes_done=own.bytes_done if own else 0,
        bytes_from_hub=own.bytes_from_hub if own else 0,
        bytes_from_peers=own.bytes_from_peers if own else 0,
        bytes_reused=own.bytes_reused if own else 0,
        files_total=own.files_total if own else None,
        files_done=own.files_done if own else None,
        rate_bytes_per_s=own.rate_bytes_per_s if own else 0.0,
        rate_hub_bytes_per_s=own.rate_hub_bytes_per_s if own else 0.0,
        rate_peers_bytes_per_s=own.rate_peers_bytes_per_s if own else 0.0,
        eta_s=_slowest(parts.values(), lambda report: report.eta_s),
        eta_low_s=_slowest(parts.values(), lambda report: report.eta_low_s),
        eta_high_s=_slowest(parts.values(), lambda report: report.eta_high_s),
        limited_by=_limit_of_slowest(parts.values()),
        stalled_reason=own.stalled_reason if own and not is_finished else None,
        files=own.files if own else (),
        error=error_view(record.problem),
        snapshot_path=own.snapshot_path if own and record.state == "complete" else None,
        created_at=rfc3339(record.created_at) or "",
        started_at=rfc3339(record.started_at),
        finished_at=rfc3339(record.finished_at),
        nodes=tuple(_node_view(name, part, troubles.get(name)) for name, part in sorted(parts.items())),
    )


def report_of(view: PullView) -> Report:
    """What a node tells the coordinator of its part."""
    error = view.error
    return Report(
        pull_id=view.id,
        state=view.state,
        commit=view.commit,
        bytes_total=view.bytes_total,
        bytes_done=view.bytes_done,
        bytes_from_hub=view.bytes_from_hub,
        bytes_from_peers=view.bytes_from_peers,
        bytes_reused=view.bytes_reused,
        rate_hub_bytes_per_s=view.rate_hub_bytes_per_s,
        rate_peers_bytes_per_s=view.rate_peers_bytes_per_s,
        eta_s=view.eta_s,
        eta_low_s=view.eta_low_s,
        eta_high_s=view.eta_high_s,
        limited_by=view.limited_by,
        stalled_reason=view.stalled_reason,
        snapshot_path=view.snapshot_path,
        problem=Problem(error.code, error.title, error.detail, error.retryable) if error else None,
    )


def _node_view(name: str, part: Part, trouble: str | None) -> NodePullView:
    report = part.report or Report("", part.state)
    is_moving = not part.finished and trouble is None  # what an old answer said of rates holds no more
    hub = report.rate_hub_bytes_per_s if is_moving else 0.0
    peers = report.rate_peers_bytes_per_s if is_moving else 0.0
    return NodePullView(
        name=name,
        pull_id=report.pull_id or None,
        state=part.state,
        bytes_done=report.bytes_done,
        eta_s=_eta(part, report.eta_s) if trouble is None else None,
        error=error_view(part.problem),
        bytes_total=report.bytes_total,
        bytes_from_hub=report.bytes_from_hub,
        bytes_from_peers=report.bytes_from_peers,
        bytes_reused=report.bytes_reused,
        rate_bytes_per_s=hub + peers,
        rate_hub_bytes_per_s=hub,
        rate_peers_bytes_per_s=peers,
        stalled_reason=None if part.finished else trouble or report.stalled_reason,
        snapshot_path=report.snapshot_path,
        eta_low_s=_eta(part, report.eta_low_s) if trouble is None else None,
        eta_high_s=_eta(part, report.eta_high_s) if trouble is None else None,
        limited_by=report.limited_by if is_moving else None,
    )


def _eta(part: Part, eta_s: float | None) -> float | None:
    if part.finished:
        return 0.0 if part.state == "complete" else None
    return eta_s


def _slowest(parts: Iterable[Part], estimate: Callable[[Report], float | None]) -> float | None:
    """The whole is ready when its last node is; unknown as long as that of any node is."""
    known = [_eta(part, estimate(part.report)) if part.report else None for part in parts]
    times = [time for time in known if time is not None]
    return max(times) if len(times) == len(known) else None


def _limit_of_slowest(parts: Iterable[Part]) -> str | None:
    """What decides when the last node is ready; None while that of any is unknown."""
    reports = [part.report for part in parts if not part.finished]
    known = [report for report in reports if report is not None and report.eta_s is not None]
    if not known or len(known) < len(reports):
        return None
    return max(known, key=lambda report: report.eta_s or 0.0).limited_by
