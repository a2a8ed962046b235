"""Confusion matrices and means of other people's evaluators, restated from joint histograms.

Arithmetic follows each evaluator expression by expression, so that results agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ovbench.core.types import OTHER8, OTHER16
from ovbench.protocol.schema import IGNORE, Protocol

from .released import file_values
from .videocounts import VideoCounts

Scores = dict[str, float | None]
Floats = NDArray[np.float64]

NOTHING: Scores = {"miou": None, "fwiou": None, "macc": None, "pacc": None}


class Overflow(ValueError):
    """The evaluator would have stopped: its matrix has no cell for what was predicted."""


def vspw_matrix(protocol: Protocol, videos: Sequence[VideoCounts]) -> Floats:
    """(C, C) truth x prediction as the VSPW evaluator counts it: `bincount(C * truth + prediction)`.

    Every class of the table is truth, whatever the protocol scores. An abstention is the value that
    stands in the file (255, or 65535 in 16 bits): it lands in a cell of a later class.

    Raises:
        Overflow: it lands behind the last cell, where the script stops with an error.
    """
    size = len(protocol.classes)
    matrix = np.zeros((size, size))
    stray = OTHER8 if len(protocol.vocabulary_classes) <= OTHER8 else OTHER16
    for counts in videos:
        truth, guess, pixels = _classes(protocol, counts)
        known = truth < size
        guess = np.where(guess < 0, stray, guess)
        code = size * truth[known] + guess[known]
        if code.size and code.max() >= size * size:
            raise Overflow
        matrix += np.bincount(code, pixels[known], size * size).reshape(size, size)
    return matrix


def vspw_means(matrix: Floats) -> Scores:
    """Scores of the evaluator that the VSPW scripts share; mAcc and mIoU over classes in the truth."""
    right, truth, guess = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    present = truth > 0
    if not present.any():
        return dict(NOTHING)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = right / (truth + guess - right)
        accuracy = right / truth
    share = truth / matrix.sum()
    return {
        "miou": _percent(np.nansum(iou * present) / present.sum()),
        "fwiou": _percent((share[present] * iou[present]).sum()),
        "macc": _percent(np.nanmean(accuracy)),
        "pacc": _percent(right.sum() / matrix.sum()),
    }


def released_means(protocol: Protocol, videos: Sequence[VideoCounts]) -> Scores:
    """The evaluation released with OV2VSS, setting `val_unseen`; see `released` for its rules.

    Stated from the joint histogram alone, apart from the sums that a convention adds up. `printed_miou` is the mIoU
    of the matrix, which the script prints on the way to its table.

    Raises:
        Overflow: a prediction falls behind the last cell of the matrix.
    """
    scored = list(protocol.scored_classes)
    count = len(scored)
    position = np.full(IGNORE + 1, IGNORE)
    position[scored[:-1]] = np.arange(count - 1)
    position[scored[-1]] = IGNORE - 1  # escapes the label map: no class, not void
    areas = np.zeros((3, count))  # intersection, prediction, truth
    matrix = np.zeros((count, count))
    edges = np.arange(count + 1)
    for counts in videos:
        raw, predicted, pixels = counts.joint.arrays()
        truth, value = position[_class_columns(protocol, raw, predicted)[0]], file_values(protocol, predicted)
        for place, labels, kept in (
            (0, value, value == truth),
            (1, value, truth != IGNORE),
            (2, truth, truth != IGNORE),
        ):
            areas[place] += np.histogram(labels[kept], edges, weights=pixels[kept])[0]
        inside = truth < count
        cells = count * truth[inside] + value[inside]
        if cells.size and cells.max() >= count * count:
            raise Overflow
        matrix += np.bincount(cells, pixels[inside], count * count).reshape(count, count)
    return _released_scores(areas, matrix)


def _released_scores(areas: Floats, matrix: Floats) -> Scores:
    right, guess, truth = areas
    if not truth.any():
        return {**NOTHING, "printed_miou": None}
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, accuracy = right / (guess + truth - right), right / truth
    printed = vspw_means(matrix)
    return {
        "miou": _percent(np.nanmean(iou)),
        "fwiou": printed["fwiou"],
        "macc": _percent(np.nanmean(accuracy)),
        "pacc": _percent(right.sum() / truth.sum()),
        "printed_miou": printed["miou"],
    }


def detectron2_means(protocol: Protocol, videos: Sequence[VideoCounts]) -> Scores:
    """`SemSegEvaluator`: one more row and column for "nothing"; both are cut off before the sums.

    So void pixels are out, and pixels where the method abstains vanish from the truth as well.
    """
    size = len(protocol.classes)
    matrix = np.zeros((size + 1, size + 1), np.int64)  # prediction x truth
    for counts in videos:
        truth, guess, pixels = _classes(protocol, counts)
        truth = np.where(np.isin(truth, protocol.scored_classes), truth, size)
        guess = np.where(guess < 0, size, guess)
        np.add.at(matrix, (guess, truth), pixels)
    right = matrix.diagonal()[:-1].astype(np.float64)
    in_truth = matrix[:-1, :-1].sum(axis=0).astype(np.float64)
    guessed = matrix[:-1, :-1].sum(axis=1).astype(np.float64)
    present = in_truth > 0
    if not present.any():
        return dict(NOTHING)
    iou = right[present] / (in_truth + guessed - right)[present]
    accuracy = right[present] / in_truth[present]
    return {
        "miou": _percent(np.sum(iou) / np.sum(present)),
        "fwiou": _percent(np.sum(iou * (in_truth / np.sum(in_truth))[present])),
        "macc": _percent(np.sum(accuracy) / np.sum(present)),
        "pacc": _percent(np.sum(right) / np.sum(in_truth)),
    }


def mmseg_means(protocol: Protocol, videos: Sequence[VideoCounts]) -> Scores:
    """`IoUMetric`: ignored pixels masked out, three histograms an image that drop what is out of range.

    Areas are added image by image in float32, as there; over long sets this is not exact. Classes
    are those of the vocabulary and those scored; one without a pixel in truth and prediction is NaN
    and out of the mean, one that is only predicted has IoU 0 and is in. No frequency-weighted score.
    """
    classes = np.union1d(protocol.scored_classes, [c for c in protocol.vocabulary_classes if c >= 0])
    areas = np.zeros((4, len(classes)), np.float32)  # intersection, union, prediction, truth
    for counts in videos:
        for frame in _frame_areas(protocol, counts, classes.astype(np.int64)):
            areas += frame
    intersection, union, _, truth = areas
    if not truth.any():
        return {"miou": None, "macc": None, "pacc": None}
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, accuracy = intersection / union, intersection / truth
    return {
        "miou": _percent(np.nanmean(iou)),
        "macc": _percent(np.nanmean(accuracy)),
        "pacc": _percent(intersection.sum() / truth.sum()),
    }


def _frame_areas(protocol: Protocol, counts: VideoCounts, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """(F, 4, K) intersection, union, prediction and truth of each annotated frame."""
    series = counts.per_frame
    truth, guess = _class_columns(protocol, series.truth, series.prediction)
    frame, pixels = series.frame_of_entry, series.pixels.astype(np.int64)
    scored = np.isin(truth, protocol.scored_classes)
    areas = np.zeros((len(series), 4, len(classes)), np.int64)
    for place, label, kept in (
        (0, guess, scored & (guess == truth)),
        (2, guess, scored & (guess >= 0)),
        (3, truth, scored),
    ):
        np.add.at(areas[:, place], (frame[kept], np.searchsorted(classes, label[kept])), pixels[kept])
    areas[:, 1] = areas[:, 2] + areas[:, 3] - areas[:, 0]
    return areas.astype(np.float32)


def _classes(
    protocol: Protocol, counts: VideoCounts
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    raw, predicted, pixels = counts.joint.arrays()
    return *_class_columns(protocol, raw, predicted), pixels


def _class_columns(
    protocol: Protocol, raw: NDArray[np.integer], predicted: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class index of truth (`IGNORE` or more: none) and of prediction (-1: none)."""
    truth = protocol.truth_table[raw].astype(np.int64)
    truth[truth >= len(protocol.classes)] = IGNORE
    return truth, np.append(protocol.class_of_vocabulary, -1)[predicted]


def _percent(value: float) -> float | None:
    return None if np.isnan(value) else 100.0 * float(value)
