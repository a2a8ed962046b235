"""How often do intervals hold the truth, and tests a false alarm? Simulated data, known truth.

    python benchmarks/coverage.py                      # everything, 1,000 repeats: about 20 minutes
    python benchmarks/coverage.py --part errors --repeats 200

Prints, for data sets drawn from populations of 20,000 videos (`simulated.py`):

  coverage     how often the 95 % interval of a score holds the score of the population, ours beside
               others, and the same for the difference of two methods
  frames       the same with frames instead of videos resampled
  errors       two methods that differ by chance alone: how often they are called different
  power        with the number of videos that `videos_needed` asks for: how often the difference is found

A share from 1,000 repeats is uncertain by about 0.7 points (one standard error).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np
from simulated import KINDS, NAMES, Floats, Population, frames_of, population

from ovbench.stats.bootstrap import LEVEL, RESAMPLES, Sample, draw_weights, intervals, left_out, quiet
from ovbench.stats.interval import deviation, quantiles, spans, standard_error, t_quantile
from ovbench.stats.paired import compare
from ovbench.stats.power import videos_needed

SIZES = (12, 20, 36, 50, 100, 343)
Method = Callable[[Floats, Floats, Floats], Floats]


def percentile(point: Floats, values: Floats, left: Floats, depth: float = (1 - LEVEL) / 2) -> Floats:
    """(S, 2) the plain percentile interval."""
    return np.stack([quantiles(values, depth), quantiles(values, 1 - depth)], axis=1)


def expanded(point: Floats, values: Floats, left: Floats) -> Floats:
    """(S, 2) the percentile interval with t quantiles, widened by sqrt(N / (N - 1))."""
    count = len(left)
    t = t_quantile((1 + LEVEL) / 2, count - 1) * math.sqrt(count / (count - 1))
    return percentile(point, values, left, NormalDist().cdf(-t))


def accelerated(point: Floats, values: Floats, left: Floats) -> Floats:
    """(S, 2) BCa: corrected for bias, and accelerated by the jackknife's skewness."""
    normal = NormalDist()
    d = left.mean(axis=0) - left
    bend = (d**3).sum(axis=0) / (6 * np.maximum((d**2).sum(axis=0), 1e-300) ** 1.5)
    count = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    below = ((values < point).sum(axis=0) + 0.5 * (values == point).sum(axis=0)) / count
    found = np.empty((len(point), 2))
    for j, (share, a) in enumerate(zip(np.clip(below, 1e-3, 1 - 1e-3), np.nan_to_num(bend), strict=True)):
        shift = normal.inv_cdf(float(share))
        for side, z in enumerate((normal.inv_cdf((1 - LEVEL) / 2), normal.inv_cdf((1 + LEVEL) / 2))):
            depth = normal.cdf(shift + (shift + z) / (1 - a * (shift + z)))
            found[j, side] = quantiles(values[:, j : j + 1], depth)[0]
    return found


def jackknife(point: Floats, values: Floats, left: Floats) -> Floats:
    """(S, 2) score +- t times the jackknife's standard error; no bootstrap."""
    half = t_quantile((1 + LEVEL) / 2, len(left) - 1) * standard_error(left)
    return np.stack([point - half, point + half], axis=1)


def normal_bootstrap(point: Floats, values: Floats, left: Floats) -> Floats:
    """(S, 2) score +- t times the bootstrap's standard deviation."""
    count = len(left)
    half = t_quantile((1 + LEVEL) / 2, count - 1) * deviation(values) * math.sqrt(count / (count - 1))
    return np.stack([point - half, point + half], axis=1)


METHODS: dict[str, Method] = {
    "percentile": percentile,
    "expanded": expanded,
    "BCa": accelerated,
    "bootstrap sd, t": normal_bootstrap,
    "jackknife, t": jackknife,
    "ovbench": lambda p, v, left: spans(p, v, left, LEVEL, floor=-100.0),
}
"""Intervals from (S,) scores, (R, S) resampled and (N, S) leave-one-out scores."""


def draws(one: Population, videos: int, repeats: int, seed: int) -> Iterator[tuple[Sample, Sample, int]]:
    """Data sets: the two methods on the same videos, and a seed for each."""
    rng = np.random.default_rng([seed, videos])
    for r in range(repeats):
        chosen = rng.integers(0, one.sums.shape[1], videos)
        yield one.sample(0, chosen), one.sample(1, chosen), r


def coverage(one: Population, videos: int, repeats: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Method -> (S,) share of intervals that hold the truth: of a score, and of the difference."""
    truths = one.truth(0), one.truth(1) - one.truth(0)
    hits = [{name: np.zeros(len(NAMES)) for name in METHODS} for _ in truths]
    defined = np.zeros((2, len(NAMES)))
    for a, b, seed in draws(one, videos, repeats, 1):
        weights = draw_weights(videos, RESAMPLES, seed)
        triples = [
            (quiet(s.scores, s.sums.sum(axis=0, keepdims=True))[0], quiet(s.resampled, weights), left_out(s))
            for s in (a, b)
        ]
        difference = tuple(second - first for first, second in zip(*triples, strict=True))
        for i, triple in enumerate((triples[0], difference)):
            known = ~np.isnan(standard_error(triple[2]))  # else the score hangs on one video: no interval
            defined[i] += known
            for name, method in METHODS.items():
                low, high = method(*triple).T
                hits[i][name] += (low <= truths[i]) & (truths[i] <= high) & known
    first, second = ({n: h / d for n, h in part.items()} for part, d in zip(hits, defined, strict=True))
    return first, second


def framewise(one: Population, videos: int, frames: int, repeats: int) -> tuple[Floats, Floats]:
    """(S,) coverage of the interval over videos, and over frames."""
    truth, rng = one.truth(0), np.random.default_rng(5)
    hits = np.zeros((2, len(NAMES)))
    for a, _, seed in draws(one, videos, repeats, 2):
        for i, sample in enumerate((a, frames_of(a, frames, rng))):
            found = intervals(sample, seed=seed, resamples=RESAMPLES if i == 0 else 400)
            for j, name in enumerate(NAMES):
                span = found[name]
                hits[i, j] += span is not None and span[0] <= truth[j] <= span[1]
    return hits[0] / repeats, hits[1] / repeats


def errors(one: Population, videos: int, repeats: int) -> dict[str, Floats]:
    """How often equal methods are called different: by the interval, by p, and by p after Holm."""
    found = {name: np.zeros(len(NAMES)) for name in ("interval without 0", "p <= 0.05", "Holm <= 0.05")}
    anywhere = np.zeros(2)
    for a, b, seed in draws(one, videos, repeats, 3):
        lines = compare(a, b, resamples=1000, permutations=999, seed=seed)
        found["interval without 0"] += [not d.tie for d in lines]
        plain = np.array([d.p is not None and d.p <= 0.05 for d in lines])
        fair = np.array([d.p_adjusted is not None and d.p_adjusted <= 0.05 for d in lines])
        found["p <= 0.05"] += plain
        found["Holm <= 0.05"] += fair
        anywhere += [plain.any(), fair.any()]
    found = {name: hits / repeats for name, hits in found.items()}
    found["any of them: p, Holm"] = anywhere / repeats
    return found


def planned(one: Population, pilot: int, score: str, repeats: int) -> tuple[int, float, float]:
    """Mean of the videos that pilots ask for to find the true difference; how often that many find it,
    by the interval and by p."""
    j = NAMES.index(score)
    effect = float(abs(one.truth(1)[j] - one.truth(0)[j]))
    asked = [videos_needed(b, a, score, effect=effect) for a, b, _ in draws(one, pilot, 50, 4)]
    needed = round(np.mean([n for n in asked if n is not None]))
    hits = np.zeros(2)
    for a, b, seed in draws(one, needed, repeats, 5):
        (d,) = compare(b, a, names=[score], resamples=1000, permutations=999, seed=seed)
        hits += [not d.tie and (d.effect or 0) > 0, d.p is not None and d.p <= 0.05 and (d.effect or 0) > 0]
    return needed, float(hits[0] / repeats), float(hits[1] / repeats)


def show(title: str, rows: dict[str, Floats]) -> None:
    print(f"\n{title}")
    width = max(map(len, rows))
    print(" " * width, *(f"{name:>11s}" for name in NAMES))
    for name, values in rows.items():
        print(f"{name:{width}s}", *(f"{100 * v:11.1f}" for v in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage, error rates and power on simulated data.")
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--part", choices=["coverage", "frames", "errors", "power"], action="append")
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    parser.add_argument("--videos", type=int, action="append")
    args = parser.parse_args()
    parts = args.part or ["coverage", "frames", "errors", "power"]
    kinds, sizes = args.kind or list(KINDS), args.videos or SIZES
    for kind in kinds:
        one = population(kind)
        print(f"\n=== {kind}: {KINDS[kind]}; {args.repeats} repeats; percent")
        if "coverage" in parts:
            for videos in sizes:
                single, paired = coverage(one, videos, args.repeats)
                show(f"coverage of a score, {videos} videos", single)
                show(f"coverage of a difference, {videos} videos", paired)
        if "frames" in parts:
            over_videos, over_frames = framewise(one, 50, 20, args.repeats)
            rows = {"videos resampled": over_videos, "frames resampled": over_frames}
            show("coverage of a score, 50 videos of 20 frames", rows)
        if "errors" in parts:
            equal = population(kind, skills=(0.8, 0.8), seed=1)
            for videos in (8, 12, 36, 100):
                show(f"equal methods, {videos} videos: called different", errors(equal, videos, args.repeats))
        if "power" in parts:
            close = population(kind, skills=(0.8, 0.86), seed=2)
            for score in ("mIoU", "pAcc", "harmonic", "VC"):
                needed, interval, p = planned(close, 100, score, args.repeats)
                print(f"power, {score}: {needed} videos asked for; found by interval {100 * interval:.1f}, "
                      f"by p {100 * p:.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
