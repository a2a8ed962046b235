"""From pixel sums per class to scores in percent. Vectorised over leading axes; NaN: undefined.

All functions take float64 arrays (R, K) with the intersection, truth and prediction pixels of K
classes in R resamples (R = 1 for a run as it is).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .conventions import Convention

Floats = NDArray[np.float64]

METRICS = ("miou", "fwiou", "macc", "pacc")


def class_scores(intersection: Floats, truth: Floats, prediction: Floats) -> tuple[Floats, Floats]:
    """IoU and accuracy of each class in percent; NaN where the denominator is 0."""
    return _ratio(intersection, truth + prediction - intersection), _ratio(intersection, truth)


def group_scores(intersection: Floats, truth: Floats, prediction: Floats, rule: Convention) -> Floats:
    """(R, 4) mIoU, frequency-weighted IoU, mean accuracy and pixel accuracy of a group of classes.

    fwIoU weighs each class by its share of the group's truth; pixel accuracy is the share of the
    group's truth pixels that are right. All are NaN when the group has no truth pixel.
    """
    iou, acc = class_scores(intersection, truth, prediction)
    pixels = truth.sum(axis=-1)
    scores = np.stack(
        [
            _mean(iou, rule.enters_iou(truth, prediction)),
            _divide(np.where(truth > 0, truth * iou, 0.0).sum(axis=-1), pixels),
            _mean(acc, rule.enters_acc(truth, prediction)),
            _ratio(intersection.sum(axis=-1), pixels),
        ],
        axis=-1,
    )
    scores[pixels == 0] = np.nan
    return scores


def mean_iou(intersection: Floats, truth: Floats, prediction: Floats, rule: Convention) -> Floats:
    """(R,) mIoU alone."""
    return group_scores(intersection, truth, prediction, rule)[..., 0]


def harmonic(first: Floats, second: Floats) -> Floats:
    """Harmonic mean 2ab/(a+b): 0 where both are 0, NaN where either is NaN."""
    total = first + second
    return np.where(total == 0, 0.0, _divide(2 * first * second, total))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return _divide(100.0 * part, whole)


def _divide(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole == 0, np.nan, part / whole)


def _mean(values: Floats, enters: NDArray[np.bool_]) -> Floats:
    """Mean over the classes that enter; one without a value (absent, but counted) adds 0."""
    added = np.where(enters & ~np.isnan(values), values, 0.0).sum(axis=-1)
    return _divide(added, enters.sum(axis=-1).astype(np.float64))
