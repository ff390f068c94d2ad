"""How long a pull would take that nobody started, as the API shows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import structs

from distd.api.rate_schema import EstimateView, LinkView
from distd.api.schema import PlanView
from distd.core.estimate import FILES_MANY, Part
from distd.pulls.active import ActivePull
from distd.pulls.forecasts import Forecasts, is_tiny
from distd.pulls.planner import Plan

NO_HUB_YET = "no pull from this Hub was measured yet"
NO_LARGE_FILE_YET = "only small files from this Hub were measured yet"
NO_SMALL_FILES_YET = "no pull of many small files was measured yet"
NO_PEERS_YET = "nothing that members sent was measured yet"
LIMITED_FOR_EVER = "a limit lets nothing through"


def parts_of(plan: Plan) -> tuple[Part, Part]:
    """What would come from the Hub, and what from members."""
    hub = peers = Part()
    for need in plan.needs:
        missing = need.size_bytes - need.reused_bytes
        part = Part(missing, 1, missing) if is_tiny(need) else Part(missing)
        if need.etag in plan.held_by_others:
            peers += part
        else:
            hub += part
    return hub, peers


def with_estimate(
    view: PlanView, plan: Plan, forecasts: Forecasts, active: Collection[ActivePull]
) -> PlanView:
    """The plan with how long it would take beside what runs already, or why that is unknown."""
    hub, peers = parts_of(plan)
    left = forecasts.before(hub, peers, active)
    if left is not None:
        return structs.replace(
            view, eta_s=left.eta_s, eta_low_s=left.low_s, eta_high_s=left.high_s, limited_by=left.limited_by
        )
    return structs.replace(view, unknown_reason=_why_unknown(hub, peers, forecasts))


def _why_unknown(hub: Part, peers: Part, forecasts: Forecasts) -> str:
    knows = forecasts.has_measured
    knows_hub = knows("hub_large") or knows("hub_capped")
    if hub.size_bytes and not (knows_hub or knows("hub_files")):
        return NO_HUB_YET
    if peers.size_bytes and not (knows("peers_large") or knows("peers_files")):
        return NO_PEERS_YET
    if hub.files >= FILES_MANY and not knows("hub_files"):
        return NO_SMALL_FILES_YET
    if peers.files >= FILES_MANY and not knows("peers_files"):
        return NO_SMALL_FILES_YET
    if hub.size_bytes > hub.file_bytes and not knows_hub:
        return NO_LARGE_FILE_YET
    if peers.size_bytes > peers.file_bytes and not knows("peers_large"):
        return NO_PEERS_YET
    return LIMITED_FOR_EVER


def estimate_view(plan: PlanView, links: Sequence[int]) -> EstimateView:
    missing = plan.bytes_from_hub + plan.bytes_from_peers
    return EstimateView(
        repo=plan.repo,
        type=plan.type,
        revision=plan.revision,
        commit=plan.commit,
        bytes_total=plan.bytes_total,
        bytes_reused=plan.bytes_reused,
        bytes_from_peers=plan.bytes_from_peers,
        bytes_from_hub=plan.bytes_from_hub,
        eta_s=plan.eta_s,
        eta_low_s=plan.eta_low_s,
        eta_high_s=plan.eta_high_s,
        limited_by=plan.limited_by,
        unknown_reason=plan.unknown_reason,
        links=tuple(LinkView(rate, plan.bytes_total / rate, missing / rate) for rate in links),
    )
