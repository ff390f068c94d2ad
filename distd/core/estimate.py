"""When a pull will be published: what is left, over how fast it goes, the slowest part deciding.

Four things have to happen, side by side: the bytes that nobody of the cluster holds come from the Hub at the rate at
which the cluster gets them; the bytes that this node lacks come in at this node's rate; its tiny files are asked for one by
one, which takes answers and hardly bytes, so they are counted and not weighed; everything is hashed. Then it is published. Work that stands before the pull, of older or more urgent pulls, counts with it. What is not known is
None: an estimate that rests on a guess is worse than none.

Pure. Sizes are bytes, rates bytes per second, times seconds from now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Limit = Literal["hub", "intake", "peer", "files", "disk", "hashing", "limit", "waiting"]
"""What decides the time left. `hub`: the cluster's way to the Hub; `peer`: what members send; `intake`: all that this
node takes in, where neither stands out; `files`: many small ones, each of which waits for an answer; `limit`: a configured limit; `waiting`: nothing moves, and why is told apart."""

AT_LIMIT = 0.85
"""From this share of a configured limit on it is the limit that decides, and not the link behind it."""
HUB_DECIDES = 0.85
"""Where the Hub needs nearly as long as everything together, it is the Hub: the bytes come on from there at once."""
MOSTLY = 0.9
FILES_MANY = 32
"""Tiny files that are fewer than this go along with the rest: in flight at once, or nearly."""
FOREVER_S = 10 * 365 * 86400.0
"""An end farther away than this is not known."""
FINISH_SLACK_S = 0.4
"""Half-width of every range at least: flushing, renaming and linking vary by so much."""
RANGE_MAX = 0.33
"""Half-width of every range at most, as a share of the estimate: a wider one says nothing."""
BACKLOG_S = 2.0
"""With more than so much hashing waiting, it is hashing that lags, and its rate is what it does now; with less, it
waits for bytes, and its rate is what it did while it had some."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A rate, and the half-width of its range as a share of it."""

    rate: float
    spread: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a supply knows about a blob that it gets, beyond the bytes that are there."""

    hashed_bytes: int
    hub_left_bytes: int | None
    """Held by nobody in the cluster, as far as is known here; None: whatever is missing comes from the Hub."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is left until a pull is published."""

    local_bytes: int
    """Missing on this node, with those of pulls that go first."""
    hub_bytes: int
    """Of those, what nobody in the cluster holds yet."""
    unhashed_bytes: int
    """Of the pull's own: missing, or arrived and not hashed."""
    backlog_bytes: int
    """Arrived and not hashed."""
    files: int = 0
    """Tiny ones that are missing, with those of pulls that go first."""
    file_bytes: int = 0
    """Of `local_bytes`, what these lack."""


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit on what comes from the Hub, from a moment on until the next one; None: no limit."""

    starts_in_s: float
    rate: float | None


@dataclass(frozen=True, slots=True)
class Speeds:
    """What is known of the rates; None is unknown. `from_peers`: share of the intake of late that members sent."""

    local: Speed | None
    hub: Speed | None
    hashing: Speed | None
    files: Speed | None = None
    """Tiny files a second. The other rates are of bytes, seen while larger files came: tiny ones alone fill no link."""
    from_peers: float = 0.0
    finish_s: float = 0.0
    """From the last byte hashed to published."""
    caps: tuple[Cap, ...] = ()
    """In order; the first begins at 0 or before. None: no limits at all."""
    link: float | None = None
    """What the Hub's link gave when no limit held it back; None is unknown."""
    disk_bound: bool = False
    """Hashing waits for the disk more than it computes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds from now until published, between `low_s` and `high_s`; `limited_by` is what decides it."""

    eta_s: float
    low_s: float
    high_s: float
    limited_by: Limit


def estimate(load: Load, speeds: Speeds) -> Estimate | None:
    """None where a rate that matters is unknown, or nothing moves. Never negative."""
    found: list[tuple[float, float, Limit]] = []  # seconds, spread, what it is
    by_file = _one_by_one(load.files, speeds.files)
    if by_file is None and load.files >= FILES_MANY:
        return None
    if load.local_bytes > (load.file_bytes if by_file else 0):
        arrival = _arrival(load, speeds)
        if arrival is None:
            return None
        found.append(arrival)
    hashing = speeds.hashing
    if load.unhashed_bytes > 0 and hashing is not None and hashing.rate > 0:
        of_hash: Limit = "disk" if speeds.disk_bound else "hashing"
        found = [(after + load.backlog_bytes / hashing.rate, *rest) for after, *rest in found]  # type: ignore[misc]  # a tuple's tail
        found.append((load.unhashed_bytes / hashing.rate, hashing.spread, of_hash))
    elif load.unhashed_bytes > 0 and not found and not by_file:
        return None  # nothing is left but hashing, and how long that takes nobody knows
    if by_file:
        found.append(by_file)
    if not found:
        return _between(0.0, 0.0, speeds.finish_s, "disk")
    seconds, spread, limit = max(found)
    return _between(seconds, spread, speeds.finish_s, limit)


@dataclass(frozen=True, slots=True)
class Part:
    """What one source would have to give. `file_bytes` are those of the tiny files among them."""

    size_bytes: int = 0
    files: int = 0
    file_bytes: int = 0

    def __add__(self, other: Part) -> Part:
        return Part(
            self.size_bytes + other.size_bytes, self.files + other.files, self.file_bytes + other.file_bytes
        )


@dataclass(frozen=True, slots=True)
class Source:
    """What a source gave before: bytes a second while larger files came, and tiny files a second. None is unknown."""

    link: Speed | None
    files: Speed | None


def before_pull(
    hub: Part, peers: Part, from_hub: Source, from_peers: Source, speeds: Speeds, start_s: float
) -> Estimate | None:
    """Of a pull that is not started: what comes from the Hub and what members hold come side by side, and so do bytes
    and tiny files.

    None where a source would have to give what it was never measured at.
    """
    found: list[tuple[float, float, Limit]] = [(0.0, 0.0, "hashing")]
    for part, source, caps in (hub, from_hub, speeds.caps), (peers, from_peers, ()):
        by_file = _one_by_one(part.files, source.files)
        if by_file is None and part.files >= FILES_MANY:
            return None
        if by_file:
            found.append(by_file)
        link = source.link
        if link is not None and link.rate > 0 and part.size_bytes > 0:
            seconds, capped = _over_caps(part.size_bytes, link.rate, caps, link.rate)
            if seconds is None:
                return None
            found.append((seconds, link.spread, "limit" if capped else "hub" if part is hub else "peer"))
        elif part.size_bytes > (part.file_bytes if by_file else 0):
            return None
    if speeds.hashing is not None and speeds.hashing.rate > 0:
        size_bytes = hub.size_bytes + peers.size_bytes
        found.append((size_bytes / speeds.hashing.rate, speeds.hashing.spread, "hashing"))
    seconds, spread, limit = max(found)
    return _between(seconds, spread, start_s + speeds.finish_s, limit)


def _one_by_one(files: int, speed: Speed | None) -> tuple[float, float, Limit] | None:
    return (files / speed.rate, speed.spread, "files") if files and speed and speed.rate > 0 else None


def run_down(found: Estimate, gone_s: float) -> Estimate:
    """The estimate so many seconds later, with nothing new seen; at least zero."""
    share = max(0.0, found.eta_s - gone_s) / found.eta_s if found.eta_s > 0 else 0.0
    return Estimate(found.eta_s * share, found.low_s * share, found.high_s * share, found.limited_by)


def _arrival(load: Load, speeds: Speeds) -> tuple[float, float, Limit] | None:
    local, hub = speeds.local, speeds.hub
    by_local = load.local_bytes / local.rate if local is not None and local.rate > 0 else None
    if load.hub_bytes <= 0 or hub is None or hub.rate <= 0:
        if by_local is None or local is None:
            return None
        if 0 < load.hub_bytes < load.local_bytes:
            return None  # members send faster than the rest will come, and how fast that is nobody knows
        return by_local, local.spread, "peer" if speeds.from_peers >= MOSTLY else "intake"
    by_hub, capped = _over_caps(load.hub_bytes, hub.rate, speeds.caps, speeds.link)
    if by_hub is None:
        return None
    limit: Limit = "limit" if capped else "hub"
    if by_local is None or local is None or capped or binds(hub.rate, speeds.caps) or by_hub >= by_local:
        # A moving limit binds both, now and when it is another: what comes from the Hub is most of what comes in.
        return by_hub, hub.spread, limit
    if by_hub >= HUB_DECIDES * by_local:
        return by_local, local.spread, limit
    return by_local, local.spread, "peer" if speeds.from_peers >= MOSTLY else "intake"


def _over_caps(
    size_bytes: float, rate: float, caps: Sequence[Cap], link: float | None = None
) -> tuple[float | None, bool]:
    """Seconds for so many bytes at `rate` or what limits allow then, and whether a limit decides.

    While a limit binds, what the link could do is not seen: past its end it is what it was without (`link`), or where
    that was never seen, goes on at `rate`, so that a window that opens can only bring the end nearer. A limit of later that is
    lower slows it down.
    """
    if not caps:
        return size_bytes / rate, False
    if binds(rate, caps) and link is not None:
        rate = max(rate, link)
    at, left, capped_bytes = 0.0, size_bytes, 0.0
    for index, cap in enumerate(caps):
        until = caps[index + 1].starts_in_s if index + 1 < len(caps) else None
        allowed = rate if cap.rate is None else min(rate, cap.rate)
        if allowed > 0 and (until is None or left <= allowed * (until - at)):
            capped_bytes += left if binds(rate, caps[index:]) else 0.0
            return at + left / allowed, capped_bytes > size_bytes / 2
        if until is None:
            return None, True
        moved = allowed * max(0.0, until - at)
        capped_bytes += moved if binds(rate, caps[index:]) else 0.0
        left, at = left - moved, max(at, until)
    return None, True


def binds(rate: float, caps: Sequence[Cap]) -> bool:
    """Whether the first of the limits is what holds this rate where it is."""
    return bool(caps) and caps[0].rate is not None and rate >= AT_LIMIT * caps[0].rate


def _between(seconds: float, spread: float, finish_s: float, limit: Limit) -> Estimate | None:
    eta_s = max(0.0, seconds) + max(0.0, finish_s)
    if eta_s > FOREVER_S:
        return None
    half = min(max(seconds * spread, FINISH_SLACK_S), RANGE_MAX * eta_s)
    return Estimate(eta_s, max(0.0, eta_s - half), eta_s + half, limit)


@dataclass(frozen=True, slots=True)
class Said:
    """An estimate given at a moment (monotonic seconds), kept to be held against what happened."""

    at: float
    done_share: float
    eta_s: float
    low_s: float
    high_s: float


SCORED_FROM = 0.1
"""Share of the bytes from which on estimates count: before, nothing but a prior is known."""
SCORED_LEFT_MIN_S = 1.0
"""With less left than this an error in per cent says nothing."""


def error_ratio(said: Said, published_at: float) -> float | None:
    """|estimate - truth| / truth of one estimate; None where it is not scored."""
    left_s = published_at - said.at
    if said.done_share < SCORED_FROM or left_s < SCORED_LEFT_MIN_S:
        return None
    return abs(said.eta_s - left_s) / left_s
