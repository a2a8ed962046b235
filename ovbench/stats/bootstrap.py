"""Intervals by resampling whole videos.

A score of a run is a function of sums over videos. So a resample is a vector of weights (how often
each video was drawn), all resamples are one matrix product, and no pixel is looked at again.

Sums are integers below 2**53 held in float64 and weights are small integers: every product and
addition is exact, so results depend neither on the number of threads nor on the linear algebra
library. Draws come from `RandomState`, whose stream NumPy has frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError

SEED = 20_240_607
RESAMPLES = 1000
LEVEL = 0.95

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """Per-unit sums of one run and the scores they imply.

    Attributes:
        units: (N) names of the units of resampling (videos).
        sums: (N, F) float64 holding integers; what adds up over units.
        names: (S) score names.
        scores: (R, F) sums -> (R, S) scores; NaN where a score is undefined.
    """

    units: tuple[str, ...]
    sums: Floats
    names: tuple[str, ...]
    scores: Callable[[Floats], Floats]

    def point(self) -> dict[str, float | None]:
        """Each score of the whole run; None where undefined."""
        values = quiet(self.scores, self.sums.sum(axis=0, keepdims=True))[0]
        return {n: none_if_nan(v) for n, v in zip(self.names, values, strict=True)}

    def resampled(self, weights: Floats) -> Floats:
        """(R, N) weights -> (R, S) scores."""
        return self.scores(weights @ self.sums)

    def restrict(self, units: Sequence[str]) -> Sample:
        """Only these units, in this order; raises `UserError` for one that is not there."""
        place = {unit: i for i, unit in enumerate(self.units)}
        absent = [u for u in units if u not in place]
        if absent:
            raise UserError(f"{len(absent)} videos are not in this run, first: '{absent[0]}'")
        return replace(self, units=tuple(units), sums=self.sums[[place[u] for u in units]])


def draw_weights(units: int, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """(R, N) how often each of N units is drawn when N are drawn with replacement, R times."""
    drawn = np.random.RandomState(seed).randint(0, units, size=(resamples, units), dtype=np.int64)
    drawn += np.arange(resamples)[:, None] * units
    counts = np.bincount(drawn.reshape(-1), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)


def percentile_interval(values: Floats, level: float = LEVEL) -> Interval | None:
    """Percentile interval of (R,) resampled values; undefined ones are left out, None if none is left."""
    kept = values[~np.isnan(values)]
    if not kept.size:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)


def intervals(
    sample: Sample, *, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> dict[str, Interval | None]:
    """Percentile interval of each score over units; None for undefined scores and fewer than 2 units."""
    count = len(sample.units)
    if count < 2:
        return dict.fromkeys(sample.names)
    values = quiet(sample.resampled, draw_weights(count, resamples, seed))
    point = sample.point()
    return {
        name: None if point[name] is None else percentile_interval(values[:, i], level)
        for i, name in enumerate(sample.names)
    }


def quiet(function: Callable[[Floats], Floats], argument: Floats) -> Floats:
    """`function(argument)` where 0/0 is an answer (NaN: undefined), not worth a warning."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return function(argument)


def none_if_nan(value: float) -> float | None:
    """A plain float, or None for NaN."""
    return None if np.isnan(value) else float(value)
