"""Several questions at once: the smallest of many p-values is small by chance."""

from __future__ import annotations

from collections.abc import Sequence


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values, in the given order; None (no test) stays None and does not count.

    Rejecting what is below alpha errs anywhere in the family with probability at most alpha, however
    the tests depend on each other. The smallest of m values is multiplied by m, the next by m - 1,
    and so on; none falls below the one before it, and none exceeds 1 (S. Holm, 1979).
    """
    tested = sorted((p, i) for i, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[i] = largest
    return adjusted
