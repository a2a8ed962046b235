"""An interval from resampled and leave-one-out values that keeps its promise for few units.

The plain percentile interval is too narrow twice over: resampling divides by N where an estimate
divides by N - 1, and a class that few videos hold varies less among resamples of one data set than
among data sets. The jackknife (leave one video out) sees the second and Student's t the first. So
the bootstrap gives the shape and the jackknife the size:

    limit = score + (quantile - median of the resampled) * stretch

where `stretch` makes the standard deviation of the resampled values equal to the standard error and
the normal quantile equal to that of t with N - 1 degrees of freedom. `benchmarks/coverage.py` holds
this against the plain interval and others.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DEEPEST = 0.005
# Resampled quantiles further out than this rest on a handful of values; beyond, t stretches alone.


def spans(
    point: Floats, values: Floats, left_out: Floats, level: float, floor: float | None = None
) -> Floats:
    """Interval of each of S scores.

    Args:
        point: (S,) percent, the scores of the whole.
        values: (R, S) resampled; NaN: undefined there and left out.
        left_out: (N, S) without one unit each.
        level: confidence, 0.95.
        floor: smallest value that is possible; None: 0, or -100 for scores seen below 0.

    Returns:
        (S, 2) lower and upper limits, never outside [floor, 100]; NaN where the score is undefined,
        where it hangs on one unit alone (so nothing is known of how it varies), and for N < 2.
    """
    count = len(left_out)
    if count < 2 or not len(values):
        return np.full((len(point), 2), np.nan)
    spread = deviation(values)
    error = np.maximum(standard_error(left_out), spread * math.sqrt(count / (count - 1)))
    t = t_quantile((1 + level) / 2, count - 1)
    depth = max(NormalDist().cdf(-t), _DEEPEST)
    with np.errstate(invalid="ignore", divide="ignore"):
        stretch = np.where(spread > 0, error / spread, 0.0) * (t / -NormalDist().inv_cdf(depth))
    middle, low, high = (quantiles(values, q) for q in (0.5, depth, 1 - depth))
    limits = np.stack([point + (low - middle) * stretch, point + (high - middle) * stretch], axis=1)
    limits[np.isnan(error)] = np.nan
    lowest = np.fmin(point, np.fmin.reduce(values, axis=0))
    floors = np.where(lowest < 0, -100.0, 0.0) if floor is None else np.full(len(point), floor)
    clipped: Floats = np.clip(limits, floors[:, None], 100.0)
    return clipped


def standard_error(left_out: Floats) -> Floats:
    """(S,) jackknife standard errors from (N, S) leave-one-out values; NaN where one is undefined."""
    count = len(left_out)
    centred = left_out - left_out.mean(axis=0)
    error: Floats = np.sqrt((count - 1) / count * (centred**2).sum(axis=0))
    return error


def deviation(values: Floats) -> Floats:
    """(S,) standard deviation of (R, S) values over the rows where they are defined."""
    defined = ~np.isnan(values)
    count = np.maximum(defined.sum(axis=0), 1)
    mean = np.where(defined, values, 0.0).sum(axis=0) / count
    squares = np.where(defined, values - mean, 0.0) ** 2
    found: Floats = np.sqrt(squares.sum(axis=0) / np.maximum(count - 1, 1))
    return found


def quantiles(values: Floats, share: float) -> Floats:
    """(S,) quantile of (R, S) values over the rows where they are defined; NaN where none is."""
    ordered = np.sort(values, axis=0)  # NaN come last
    place = share * (np.maximum((~np.isnan(values)).sum(axis=0), 1) - 1)
    below = np.floor(place).astype(np.int64)
    columns = np.arange(values.shape[1])
    first, second = ordered[below, columns], ordered[np.ceil(place).astype(np.int64), columns]
    found: Floats = first + (second - first) * (place - below)
    return found


@lru_cache(maxsize=256)
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t, `probability` in (0.5, 1), for a whole number of degrees of freedom.

    By bisection of the distribution function, which is a finite sum in the angle atan(t / sqrt(freedom)).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if 0.5 + _inside(angle, freedom) / 2 < probability else (low, angle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _inside(angle: float, freedom: int) -> float:
    """P(|T| < t) for t = sqrt(freedom) * tan(angle) (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
