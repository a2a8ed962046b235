"""Is the difference between two runs more than chance? Both runs are paired by video.

Videos differ far more from each other than methods do, so an unpaired comparison hides most real
differences. Two questions are answered: how large the difference is (bootstrap interval over
videos) and how often chance alone would give one as large (sign-flip permutation: under "no
difference" the labels A and B of any video may be exchanged; every exchange is tried where there
are few videos). A third is for planning: how many videos would show it (`power.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovbench.core.errors import unknown

from .bootstrap import LEVEL, SEED, Floats, Sample, as_interval, draw_weights, left_out, quiet, same_videos
from .interval import spans, standard_error
from .multiple import holm
from .power import POWER, check, required

RESAMPLES = 2000
PERMUTATIONS = 4999
_EPSILON = 1e-9  # percent; differences closer than this are the same number


@dataclass(frozen=True)
class Difference:
    """One score of two runs. `effect` is a - b in percentage points; None where undefined.

    `tie`: nothing tells them apart: the interval of the difference
    contains 0, or there is none (`low` is None: a single video, say). `p_adjusted`: Holm, over the
    scores of the same call. `needed`: videos with which `effect` (or the one asked for) is found with
    the power asked for; None where there is no answer.
    """

    name: str
    a: float | None
    b: float | None
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    tie: bool
    p_adjusted: float | None = None
    needed: int | None = None


def compare(
    a: Sample,
    b: Sample,
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
    level: float = LEVEL,
    names: Sequence[str] | None = None,
    power: float = POWER,
    effect: float | None = None,
) -> list[Difference]:
    """Compare two runs on the same videos, score by score.

    Args:
        a, b: runs over the same units (in any order).
        permutations: how many random exchanges; 0: no test. All 2^N are tried where that is no more work.
        names: scores wanted; default all that both have, in the order of `a`. They are the family
            that `p_adjusted` is corrected for.
        power: for `needed`, the wanted probability of finding the effect.
        effect: for `needed`, the difference to find in percentage points; None: each score's own.

    Raises:
        UserError: the runs do not hold the same videos, or a score name is unknown.
    """
    check(power, 1 - level)
    b = same_videos(a, b)
    shared = [n for n in a.names if n in b.names]
    for name in names or ():
        if name not in shared:
            raise unknown("score", name, shared)
    wanted = shared if names is None else list(names)
    point = _minus(a, b, wanted, a.sums.sum(axis=0, keepdims=True), b.sums.sum(axis=0, keepdims=True))[0]
    left = _columns(a, left_out(a), wanted) - _columns(b, left_out(b), wanted)
    limits = spans(point, _bootstrapped(a, b, wanted, resamples, seed), left, level, floor=-100.0)
    chances = _p_values(point, _flipped(a, b, wanted, permutations, seed + 1), len(a.units))
    spread = (
        standard_error(left) * math.sqrt(len(a.units)) if len(a.units) > 1 else np.full(len(wanted), np.nan)
    )
    first, second = a.point(), b.point()
    return [
        _difference(
            name,
            (first[name], second[name]),
            limits[i],
            (chances[i], corrected),
            required(
                float(point[i]) if effect is None else effect, float(spread[i]), power=power, alpha=1 - level
            ),
        )
        for i, (name, corrected) in enumerate(zip(wanted, holm(chances), strict=True))
    ]


def _bootstrapped(a: Sample, b: Sample, names: Sequence[str], resamples: int, seed: int) -> Floats:
    """(R, S) differences, the same videos drawn for both runs; (0, S) with fewer than two videos."""
    if len(a.units) < 2:
        return np.empty((0, len(names)))
    weights = draw_weights(len(a.units), resamples, seed)
    return _minus(a, b, names, weights @ a.sums, weights @ b.sums)


def _flipped(a: Sample, b: Sample, names: Sequence[str], permutations: int, seed: int) -> Floats:
    """(P, S) differences after exchanging A and B in some videos: in every way, or at random."""
    if not a.units or a.sums.shape != b.sums.shape or not permutations:
        return np.empty((0, len(names)))
    change = exchanges(len(a.units), permutations, seed) @ (b.sums - a.sums)
    total_a, total_b = (s.sums.sum(axis=0, keepdims=True) for s in (a, b))
    return _minus(a, b, names, total_a + change, total_b - change)


def exchanges(videos: int, permutations: int, seed: int) -> Floats:
    """(P, N) of 0 and 1: where A and B change places.

    Exchanging the others instead only turns the sign of a difference, so half of the 2^N ways is
    all of them; these are returned where they are no more than `permutations`.
    """
    if complete(videos, permutations):
        codes = np.arange(2 ** (videos - 1), dtype=np.int64)
        return (codes[:, None] >> np.arange(videos) & 1).astype(np.float64)
    flips = np.random.RandomState(seed).randint(0, 2, size=(permutations, videos), dtype=np.int64)
    return flips.astype(np.float64)


def complete(videos: int, permutations: int) -> bool:
    """Whether every exchange is tried, which makes p exact."""
    return videos <= 40 and 2 ** (videos - 1) <= permutations


def _p_values(point: Floats, flipped: Floats, videos: int) -> list[float | None]:
    """Two-sided: the share of exchanges that differ at least as much as what was found.

    Of all exchanges the one found is one; random ones are counted with it added, so that p is never 0.
    """
    defined = ~np.isnan(flipped)
    size = defined.sum(axis=0)
    hits = (np.abs(np.where(defined, flipped, 0.0)) >= np.abs(point) - _EPSILON) & defined
    extra = 0 if len(flipped) and complete(videos, len(flipped)) else 1
    return [
        None if not n or np.isnan(p) else (extra + int(h)) / (extra + int(n))
        for p, h, n in zip(point, hits.sum(axis=0), size, strict=True)
    ]


def _minus(a: Sample, b: Sample, names: Sequence[str], sums_a: Floats, sums_b: Floats) -> Floats:
    """(R, S) scores of `a` minus scores of `b`."""
    return _columns(a, quiet(a.scores, sums_a), names) - _columns(b, quiet(b.scores, sums_b), names)


def _columns(sample: Sample, values: Floats, names: Sequence[str]) -> Floats:
    return values[:, [sample.names.index(n) for n in names]]


def _difference(
    name: str,
    scores: tuple[float | None, float | None],
    limits: Floats,
    chance: tuple[float | None, float | None],
    needed: int | None,
) -> Difference:
    a, b = scores
    if a is None or b is None:
        return Difference(name, a, b, None, None, None, None, tie=True)
    interval = as_interval(limits)
    low, high = interval if interval else (None, None)
    tie = low is None or high is None or low <= _EPSILON and high >= -_EPSILON
    return Difference(name, a, b, a - b, low, high, chance[0], tie, chance[1], needed)
