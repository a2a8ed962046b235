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
