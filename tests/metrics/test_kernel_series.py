from __future__ import annotations

import numpy as np
import pytest

from ovbench.metrics.series import JointSeries, SeriesBuilder


def random_series(seed, top=9):
    rng = np.random.default_rng(seed)
    rows = []
    for index in np.flatnonzero(rng.random(12) < 0.7).tolist():
        pairs = sorted({tuple(r) for r in rng.integers(-1, top, (int(rng.integers(0, 9)), 2)).tolist()})
        truth, prediction = (np.array([r[i] for r in pairs], np.int32) for i in (0, 1))
        rows.append((index, truth, prediction, rng.integers(1, 1 << 30, len(pairs)).astype(np.int32)))
    return rows, JointSeries.of(rows)


def slow_total(rows):
    total = {}
    for _, truth, prediction, pixels in rows:
        for t, p, n in zip(truth.tolist(), prediction.tolist(), pixels.tolist(), strict=True):
            total[t, p] = total.get((t, p), 0) + n
    rows = [(t, p, n) for (t, p), n in sorted(total.items())]
    return tuple(zip(*rows, strict=True)) if rows else ((), (), ())


@pytest.mark.parametrize("top", [9, 60000])
@pytest.mark.parametrize("seed", range(12))
def test_totals_and_round_trips(seed, top):
    rows, series = random_series(seed, top)
    assert series.total() == slow_total(rows)
    chosen = np.random.default_rng(seed).random(len(rows)) < 0.5
    assert series.total(chosen) == slow_total([r for r, c in zip(rows, chosen, strict=True) if c])
    assert JointSeries.from_json(series.to_json()) == series
    assert [r[0] for r in series] == [r[0] for r in rows]


def test_nothing_added():
    assert SeriesBuilder().series() == JointSeries() == JointSeries.from_json(JointSeries().to_json())
    assert JointSeries().total() == ((), (), ())


@pytest.mark.parametrize(
    "damage",
    [
        lambda j: j.update(entries=j["entries"] + 1),
        lambda j: j.update(frames=-1),
        lambda j: j.update(bytes=j["bytes"] - 1),
        lambda j: j.update(bytes=5),
        lambda j: j.update(packed=j["packed"][:-8]),
        lambda j: j.update(packed="!" + j["packed"][1:]),
        lambda j: j.update(packed=7),
    ],
)
def test_damage_is_noticed(damage):
    value = random_series(3)[1].to_json()
    damage(value)
    with pytest.raises((ValueError, TypeError)):
        JointSeries.from_json(value)
