"""How long a pull would take that nobody started, as the API shows it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import structs

from distd.api.rate_schema import EstimateView, LinkView
from distd.api.schema import PlanView
from distd.pulls.active import ActivePull
from distd.pulls.forecasts import Forecasts

NO_HUB_YET = "no pull from this Hub was measured yet"
NO_PEERS_YET = "nothing that members sent was measured yet"
LIMITED_FOR_EVER = "a limit lets nothing through"


def with_estimate(plan: PlanView, forecasts: Forecasts, active: Collection[ActivePull]) -> PlanView:
    """The plan with how long it would take beside what runs already, or why that is unknown."""
    left = forecasts.before(plan.bytes_from_hub, plan.bytes_from_peers, active)
    if left is not None:
        return structs.replace(
            plan, eta_s=left.eta_s, eta_low_s=left.low_s, eta_high_s=left.high_s, limited_by=left.limited_by
        )
    if plan.bytes_from_hub and not forecasts.has_measured("cluster"):
        reason = NO_HUB_YET
    elif plan.bytes_from_peers and not forecasts.has_measured("peers"):
        reason = NO_PEERS_YET
    else:
        reason = LIMITED_FOR_EVER
    return structs.replace(plan, unknown_reason=reason)


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
