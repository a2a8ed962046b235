"""How many videos would it take? Planning from what a comparison has shown.

The standard error of a difference shrinks with the square root of the number of videos. So the
jackknife over the videos at hand tells how many are needed for a difference to leave 0 outside its
interval in, say, four of five data sets.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from ovbench.core.errors import UserError, unknown

from .bootstrap import Sample, left_out, same_videos
from .interval import standard_error, t_quantile

POWER = 0.8
ALPHA = 0.05
FEWEST = 6
"""With fewer videos no permutation test can fall below p = 0.05, hence no plan asks for fewer."""
MOST = 100_000
"""Beyond this many videos the answer is "cannot be told apart"; tables print it so."""


def videos_needed(
    a: Sample,
    b: Sample,
    score: str,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    effect: float | None = None,
) -> int | None:
    """Videos with which a difference of one score is found with probability `power`.

    Args:
        a, b: two runs over the same videos.
        power: wanted probability of finding it, between 0.5 and 1.
        alpha: accepted probability of finding one that is not there.
        effect: difference to find, in percentage points; None: the one between these runs. That one
            is itself uncertain, so for planning it is better to state what would be worth finding.

    Returns:
        At least `FEWEST`; None where the score is undefined or hangs on one video, or the effect is 0.

    Raises:
        UserError: other videos in one of the runs, an unknown score, or a probability out of range.
    """
    b = same_videos(a, b)
    for sample in (a, b):
        if score not in sample.names:
            raise unknown("score", score, sample.names)
    column = [a.names.index(score)], [b.names.index(score)]
    first, second = a.point()[score], b.point()[score]
    if first is None or second is None or len(a.units) < 2:
        return None
    error = float(standard_error(left_out(a)[:, column[0]] - left_out(b)[:, column[1]])[0])
    wanted = first - second if effect is None else effect
    return required(wanted, error * math.sqrt(len(a.units)), power=power, alpha=alpha)


def required(effect: float, deviation: float, *, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """Videos needed for an effect whose standard error is deviation / sqrt(videos); None: no answer."""
    check(power, alpha)
    if abs(effect) < 1e-9 or math.isnan(effect) or math.isnan(deviation):
        return None
    ratio = (deviation / effect) ** 2
    normal = NormalDist()
    count = ratio * (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) ** 2
    for _ in range(8):  # t instead of normal quantiles: matters below some 30 videos, settles fast
        if count > 1000:
            break
        freedom = max(FEWEST, math.ceil(count)) - 1
        count = ratio * (t_quantile(1 - alpha / 2, freedom) + t_quantile(power, freedom)) ** 2
    return max(FEWEST, math.ceil(count))


def check(power: float, alpha: float = ALPHA) -> None:
    """Raise `UserError` for probabilities that make no plan."""
    if not 0.5 < power < 1:
        raise UserError(f"power {power:g} is not between 0.5 and 1", hint="0.8 is usual")
    if not 0 < alpha < 0.5:
        raise UserError(f"alpha {alpha:g} is not between 0 and 0.5", hint="0.05 is usual")
