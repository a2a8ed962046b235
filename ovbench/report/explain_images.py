"""The arithmetic of conventions that look at every image by itself, stated directly."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.engine.records import CountedVideo
from ovbench.metrics.conventions import Convention
from ovbench.metrics.sums import counted, in_classes
from ovbench.protocol.schema import Protocol

from .explain_counts import ClassFacts, group_arithmetic

Floats = NDArray[np.float64]


def image_arithmetic(
    protocol: Protocol, records: Sequence[CountedVideo], rule: Convention, group: Sequence[ClassFacts]
) -> dict[str, Any]:
    """Like `group_arithmetic`, where the terms of a mean are images (or pairs of image and class).

    Args:
        rule: one whose `pooled` is False.
        group: pooled facts, which fwIoU and pAcc of a mean over pairs follow.
    """
    pooled = group_arithmetic(group)
    classes = [f.index for f in group]
    iou: list[float] = []
    acc: list[float] = []
    weighed: list[float] = []
    right: list[float] = []
    for record in records:
        hit, truth, guess = (x[:, classes] for x in _of_frames(protocol, record, rule))
        terms = _divided(hit, truth + guess - hit)
        iou += _terms(terms, rule.enters_iou(truth, guess), rule)
        acc += _terms(_divided(hit, truth), rule.enters_acc(truth, guess), rule)
        there = truth.sum(axis=1) > 0
        weighed += (100 * (truth * terms).sum(axis=1)[there] / truth.sum(axis=1)[there]).tolist()
        right += (100 * hit.sum(axis=1)[there] / truth.sum(axis=1)[there]).tolist()
    del pooled["things_miou"], pooled["stuff_miou"]
    found = {**pooled, "miou": _mean(iou, bool(right)), "macc": _mean(acc, bool(right))}
    if rule.unit == "image":
        found |= {"fwiou": _mean(weighed, bool(right)), "pacc": _mean(right, bool(right))}
    return found


def _of_frames(protocol: Protocol, record: CountedVideo, rule: Convention) -> tuple[Floats, Floats, Floats]:
    """(F, C) hits, truth and predictions in each annotated frame."""
    series = record.counts.per_frame
    columns = (c.astype(np.int64) for c in (series.truth, series.prediction, series.pixels))
    found = in_classes(protocol, series.frame_of_entry, *columns)
    in_truth, in_guess = counted(protocol, found, rule)
    hit, truth, guess = (np.zeros((len(series), len(protocol.classes))) for _ in range(3))
    same = found.guess == found.truth
    np.add.at(hit, (found.part[same], found.truth[same]), found.pixels[same])
    np.add.at(truth, (found.part[in_truth], found.truth[in_truth]), found.pixels[in_truth])
    np.add.at(guess, (found.part[in_guess], found.guess[in_guess]), found.pixels[in_guess])
    return hit, truth, guess


def _divided(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _terms(values: Floats, over: NDArray[np.bool_], rule: Convention) -> list[float]:
    if rule.unit == "image-class":
        return [100 * v for v in values[over].tolist()]
    number = over.sum(axis=1)
    total = np.where(over, values, 0.0).sum(axis=1)
    return [100 * v for v in (total[number > 0] / number[number > 0]).tolist()]


def _mean(terms: Sequence[float], defined: bool) -> dict[str, Any]:
    total = fsum(terms)
    return {"sum": total, "terms": len(terms), "value": total / len(terms) if terms and defined else None}
