"""What an interval is made of, by hand; and whether it keeps its promise on simulated data."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from ovbench.stats.bootstrap import Sample, draw_weights, intervals, left_out
from ovbench.stats.interval import deviation, quantiles, spans, standard_error, t_quantile
from ovbench.stats.paired import compare

SIMULATED = Path(__file__).resolve().parents[2] / "benchmarks" / "simulated.py"


@pytest.fixture(scope="module")
def simulated():
    if not SIMULATED.is_file():
        pytest.skip("benchmarks/simulated.py is not part of this copy")
    spec = importlib.util.spec_from_file_location("simulated", SIMULATED)
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulated"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["simulated"]


def shares(right, total):
    """One score: pooled share of right pixels in percent; NaN without a pixel."""
    sums = np.stack([right, total], axis=1).astype(np.float64)
    units = tuple(f"v{i}" for i in range(len(right)))
    return Sample(units, sums, ("acc",), lambda s: 100 * s[:, :1] / s[:, 1:])


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    # printed tables of Student's t, three decimals
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 5, 2.571), (0.975, 11, 2.201), (0.995, 10, 3.169)]
    + [(0.8, 7, 0.896), (0.975, 30, 2.042), (0.975, 120, 1.980)],
)
def test_t_quantiles_are_those_of_the_tables(probability, freedom, value):
    assert t_quantile(probability, freedom) == pytest.approx(value, abs=6e-4)


def test_t_becomes_normal():
    assert t_quantile(0.975, 100_001) == pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-4)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.array([3.0, 1.0, 7.0, 5.0])
    sample = shares(values, np.full(4, 10))
    assert left_out(sample)[:, 0] == pytest.approx([100 * (16 - v) / 30 for v in values])
    by_hand = 10 * math.sqrt(sum((v - 4) ** 2 for v in values) / 3 / 4)
    assert standard_error(left_out(sample))[0] == pytest.approx(by_hand)


def test_quantiles_and_deviation_leave_undefined_values_out():
    values = np.array([[1.0, np.nan, np.nan], [4.0, 2.0, np.nan], [2.0, 8.0, np.nan], [3.0, 5.0, np.nan]])
    assert quantiles(values, 0.5).tolist()[:2] == [2.5, 5.0] and np.isnan(quantiles(values, 0.5)[2])
    assert quantiles(values, 0.25)[0] == np.quantile([1, 2, 3, 4], 0.25)
    assert deviation(values).tolist()[:2] == pytest.approx([np.std([1, 2, 3, 4], ddof=1), 3.0])


def test_an_interval_by_hand():
    point, left = np.array([50.0]), np.array([[48.0], [50.0], [52.0], [50.0], [50.0], [50.0], [50.0], [50.0]])
    values = np.array([[46.0], [48.0], [50.0], [52.0], [58.0]])
    error = math.sqrt(7 / 8 * (2**2 + 2**2))  # of the jackknife
    spread = np.std([46, 48, 50, 52, 58], ddof=1)
    error = max(error, spread * math.sqrt(8 / 7))
    t = t_quantile(0.975, 7)
    depth = NormalDist().cdf(-t)
    low, high = np.quantile(values[:, 0], [depth, 1 - depth])
    (found,) = spans(point, values, left, 0.95)
    assert found == pytest.approx([50 + (q - 50) * error / spread for q in (low, high)])


def test_intervals_stay_where_scores_can_be():
    sample = shares([0, 0, 0, 0, 0, 0, 0, 8], np.full(8, 100))
    low, high = intervals(sample)["acc"]
    assert low == 0.0 and 1.0 < high < 10
    full = Sample(sample.units, sample.sums, ("acc",), lambda s: 100 - 100 * s[:, :1] / s[:, 1:])
    assert intervals(full)["acc"] == pytest.approx((100 - high, 100.0))
    signed = Sample(sample.units, sample.sums, ("acc",), lambda s: 100 * s[:, :1] / s[:, 1:] - 1)
    assert intervals(signed)["acc"][0] < -1.0


def test_a_score_that_hangs_on_one_video_has_no_interval():
    right, total = np.array([0, 0, 30, 0]), np.array([0, 0, 60, 0])
    with_one = shares(right, total)
    assert with_one.point() == {"acc": 50.0} and intervals(with_one) == {"acc": None}
    (d,) = compare(with_one, shares(right // 2, total))
    assert d.effect == 25.0 and d.low is None and d.tie and d.needed is None
    total[0], right[0] = 60, 20
    low, high = intervals(shares(right, total))["acc"]
    assert 0 <= low < 100 * 50 / 120 < high <= 100


def test_a_constant_score_has_an_interval_of_no_width():
    assert intervals(shares([5, 10, 20], [10, 20, 40]))["acc"] == (50.0, 50.0)


def test_two_videos_give_a_wide_interval():
    low, high = intervals(shares([40, 60], [100, 100]))["acc"]
    assert (low, high) == (0.0, 100.0)  # t with one degree of freedom: nearly nothing is known


def test_the_interval_is_that_of_any_other_route():
    rng = np.random.default_rng(3)
    sample = shares(rng.integers(0, 50, 30), np.full(30, 50))
    values = sample.resampled(draw_weights(30, 1000, seed=7))
    point = sample.scores(sample.sums.sum(axis=0, keepdims=True))[0]
    (direct,) = spans(point, values, left_out(sample), 0.95)
    assert intervals(sample, seed=7)["acc"] == tuple(direct)


def covered(simulated, population, videos, repeats, frames=None, resamples=1000):
    """Share of intervals that hold the population's score, for each score."""
    rng, truth = np.random.default_rng(17), population.truth(0)
    hits = np.zeros(len(truth))
    for seed in range(repeats):
        sample = population.sample(0, rng.integers(0, population.sums.shape[1], videos))
        if frames:
            sample = simulated.frames_of(sample, frames, rng)
        found = intervals(sample, seed=seed, resamples=resamples)
        for i, name in enumerate(sample.names):
            low, high = found[name]
            hits[i] += low <= truth[i] <= high
    return dict(zip(simulated.NAMES, hits / repeats, strict=True))


@pytest.mark.parametrize("videos", [50, 100])
def test_intervals_over_videos_cover_the_truth(simulated, videos):
    found = covered(simulated, simulated.population("even"), videos, 1000)
    for name in ("mIoU", "mAcc", "pAcc", "unseen mIoU", "harmonic"):
        assert 0.93 <= found[name] <= 0.97, (name, found[name])


def test_intervals_over_frames_do_not(simulated):
    found = covered(simulated, simulated.population("even"), 30, 60, frames=20, resamples=200)
    assert max(found.values()) < 0.6
