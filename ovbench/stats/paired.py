"""Is the difference between two runs more than chance? Both runs are paired by video.

Videos differ far more from each other than methods do, so an unpaired comparison hides most real
differences. Two questions are answered: how large the difference is (bootstrap interval over
videos) and how often chance alone would give one as large (sign-flip permutation: under "no
difference" the labels A and B of any video may be exchanged).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovbench.core.errors import UserError, unknown

from .bootstrap import LEVEL, SEED, Floats, Sample, draw_weights, none_if_nan, percentile_interval, quiet

RESAMPLES = 2000
PERMUTATIONS = 2000
_EPSILON = 1e-9  # percent; differences closer than this are the same number


@dataclass(frozen=True)
class Difference:
    """One score of two runs. `effect` is a - b in percentage points; None where undefined.

    `tie`: the interval of the difference contains 0 (or there is none).
    """

    name: str
    a: float | None
    b: float | None
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    tie: bool


def compare(
    a: Sample,
    b: Sample,
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
    level: float = LEVEL,
    names: Sequence[str] | None = None,
) -> list[Difference]:
    """Compare two runs on the same videos, score by score.

    Args:
        a, b: runs over the same units (in any order).
        names: scores wanted; default all that both have, in the order of `a`.

    Raises:
        UserError: the runs do not hold the same videos, or a score name is unknown.
    """
    if set(a.units) != set(b.units):
        only = sorted(set(a.units) ^ set(b.units))
        raise UserError(
            f"the two runs do not hold the same videos ({len(only)} are in one only, first: '{only[0]}')",
            hint="complete both runs, or compare them on their common videos",
        )
    b = b.restrict(a.units)
    shared = [n for n in a.names if n in b.names]
    for name in names or ():
        if name not in shared:
            raise unknown("score", name, shared)
    wanted = shared if names is None else list(names)
    boot = _bootstrapped(a, b, wanted, resamples, seed)
    flipped = _flipped(a, b, wanted, permutations, seed + 1)
    first, second = a.point(), b.point()
    return [
        _difference(name, first[name], second[name], boot[:, i], flipped[:, i], level)
        for i, name in enumerate(wanted)
    ]


def _bootstrapped(a: Sample, b: Sample, names: Sequence[str], resamples: int, seed: int) -> Floats:
    """(R, S) differences, the same videos drawn for both runs; (0, S) with fewer than two videos."""
    if len(a.units) < 2:
        return np.empty((0, len(names)))
    weights = draw_weights(len(a.units), resamples, seed)
    return _columns(a, quiet(a.resampled, weights), names) - _columns(b, quiet(b.resampled, weights), names)


def _flipped(a: Sample, b: Sample, names: Sequence[str], permutations: int, seed: int) -> Floats:
    """(P, S) differences after exchanging A and B on a random half of the videos."""
    if not a.units or a.sums.shape != b.sums.shape:
        return np.empty((0, len(names)))
    flip = np.random.RandomState(seed).randint(0, 2, size=(permutations, len(a.units)), dtype=np.int64)
    swap = flip.astype(np.float64)
    mixed_a = (1 - swap) @ a.sums + swap @ b.sums
    mixed_b = swap @ a.sums + (1 - swap) @ b.sums
    return _columns(a, quiet(a.scores, mixed_a), names) - _columns(b, quiet(b.scores, mixed_b), names)


def _columns(sample: Sample, values: Floats, names: Sequence[str]) -> Floats:
    return values[:, [sample.names.index(n) for n in names]]


def _difference(
    name: str, a: float | None, b: float | None, boot: Floats, flipped: Floats, level: float
) -> Difference:
    if a is None or b is None:
        return Difference(name, a, b, None, None, None, None, tie=True)
    effect = a - b
    interval = percentile_interval(boot, level)
    low, high = interval if interval else (None, None)
    tie = low is None or high is None or low <= _EPSILON and high >= -_EPSILON
    kept = flipped[~np.isnan(flipped)]
    extreme = int(np.count_nonzero(np.abs(kept) >= abs(effect) - _EPSILON))
    p = none_if_nan((1 + extreme) / (1 + kept.size)) if kept.size else None
    return Difference(name, a, b, effect, low, high, p, tie)
