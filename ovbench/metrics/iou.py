"""From pixel sums per class to scores in percent, for many resamples at once. NaN: undefined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .conventions import Convention
from .groups import Classes

Floats = NDArray[np.float64]

METRICS = ("miou", "fwiou", "macc", "pacc")
COLUMNS = (*METRICS, "things_miou", "stuff_miou")
"""What a group of classes is scored with."""


def class_scores(intersection: Floats, truth: Floats, prediction: Floats) -> tuple[Floats, Floats]:
    """IoU and accuracy of each class in percent, in any shape; NaN where the denominator is 0."""
    return (
        ratio(100.0 * intersection, truth + prediction - intersection),
        ratio(100.0 * intersection, truth),
    )


def pooled_scores(
    parts: Iterable[Sequence[Classes]], sums: Sequence[Floats], rule: Convention
) -> list[tuple[Floats, ...]]:
    """Scores of groups of classes from sums over the run.

    fwIoU weighs each class by its share of the group's truth; pixel accuracy is the share of the
    group's truth pixels that are right. All are NaN when the group has no truth pixel.

    Args:
        parts: for each group its classes: all, things, stuff (as `scored_parts` gives them).
        sums: intersection, truth and prediction, each (C, R): classes by resamples.

    Returns:
        For each group (R,) arrays in the order of `COLUMNS`.
    """
    hit, truth, guess = sums
    # A class without a value (absent, but counted) adds 0, and one that does not enter has no hits:
    # under every rule the sum is the same, only the number of classes differs.
    iou = ratio(100.0 * hit, truth + guess - hit, 0.0)
    acc = ratio(100.0 * hit, truth, 0.0)
    weighed = truth * iou
    over_iou, over_acc = (f(truth, guess).astype(np.float64) for f in (rule.enters_iou, rule.enters_acc))

    def mean_iou(classes: Classes, pixels: Floats) -> Floats:
        return np.where(pixels > 0, ratio(_sum(iou, classes), _sum(over_iou, classes)), np.nan)

    found: list[tuple[Floats, ...]] = []
    for whole, things, stuff in parts:
        pixels = _sum(truth, whole)
        macc = ratio(_sum(acc, whole), _sum(over_acc, whole))
        found.append(
            (
                mean_iou(whole, pixels),
                ratio(_sum(weighed, whole), pixels),
                np.where(pixels > 0, macc, np.nan),
                ratio(100.0 * _sum(hit, whole), pixels),
                mean_iou(things, _sum(truth, things)),
                mean_iou(stuff, _sum(truth, stuff)),
            )
        )
    return found


def harmonic(first: Floats, second: Floats) -> Floats:
    """Harmonic mean 2ab/(a+b): 0 where both are 0, NaN where either is NaN."""
    total = first + second
    return np.where(total == 0, 0.0, ratio(2 * first * second, total))


def ratio(part: Floats, whole: Floats, otherwise: float = np.nan) -> Floats:
    """part / whole; `otherwise` where the whole is 0."""
    shape = np.broadcast(part, whole).shape
    quotient: Floats = np.divide(part, whole, out=np.full(shape, otherwise), where=whole != 0)
    return quotient


def _sum(rows: Floats, classes: Classes) -> Floats:
    """(C, R) -> (R,) over some classes. Added row by row, in class order, whatever library is below."""
    if len(classes) and classes[-1] - classes[0] == len(classes) - 1:
        rows = rows[classes[0] : classes[-1] + 1]  # most groups are a range: no copy
    else:
        rows = rows[classes]
    total: Floats = np.add.reduce(rows, axis=0)
    return total
