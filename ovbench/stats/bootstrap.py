"""Intervals by resampling whole videos.

A score of a run is a function of sums over videos. So a resample is a vector of weights (how often
each video was drawn), all resamples are one matrix product, and no pixel is looked at again. How an interval
is read off the resampled scores is in `interval.py`.

Sums are integers below 2**53 held in float64 and weights are small integers: every product and
addition is exact, so results depend neither on the number of threads nor on the linear algebra
library. Draws are those of `RandomState`, whose stream NumPy has frozen (`draws.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError

from .draws import Draws
from .interval import spans

SEED = 20_240_607
RESAMPLES = 1000
LEVEL = 0.95
METHOD = "bootstrap shape, jackknife size, t"
"""What `interval.spans` does, in a few words; kept in summaries, so that intervals of two methods are told apart."""

_BLOCK = 64  # resamples that are scored together

Floats = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """Per-unit sums of one run and the scores they imply.

    Attributes:
        units: (N) names of the units of resampling (videos).
        sums: (N, F) float64 holding integers; what adds up over units.
        names: (S) score names.
        scores: (R, F) sums -> (R, S) scores in percent; NaN where a score is undefined.
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
    return np.concatenate(list(_weight_blocks(units, resamples, seed)))


def _weight_blocks(units: int, resamples: int, seed: int) -> Iterator[Floats]:
    """The same in blocks of rows, which a score function can take one by one without much memory."""
    draws = Draws(seed)
    blocks = max(1, -(-resamples // _BLOCK))
    for block in range(blocks):  # of nearly equal size: a single row is added up in another order than many
        rows = resamples * (block + 1) // blocks - resamples * block // blocks
        drawn = draws.integers(units, rows * units).reshape(rows, units)
        drawn += np.arange(rows)[:, None] * units
        counts = np.bincount(drawn.reshape(-1), minlength=rows * units)
        yield counts.reshape(rows, units).astype(np.float64)


def intervals(
    sample: Sample, *, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> dict[str, Interval | None]:
    """Interval of each score over units (`interval.spans`).

    None for undefined scores, for those that hang on one unit alone, and for fewer than 2 units.
    """
    count = len(sample.units)
    if count < 2:
        return dict.fromkeys(sample.names)
    total = sample.sums.sum(axis=0, keepdims=True)
    scores = quiet(sample.scores, np.concatenate([total, total - sample.sums]))
    blocks = [quiet(sample.resampled, weights) for weights in _weight_blocks(count, resamples, seed)]
    found = spans(scores[0], np.concatenate(blocks), scores[1:], level)
    return {name: as_interval(limits) for name, limits in zip(sample.names, found, strict=True)}


def left_out(sample: Sample) -> Floats:
    """(N, S) scores without one unit each."""
    return quiet(sample.scores, sample.sums.sum(axis=0, keepdims=True) - sample.sums)


def same_videos(a: Sample, b: Sample) -> Sample:
    """`b` with its units in the order of `a`; raises `UserError` when they are not the same."""
    if set(a.units) != set(b.units):
        only = sorted(set(a.units) ^ set(b.units))
        raise UserError(
            f"the two runs do not hold the same videos ({len(only)} are in one only, first: '{only[0]}')",
            hint="complete both runs, or compare them on their common videos",
        )
    return b.restrict(a.units)


def as_interval(limits: Floats) -> Interval | None:
    """(2,) limits as plain floats; None for NaN."""
    return None if np.isnan(limits).any() else (float(limits[0]), float(limits[1]))


def quiet(function: Callable[[Floats], Floats], argument: Floats) -> Floats:
    """`function(argument)` where 0/0 is an answer (NaN: undefined), not worth a warning."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return function(argument)


def none_if_nan(value: float) -> float | None:
    """A plain float, or None for NaN."""
    return None if np.isnan(value) else float(value)
