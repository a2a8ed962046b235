"""Ranks that admit ties: a row shares the rank of the row above when the data cannot tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bootstrap import LEVEL, SEED, Sample
from .paired import RESAMPLES, compare


@dataclass(frozen=True)
class Ranked:
    """One row of a ranking: `index` into the list given, its score, its rank (None: no score)."""

    index: int
    value: float | None
    rank: int | None
    tied_with_above: bool


def rank(
    samples: Sequence[Sample],
    score: str,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> list[Ranked]:
    """Rows sorted by a score, best first; rows without that score come last and have no rank.

    A row whose paired interval against the row above contains 0 (`Difference.tie`) shares the rank of that row;
    the next distinct row gets its position (1, 1, 3). Rows over different videos are never tied:
    there is nothing to pair; nor are rows whose difference has no interval (a single video): nothing is known of it.
    """
    values = [s.point().get(score) for s in samples]
    scored = [i for i, v in enumerate(values) if v is not None]
    order = sorted(scored, key=lambda i: (-(values[i] or 0.0), i))
    rows: list[Ranked] = []
    for position, index in enumerate(order, start=1):
        tied = bool(rows) and _tied(
            samples[rows[-1].index], samples[index], score, resamples=resamples, seed=seed, level=level
        )
        place = rows[-1].rank if tied else position
        rows.append(Ranked(index, values[index], place, tied))
    return rows + [Ranked(i, None, None, False) for i, v in enumerate(values) if v is None]


def _tied(above: Sample, below: Sample, score: str, *, resamples: int, seed: int, level: float) -> bool:
    if set(above.units) != set(below.units):
        return False
    (difference,) = compare(
        above, below, resamples=resamples, permutations=0, seed=seed, level=level, names=[score]
    )
    return difference.tie and difference.low is not None
