"""Paired tests, corrections and plans: by hand where N is small, by simulation where it is not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ovbench.core.errors import UserError
from ovbench.stats.bootstrap import Sample
from ovbench.stats.multiple import holm
from ovbench.stats.paired import compare, exchanges
from ovbench.stats.power import FEWEST, required, videos_needed


def run(right, total=100, names=("acc",)):
    sums = np.stack([np.asarray(right), np.broadcast_to(total, len(right))], axis=1).astype(np.float64)
    units = tuple(f"v{i}" for i in range(len(right)))
    return Sample(units, sums, names, lambda s: np.repeat(100 * s[:, :1] / s[:, 1:], len(names), axis=1))


def test_three_videos_by_hand():
    # Gains of 3, 1 and 2 in 300 pixels. Of the 8 exchanges, two give +-6, two +-4, two +-2, two 0.
    (d,) = compare(run([53, 41, 62]), run([50, 40, 60]))
    assert d.effect == pytest.approx(2.0) and d.p == 0.25
    # Gains of 3, -1 and 2: +-6, +-4 (found), +-2, 0; 4 of 8 are as large.
    (d,) = compare(run([53, 39, 62]), run([50, 40, 60]))
    assert d.p == 0.5


@pytest.mark.parametrize("videos", [2, 5, 9])
def test_few_videos_are_enumerated(videos):
    rng = np.random.default_rng(videos)
    right, other, total = (
        rng.integers(0, 50, videos),
        rng.integers(0, 50, videos),
        rng.integers(60, 90, videos),
    )

    def effect(swap):
        a, b = np.where(swap, other, right).sum(), np.where(swap, right, other).sum()
        return abs(100 * (a - b) / total.sum())

    every = [effect(swap) for swap in itertools.product((False, True), repeat=videos)]
    (d,) = compare(run(right, total), run(other, total))
    assert d.p == np.mean([e >= every[0] - 1e-9 for e in every])
    (again,) = compare(run(right, total), run(other, total), seed=99)
    assert again.p == d.p  # exact: no seed in it


def test_many_videos_are_drawn():
    assert exchanges(3, 4, 0).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    drawn = exchanges(30, 50, 0)
    assert drawn.shape == (50, 30) and set(np.unique(drawn)) == {0.0, 1.0}
    right = np.arange(30, 54, 2)
    a, b = run(right + np.arange(12) % 4 - 1), run(right)
    exact, drawn = (compare(a, b, permutations=n)[0].p for n in (2048, 2047))
    assert drawn == pytest.approx(exact, abs=0.03) and drawn != exact


def test_holm_by_hand():
    # 3 * 0.01; 2 * 0.02; 1 * 0.03 < 0.04, hence raised to it
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, None, 0.4]) == [0.8, None, 0.8]
    assert holm([0.9, 0.7, 0.001]) == pytest.approx([1.0, 1.0, 0.003])
    assert holm([]) == [] and holm([None]) == [None] and holm([0.2]) == [0.2]


def test_a_call_is_a_family():
    rng = np.random.default_rng(1)
    right = rng.integers(30, 60, 20)
    a, b = (run(right + gain, names=("x", "y", "z")) for gain in (rng.integers(-1, 4, 20), 0))
    together, alone = compare(a, b), compare(a, b, names=["y"])
    assert [d.p_adjusted for d in together] == pytest.approx([3 * together[0].p] * 3)
    assert alone[0].p_adjusted == alone[0].p == together[1].p


def test_undefined_scores_have_no_p_and_no_plan():
    sums = np.ones((4, 1))
    never = Sample(tuple("abcd"), sums, ("none",), lambda s: np.full((len(s), 1), np.nan))
    (d,) = compare(never, never)
    assert (d.effect, d.low, d.p, d.p_adjusted, d.needed, d.tie) == (None, None, None, None, None, True)


def test_no_permutations_no_p():
    (d,) = compare(run([3, 4, 5]), run([1, 2, 2]), permutations=0)
    assert d.p is None and d.p_adjusted is None and d.low is not None


def test_required_videos_by_hand():
    # ((1.960 + 0.842) * 10 / 1)^2 = 784.9; with t instead of normal quantiles two more
    assert required(1.0, 10.0) == pytest.approx(787, abs=1)
    assert required(2.0, 10.0) == pytest.approx(199, abs=1)
    assert required(-2.0, 10.0) == required(2.0, 10.0)
    assert required(2.0, 10.0, power=0.9) > required(2.0, 10.0) > required(2.0, 10.0, alpha=0.1)
    assert required(0.0, 10.0) is None and required(1.0, float("nan")) is None
    assert required(50.0, 0.0) == required(50.0, 1.0) == FEWEST
    assert required(1e-6, 10.0) > 1_000_000_000
    for power in (0.5, 1.0, 80):
        with pytest.raises(UserError, match="power"):
            required(1.0, 1.0, power=power)
    with pytest.raises(UserError, match="alpha"):
        required(1.0, 1.0, alpha=0.0)


def test_videos_needed_of_a_mean():
    gains = np.array([0, 4, 2, 6, 1, 5, 3, 3])
    base = np.array([20, 30, 50, 10, 80, 40, 60, 70])
    a, b = run(base + gains), run(base)
    assert videos_needed(a, b, "acc") == required(3.0, float(np.std(gains, ddof=1)))
    assert videos_needed(a, b, "acc", effect=0.5) == required(0.5, float(np.std(gains, ddof=1)))
    assert videos_needed(a, b.restrict(b.units[::-1]), "acc") == videos_needed(a, b, "acc")
    (d,) = compare(a, b, effect=0.5, power=0.9)
    assert d.needed == videos_needed(a, b, "acc", effect=0.5, power=0.9)
    assert videos_needed(a, a, "acc") is None
    assert videos_needed(run([3]), run([2]), "acc") is None
    with pytest.raises(UserError, match="unknown score"):
        videos_needed(a, b, "miou")
    with pytest.raises(UserError, match="same videos"):
        videos_needed(a, b.restrict(b.units[:3]), "acc")


def two_methods(rng, videos, gain=0.0):
    """Counts of 1000 pixels a video: shared difficulty, a little chance of each method, a gain in points."""
    hard = rng.normal(500, 180, videos)
    return [run(np.clip(np.rint(hard + rng.normal(10 * g, 40, videos)), 0, 1000), 1000) for g in (gain, 0.0)]


@pytest.mark.parametrize("videos", [8, 30])
def test_equal_methods_are_rarely_called_different(videos):
    rng = np.random.default_rng(videos)
    repeats = 600
    found = [compare(*two_methods(rng, videos), resamples=400, permutations=299)[0] for _ in range(repeats)]
    assert 0.025 <= sum(d.p <= 0.05 for d in found) / repeats <= 0.075
    assert 0.025 <= sum(not d.tie for d in found) / repeats <= 0.085


def test_that_many_videos_find_it():
    rng = np.random.default_rng(2)
    plans = [videos_needed(*two_methods(rng, 100), "acc", effect=2.0) for _ in range(20)]
    needed = round(np.mean(plans))
    assert needed == pytest.approx((2.8 * 5.66 / 2) ** 2, rel=0.15)
    found = [
        compare(*two_methods(rng, needed, gain=2.0), resamples=400, permutations=299)[0] for _ in range(300)
    ]
    assert 0.73 <= sum(not d.tie for d in found) / len(found) <= 0.87
    assert 0.73 <= sum(d.p <= 0.05 for d in found) / len(found) <= 0.87
