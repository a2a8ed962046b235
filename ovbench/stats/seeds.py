"""An interval over videos and training seeds, from one over videos and the spread over seeds.

A score averaged over n seeds varies for two reasons: other videos could have been drawn, and other seeds. By the
law of total variance the two add up as squares:

    half width = sqrt(half width over videos ^ 2 + (t * deviation over seeds / sqrt(n)) ^ 2)

with the quantile of Student's t for n - 1 degrees of freedom, which is 4.3 for three seeds: few seeds say little
about how seeds vary, and the interval does not pretend otherwise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from .bootstrap import LEVEL
from .interval import t_quantile


def over_seeds(
    span: tuple[float | None, float | None], values: Sequence[float], level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval over videos and seeds.

    Args:
        span: the interval over videos, of the mean over seeds.
        values: the score (or difference) of each seed over the same videos.
        level: confidence of both.

    Returns:
        None where either part is unknown: no interval over videos, or a single seed.
    """
    low, high = span
    if low is None or high is None or len(values) < 2:
        return None
    mean = statistics.fmean(values)
    freedom = len(values) - 1
    half = t_quantile((1 + level) / 2, freedom) * statistics.stdev(values, mean) / math.sqrt(len(values))
    return mean - math.hypot(max(0.0, mean - low), half), mean + math.hypot(max(0.0, high - mean), half)


def over_unpaired_seeds(
    span: tuple[float | None, float | None],
    effect: float,
    ours: Sequence[float],
    theirs: Sequence[float],
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """The same for a difference of two means over seeds that belong to different trainings, hence are not pairs.

    The deviation is Welch's, sqrt(s1^2 / n1 + s2^2 / n2), with his degrees of freedom rounded down.

    Args:
        span: the interval over videos, of the difference.
        effect: the difference of the means.
        ours, theirs: the score of each seed; a side with one seed adds nothing, as nothing is known of its spread.

    Returns:
        None where either part is unknown: no interval over videos, or a single seed on both sides.
    """
    low, high = span
    parts = [
        (statistics.variance(side) / len(side), len(side) - 1) for side in (ours, theirs) if len(side) > 1
    ]
    if low is None or high is None or not parts:
        return None
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return low, high
    freedom = int(variance**2 / sum(part**2 / n for part, n in parts))
    half = t_quantile((1 + level) / 2, max(1, freedom)) * math.sqrt(variance)
    return effect - math.hypot(max(0.0, effect - low), half), effect + math.hypot(
        max(0.0, high - effect), half
    )
