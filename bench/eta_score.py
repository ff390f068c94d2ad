"""Estimates of time left held against the truth: ours, and two that everybody knows, on the same traces.

A trace is what was seen of a pull twice a second, and when it was published. Scored is from 10 s after the last change
that nobody announced and from 10 % of the bytes on, while at least two seconds are left (an error in per cent of less
says nothing). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

SETTLED_S = 10.0
FROM_SHARE = 0.10
LEFT_MIN_S = 2.0
TQDM_SMOOTHING = 0.3
TQDM_INTERVAL_S = 0.1

MEDIAN_ERROR_MAX = 0.10
MEDIAN_ERROR_LATE_MAX = 0.05
COVERED_MIN = 0.80
HALF_WIDTH_MAX = 0.35


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a pull: seconds, bytes, and what was estimated then, None where nothing was."""

    at: float
    done_bytes: int
    total_bytes: int
    eta_s: float | None
    low_s: float | None
    high_s: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """`began_at`: of the transfer; `changed_at`: the last unannounced change, if any."""

    name: str
    seen: tuple[Seen, ...]
    began_at: float
    published_at: float
    changed_at: float | None = None

    @property
    def is_changing(self) -> bool:
        return self.changed_at is not None


@dataclass(frozen=True, slots=True)
class Score:
    """Medians of |estimate - truth| / truth; `unknown` is the share of samples without an estimate."""

    name: str
    samples: int
    ours: float
    ours_late: float
    mean_rate: float
    tqdm: float
    covered: float
    half_width_max: float
    unknown: float
    negative: int
    is_changing: bool

    def goals(self) -> dict[str, bool]:
        best_other = min(self.mean_rate, self.tqdm)
        goals = {
            "median <= 10 %": self.ours <= MEDIAN_ERROR_MAX,
            "late <= 5 %": self.ours_late <= MEDIAN_ERROR_LATE_MAX,
            "covered >= 80 %": self.covered >= COVERED_MIN,
            "range <= 35 %": self.half_width_max <= HALF_WIDTH_MAX,
            "never negative": self.negative == 0,
        }
        if self.is_changing:
            goals["2 x better"] = self.ours * 2 <= best_other
        else:  # a tenth of a per cent is noise between two that are both right
            goals["no worse"] = self.ours <= best_other + 0.01
        return goals


def score(trace: Trace) -> Score:
    others = list(zip(mean_rate_etas(trace), tqdm_etas(trace), strict=True))
    rows = []
    for seen, (mean, smooth) in zip(trace.seen, others, strict=True):
        left = trace.published_at - seen.at
        share = seen.done_bytes / seen.total_bytes
        settled = trace.changed_at is None or seen.at >= trace.changed_at + SETTLED_S
        if settled and share >= FROM_SHARE and left >= LEFT_MIN_S:
            rows.append((seen, left, share, mean, smooth))
    if not rows:
        raise ValueError(f"{trace.name}: nothing to score: the pull was too short")
    known = [row for row in rows if row[0].eta_s is not None]
    ours = [abs(seen.eta_s - left) / left for seen, left, *_ in known if seen.eta_s is not None]
    late = [
        abs(seen.eta_s - left) / left
        for seen, left, share, *_ in known
        if share >= 0.5 and seen.eta_s is not None
    ]
    inside = [
        seen.low_s <= left <= seen.high_s
        for seen, left, *_ in known
        if seen.low_s is not None and seen.high_s is not None
    ]
    widths = [
        (seen.high_s - seen.low_s) / 2 / seen.eta_s
        for seen, _, share, *_ in known
        if share >= 0.25 and seen.eta_s and seen.low_s is not None and seen.high_s is not None
    ]
    negative = sum(
        value is not None and value < 0 for s in trace.seen for value in (s.eta_s, s.low_s, s.high_s)
    )
    return Score(
        name=trace.name,
        samples=len(rows),
        ours=_median(ours),
        ours_late=_median(late),
        mean_rate=_median(abs(mean - left) / left for _, left, _, mean, _ in rows if mean is not None),
        tqdm=_median(abs(smooth - left) / left for _, left, _, _, smooth in rows if smooth is not None),
        covered=sum(inside) / len(inside) if inside else 0.0,
        half_width_max=max(widths, default=float("inf")),
        unknown=1 - len(known) / len(rows),
        negative=negative,
        is_changing=trace.is_changing,
    )


def mean_rate_etas(trace: Trace) -> list[float | None]:
    """Bytes left over the mean rate since the beginning."""
    first = next((seen.done_bytes for seen in trace.seen), 0)
    etas: list[float | None] = []
    for seen in trace.seen:
        moved, took = seen.done_bytes - first, seen.at - trace.began_at
        etas.append((seen.total_bytes - seen.done_bytes) * took / moved if moved > 0 and took > 0 else None)
    return etas


def tqdm_etas(trace: Trace) -> list[float | None]:
    """As tqdm: averages of bytes and of seconds between updates, each smoothed with 0.3, bias corrected."""
    smooth_bytes, smooth_s, updates = 0.0, 0.0, 0
    etas: list[float | None] = []
    last = (trace.began_at, trace.seen[0].done_bytes) if trace.seen else (0.0, 0)
    for seen in trace.seen:
        took, moved = seen.at - last[0], seen.done_bytes - last[1]
        if took >= TQDM_INTERVAL_S and moved > 0:  # it is told of bytes, and never of silence
            smooth_bytes = TQDM_SMOOTHING * moved + (1 - TQDM_SMOOTHING) * smooth_bytes
            smooth_s = TQDM_SMOOTHING * took + (1 - TQDM_SMOOTHING) * smooth_s
            updates += 1
            last = (seen.at, seen.done_bytes)
        rate = smooth_bytes / smooth_s if updates and smooth_s > 0 else None
        etas.append((seen.total_bytes - seen.done_bytes) / rate if rate else None)
    return etas


def table(scores: Sequence[Score]) -> str:
    """A line a trace and its goals, pass or miss."""
    lines = [
        f"{'trace':<22}{'n':>5}{'ours':>8}{'late':>8}{'mean':>8}{'tqdm':>8}{'inside':>8}{'width':>8}{'none':>7}  goals"
    ]
    for each in scores:
        missed = [goal for goal, met in each.goals().items() if not met]
        told = "pass" if not missed else "MISS: " + ", ".join(missed)
        lines.append(
            f"{each.name:<22}{each.samples:>5}{each.ours:>8.1%}{each.ours_late:>8.1%}{each.mean_rate:>8.1%}"
            f"{each.tqdm:>8.1%}{each.covered:>8.0%}{each.half_width_max:>8.0%}{each.unknown:>7.0%}  {told}"
        )
    return "\n".join(lines)


def _median(values: Iterable[float]) -> float:
    known = list(values)
    return median(known) if known else float("inf")
