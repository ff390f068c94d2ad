"""How fast something goes, from samples of a count that only grows: steady where it is steady, quick where it changes.

The rate is the mean since the last change, so it gets calmer the longer nothing happens. A change is seen by comparing
the newest seconds with all before them: when the two differ by more than their own scatter explains, what is older
is forgotten. (Adaptive windowing, as ADWIN, with the cuts tried thinned out geometrically.) An exponential average
has one memory for both: short, it follows noise; long, it is late after a change.

Pure. Times are monotonic seconds; counts are bytes, or whatever is counted.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

from distd.core.estimate import Speed

SAMPLES_MAX = 600
"""At two samples a second five minutes: enough for a mean within a per cent, short enough to follow a slow drift."""
INTERVAL_MIN_S = 0.4
"""Samples nearer to each other than this are left out: they would say more about parts and buffers than about a rate."""
RECENT_MIN_S = 2.5
"""The shortest stretch that can show a change; TCP and parts of some mebibytes make less than that lumpy."""
OLDER_MIN_SAMPLES = 3
CERTAIN = 6.0
"""Standard errors between two stretches before they count as different: some dozens of cuts are tried twice a second."""
BATCH = 5
"""Samples to a batch, 2.5 s: neighbouring samples resemble each other, batches hardly, so scatter is taken from those."""
INFLATION = 3.0
"""Of a variance from single samples, while there are too few for batches."""
CHANGE_MIN = 0.12
"""A smaller change of the rate is left to the mean; the range covers it."""
SPREAD_MIN = 0.07
"""Links vary over minutes by about so much even where seconds look steady."""
SPREAD_MAX = 0.33
"""Half-width of the range at most: a wider one says nothing."""
SETTLING_S = 10.0
"""A rate seen for less than this is less certain than its scatter tells."""
CHANGES_KEPT = 8
CHANGES_REMEMBERED_S = 120.0
"""A link that changed lately may change again: for so long the range stays wider."""


class Pace:
    """Feed `observe` about twice a second; `rate` and `spread` are None and 1 until there is something to say."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES_MAX)
        self._changes: deque[float] = deque(maxlen=CHANGES_KEPT)

    def observe(self, total: float, now: float) -> None:
        """`total` so far. A total below the last one begins anew: the count was of something else."""
        if self._samples:
            last_at, last = self._samples[-1]
            if now - last_at < INTERVAL_MIN_S:
                return
            if total < last:
                self._samples.clear()
            elif len(self._samples) == 1 and total == last:
                self._samples.clear()  # nothing moves yet: the clock begins with the first byte
        self._samples.append((now, total))
        self._forget_what_changed(now)

    def restart(self) -> None:
        """What was seen says nothing about what comes, for instance because the source is another one now."""
        self._samples.clear()

    @property
    def seen_s(self) -> float:
        """How long the present rate has held."""
        return self._samples[-1][0] - self._samples[0][0] if self._samples else 0.0

    def rate(self) -> float | None:
        """Per second; None before RECENT_MIN_S of it were seen."""
        if self.seen_s < RECENT_MIN_S:
            return None
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start)

    def spread(self) -> float:
        """Half-width of the range of the rate, as a share of it: between SPREAD_MIN and SPREAD_MAX."""
        rate = self.rate()
        if not rate:
            return SPREAD_MAX
        now = self._samples[-1][0]
        settling = 0.10 * max(0.0, 1.0 - self.seen_s / SETTLING_S)
        unrest = 0.06 * sum(now - at < CHANGES_REMEMBERED_S for at in self._changes)
        return min(SPREAD_MAX, SPREAD_MIN + settling + unrest + 2 * self._batch_error(rate))

    def _batch_error(self, rate: float) -> float:
        """Standard error of the mean by batches, which unlike single samples are nearly independent; a share of the rate."""
        samples = self._samples
        size = max(1, (len(samples) - 1) // 8)
        ends = [samples[index] for index in range(0, len(samples), size)]
        rates = [(b - a) / (t - s) for (s, a), (t, b) in pairwise(ends)]
        if len(rates) < 2:
            return 0.1
        mean = sum(rates) / len(rates)
        variance = sum((each - mean) ** 2 for each in rates) / (len(rates) - 1)
        return math.sqrt(variance / len(rates)) / rate

    def _forget_what_changed(self, now: float) -> None:
        cut = self._best_cut()
        if cut is None:
            return
        for _ in range(cut):
            self._samples.popleft()
        self._changes.append(now)

    def _best_cut(self) -> int | None:
        """Index of the sample from which on the rate is another one than before; None while it is the same."""
        samples = list(self._samples)
        end, newest = samples[-1]
        rates = [(b - a) / (t - s) for (s, a), (t, b) in pairwise(samples)]
        sums, squares = [0.0], [0.0]
        for rate in rates:
            sums.append(sums[-1] + rate)
            squares.append(squares[-1] + rate * rate)
        count = len(rates)
        scatter = _scatter(sums)
        best, best_excess = None, 0.0
        recent = 3
        while count - recent >= OLDER_MIN_SAMPLES:
            older = count - recent
            start, at_start = samples[older]
            if end - start >= RECENT_MIN_S:
                before = (at_start - samples[0][1]) / (start - samples[0][0])
                after = (newest - at_start) / (end - start)
                within = _within(sums[older], squares[older], older)
                within += _within(sums[-1] - sums[older], squares[-1] - squares[older], recent)
                single = within / max(1, count - 2)
                variance = max(single, scatter) if scatter is not None else INFLATION * single
                threshold = max(
                    CERTAIN * math.sqrt(variance * (1 / older + 1 / recent)), CHANGE_MIN * max(before, after)
                )
                excess = abs(after - before) - threshold
                if excess > 0 and excess / threshold > best_excess:
                    best, best_excess = older, excess / threshold
            recent = max(recent + 1, int(recent * 1.15))
        return best


def speed_of(pace: Pace) -> Speed | None:
    """None while the rate is unknown or nothing moves."""
    rate = pace.rate()
    return Speed(rate, pace.spread()) if rate else None


def _within(total: float, square: float, count: int) -> float:
    """Sum of squared deviations from the mean of `count` numbers with this sum and sum of squares."""
    return max(0.0, square - total * total / count)


def _scatter(sums: list[float]) -> float | None:
    """Variance of a rate over one sample as it adds up over many, from the steps between batches; None with too few.

    Of the steps the largest is left out: it may be the change that is looked for.
    """
    means = [(sums[end] - sums[end - BATCH]) / BATCH for end in range(len(sums) - 1, BATCH - 1, -BATCH)]
    if len(means) < 4:
        return None
    steps = sorted((b - a) ** 2 for a, b in pairwise(means))[:-1]
    return BATCH * sum(steps) / len(steps) / 2
