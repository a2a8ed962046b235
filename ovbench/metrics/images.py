"""Scores that are means over images, as sums of fixed-point numbers, so that they add up over videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol

from .conventions import Convention
from .groups import PARTS, scored_parts
from .iou import Floats, ratio

UNIT = float(1 << 30)
"""Scores of 0..1 are summed as integers in this unit: resampled sums are exact whatever the order of addition."""

_PART, _GROUP = 4, 4 * len(PARTS) + 3


def no_images(protocol: Protocol) -> NDArray[np.int64]:
    """(I,) the sums of no image at all."""
    return np.zeros(_GROUP * len(scored_parts(protocol)), np.int64)


def image_sums(
    protocol: Protocol,
    hit: NDArray[np.int64],
    truth: NDArray[np.int64],
    guess: NDArray[np.int64],
    rule: Convention,
) -> NDArray[np.int64]:
    """(I,) sums over the images of a video.

    For each group and each of `PARTS`: sum of IoU, number of its terms, sum of accuracy, number of its
    terms; then for the group the sums of fwIoU and of pixel accuracy, and the number of images with truth.
    A term is an image, or an image and a class, as the convention says.

    Args:
        hit, truth, guess: (F, C) pixels of each image, as the convention counts them.
    """
    t, g, h = (a.astype(np.float64) for a in (truth, guess, hit))
    iou, acc = ratio(h, t + g - h, 0.0), ratio(h, t, 0.0)
    over_iou, over_acc = rule.enters_iou(t, g), rule.enters_acc(t, g)
    each_class = rule.unit == "image-class"
    sums: list[int] = []
    for parts in scored_parts(protocol).values():
        for classes in parts:
            for values, over in ((iou, over_iou), (acc, over_acc)):
                sums += _terms(values[:, classes], over[:, classes], each_class)
        whole = parts[0]
        pixels = t[:, whole].sum(axis=1)
        weighed, right = (t * iou)[:, whole].sum(axis=1), h[:, whole].sum(axis=1)
        there = pixels > 0
        sums += [
            _fixed(weighed[there] / pixels[there]),
            _fixed(right[there] / pixels[there]),
            int(there.sum()),
        ]
    return np.array(sums, np.int64)


def image_scores(
    sums: Floats, pooled: list[tuple[Floats, ...]], rule: Convention
) -> list[tuple[Floats, ...]]:
    """(I, R) sums -> for each group its scores, as `iou.pooled_scores` gives them.

    Args:
        pooled: the pooled scores; a mean over pairs of image and class takes fwIoU and pixel accuracy from them.
    """
    found: list[tuple[Floats, ...]] = []
    for number, (_, fwiou, _, pacc, _, _) in enumerate(pooled):
        rows = sums[number * _GROUP : (number + 1) * _GROUP]
        if rule.unit == "image":
            fwiou, pacc = (_mean(rows[-3 + i], rows[-1]) for i in (0, 1))
        # Like the pooled scores, undefined where there is no truth at all.
        miou, things, stuff = (
            np.where(rows[i + 3] > 0, _mean(rows[i], rows[i + 1]), np.nan)
            for i in range(0, _PART * len(PARTS), _PART)
        )
        found.append((miou, fwiou, _mean(rows[2], rows[3]), pacc, things, stuff))
    return found


def _terms(values: Floats, over: NDArray[np.bool_], each_class: bool) -> tuple[int, int]:
    if each_class:
        return _fixed(values[over]), int(np.count_nonzero(over))
    number = over.sum(axis=1)
    there = number > 0
    return _fixed(values[there].sum(axis=1) / number[there]), int(np.count_nonzero(there))


def _fixed(values: Floats) -> int:
    return int(np.rint(values * UNIT).sum())


def _mean(total: Floats, number: Floats) -> Floats:
    """Percent."""
    return ratio(100.0 * (total / UNIT), number)
