from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from ovbench.core.errors import UserError
from ovbench.stats.bootstrap import Sample, draw_weights, intervals
from ovbench.stats.draws import Draws
from ovbench.stats.paired import compare
from ovbench.stats.ranking import rank


def accuracy_sample(right, total, units=None):
    """Scores: "acc" = pooled accuracy in percent; "none" is never defined."""

    def scores(sums):
        return np.stack([100 * sums[:, 0] / sums[:, 1], np.full(len(sums), np.nan)], axis=1)

    sums = np.stack([right, total], axis=1).astype(np.float64)
    return Sample(tuple(units or [f"v{i}" for i in range(len(right))]), sums, ("acc", "none"), scores)


def pair(count=40, shift=2, seed=0):
    """Two runs that share how hard each video is; the first is `shift` better on average."""
    rng = np.random.default_rng(seed)
    hard = rng.integers(10, 90, count)
    total = np.full(count, 100)
    first = np.clip(hard + shift + rng.integers(-2, 3, count), 0, 100)
    second = np.clip(hard + rng.integers(-2, 3, count), 0, 100)
    return accuracy_sample(first, total), accuracy_sample(second, total)


def test_weights_are_draws_with_replacement():
    weights = draw_weights(7, 50, seed=3)
    assert weights.shape == (50, 7) and (weights.sum(axis=1) == 7).all()
    assert (weights == draw_weights(7, 50, seed=3)).all()
    assert (weights != draw_weights(7, 50, seed=4)).any()
    assert draw_weights(3, 4, seed=0).astype(int).tolist() == [[2, 1, 0], [0, 2, 1], [2, 0, 1], [2, 0, 1]]


def test_resampling_equals_a_direct_loop():
    sample = accuracy_sample([5, 40, 9, 70], [10, 50, 90, 80])
    weights = draw_weights(4, 200, seed=1)
    direct = []
    for row in weights.astype(int):
        drawn = np.repeat(np.arange(4), row)
        direct.append(100 * sample.sums[drawn, 0].sum() / sample.sums[drawn, 1].sum())
    assert sample.resampled(weights)[:, 0].tolist() == direct


def test_interval_covers_and_narrows():
    widths = []
    for count in (10, 1000):
        rng = np.random.default_rng(count)
        low, high = intervals(accuracy_sample(rng.integers(30, 70, count), np.full(count, 100)))["acc"]
        assert low < 50 + 3 and high > 50 - 3
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_undefined_scores_and_single_videos_have_no_interval():
    assert intervals(accuracy_sample([1, 2], [4, 4]))["none"] is None
    assert intervals(accuracy_sample([1], [4])) == {"acc": None, "none": None}
    assert accuracy_sample([1, 2], [4, 4]).point() == {"acc": 37.5, "none": None}


def test_equal_runs_tie_with_p_of_one():
    a, _ = pair()
    found = {d.name: d for d in compare(a, a)}
    d = found["acc"]
    assert (d.effect, d.low, d.high, d.p, d.tie) == (0.0, 0.0, 0.0, 1.0, True)
    assert found["none"].effect is None and found["none"].tie


def test_pairing_by_video_sees_what_separate_intervals_hide():
    a, b = pair(shift=2)
    first, second = intervals(a)["acc"], intervals(b)["acc"]
    assert first[0] < second[1] and second[0] < first[1]  # they overlap widely
    (d,) = compare(a, b, names=["acc"])
    assert d.effect == pytest.approx(a.point()["acc"] - b.point()["acc"])
    assert 0 < d.low < d.effect < d.high and d.p < 0.01 and not d.tie
    (back,) = compare(b, a, names=["acc"])
    assert back.effect == -d.effect and back.p == pytest.approx(d.p, abs=0.01)
    assert back.low == pytest.approx(-d.high) and back.high == pytest.approx(-d.low)


def test_null_p_values_are_about_uniform():
    small = sum(
        compare(*pair(count=15, shift=0, seed=s), names=["acc"], resamples=2, permutations=199)[0].p <= 0.1
        for s in range(150)
    )
    assert 3 <= small <= 32


def test_order_of_videos_does_not_matter_and_videos_must_match():
    a, b = pair(count=6)
    shuffled = b.restrict(b.units[::-1])
    assert compare(a, shuffled) == compare(a, b)
    with pytest.raises(UserError, match="same videos"):
        compare(a, b.restrict(b.units[:3]))
    with pytest.raises(UserError, match="not in this run"):
        b.restrict(["nowhere"])
    with pytest.raises(UserError, match="unknown score"):
        compare(a, b, names=["accu"])


def test_one_video_gives_an_effect_but_no_verdict():
    (d, _) = compare(accuracy_sample([3], [4]), accuracy_sample([1], [4]))
    assert d.effect == 50.0 and d.low is None and d.tie


def test_ranks_share_ties_and_skip():
    a, b = pair(shift=2)
    worse = accuracy_sample(np.maximum(b.sums[:, 0] - 10, 0), b.sums[:, 1])
    twin = accuracy_sample(b.sums[:, 0], b.sums[:, 1])
    rows = rank([worse, b, a, twin], "acc")
    assert [(r.index, r.rank, r.tied_with_above) for r in rows] == [
        (2, 1, False),
        (1, 2, False),
        (3, 2, True),
        (0, 4, False),
    ]


def test_rows_without_a_score_come_last_and_other_videos_never_tie():
    a, _ = pair(count=5)
    other = accuracy_sample(a.sums[:, 0], a.sums[:, 1], units=list("klmno"))
    assert [(r.rank, r.tied_with_above) for r in rank([a, other], "acc")] == [(1, False), (2, False)]
    assert [(r.index, r.rank) for r in rank([a, other], "none")] == [(0, None), (1, None)]


def test_threads_change_nothing():
    code = (
        "import numpy as np; from ovbench.stats.bootstrap import *;"
        "r = np.random.RandomState(0); s = r.randint(0, 2**40, (300, 400)).astype(float);"
        "f = lambda x: x[:, :200] / x[:, 200:];"
        "names = tuple(map(str, range(300)));"
        "print(intervals(Sample(names, s, names[:200], f), resamples=200))"
    )
    outputs = set()
    for threads in ("1", "2"):
        env = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
        }
        outputs.add(
            subprocess.run(
                [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
            ).stdout
        )
    assert len(outputs) == 1


@pytest.mark.parametrize("seed", [0, 1, 20_240_607, 2**32 - 1])
@pytest.mark.parametrize("below", [1, 2, 3, 12, 343])
def test_draws_are_those_of_numpys_frozen_stream(seed: int, below: int) -> None:
    expected = np.random.RandomState(seed).randint(0, below, size=900, dtype=np.int64)
    draws = Draws(seed)
    parts = [draws.integers(below, count) for count in (1, 399, 500)]
    assert np.array_equal(np.concatenate(parts), expected)


def test_weights_are_counts_of_that_stream() -> None:
    drawn = np.random.RandomState(3).randint(0, 7, size=(200, 7), dtype=np.int64)
    assert np.array_equal(draw_weights(7, 200, seed=3), [np.bincount(row, minlength=7) for row in drawn])
