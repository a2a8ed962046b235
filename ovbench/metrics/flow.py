"""Temporal consistency along a flow: frame t against frame t + 1 warped back to it, as exact integers.

All of these scores ask whether a prediction moves with the picture, none whether it is right: **a constant
prediction scores 100 in TC and mTC and 0 in the warped change rate**, whatever the video shows. They belong
beside an accuracy and the row of a constant.

"other" (the method abstained) is a label like any other where change is asked for: other against other is
no change, other against a class is one. It is no class, so it never enters the mean of TC; but a pixel that
is a class in one map and "other" in the other still belongs to the union of that class and lowers it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.types import LabelMap, other_of

from .counts import SizeError
from .series import JointSeries
from .videocounts import OTHER, FlowCounts

CHECK_SLOPE, CHECK_FLOOR = 0.01, 0.5
"""Forward-backward check: how far apart the two flows may be, relative (of the squares) and in square pixels."""

_EXACT32 = 1 << 24  # float32 holds every integer below
_PAIRS8 = 1 << 16
_STRIP = 32  # rows

Flow = NDArray[np.float32]
"""(H, W, 2) float32: [dx, dy] in pixels, x to the right and y down, from a pixel of one frame to another frame."""


def warp_labels(labels_next: LabelMap, flow: Flow) -> tuple[LabelMap, NDArray[np.bool_]]:
    """Fetch, for every pixel of frame t, the label that frame t + 1 has where the flow leads.

    Pixel (y, x) has its centre at the integers (y, x). It takes the label of the pixel of frame t + 1 whose
    centre is nearest to (y + dy, x + dx); half a pixel rounds to the right and down, at every position alike:
    the displacement `floor(flow + 0.5)` is rounded, not the place. No normalised grid is involved, hence no
    `align_corners`.

    Args:
        labels_next: (H, W) label map of frame t + 1.
        flow: (H, W, 2) from frame t to frame t + 1; not finite where it is unknown.

    Returns:
        (H, W) labels, 0 where not valid, and (H, W) bool: the flow is finite and stays in the picture.

    Raises:
        SizeError: flow and label map differ in size.
    """
    _check_flow(flow, labels_next.shape)
    return _fetch(labels_next, flow)


def occluded(flow: Flow, backward: Flow) -> NDArray[np.bool_]:
    """Pixels of frame t that the way back does not confirm: hidden in frame t + 1, or the flow is wrong.

    With f the flow of a pixel and b the backward flow of the pixel it leads to (the one whose label
    `warp_labels` takes), a pixel is occluded where |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5, the constants of
    Sundaram et al. 2010 that the flow literature uses. A backward flow that is not finite counts as occluded;
    pixels that leave the picture are not judged (False).

    Args:
        flow: (H, W, 2) from frame t to t + 1. backward: (H, W, 2) from frame t + 1 to t.
    """
    _check_flow(backward, flow.shape[:2])
    anything = np.zeros(flow.shape[:2], np.uint8)
    reached = _fetch(anything, flow)[1]
    return reached & ~_fetch(anything, flow, backward)[1]


def landing(flow: Flow) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(H, W) flat index of the pixel that each pixel's flow leads to, by the rule of `warp_labels`; and where there
    is one (0 where not)."""
    height, width = flow.shape[:2]
    valid = np.empty((height, width), np.bool_)
    return _targets(flow, 0, height, valid), valid


class FlowCounter:
    """Counts the pairs of one video under one flow; use a new one for each video and backend."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        self._excluded: list[int] = []

    def add(
        self, frame: int, labels: LabelMap, following: LabelMap, flow: Flow, backward: Flow | None = None
    ) -> None:
        """Count frame `frame` against the next one.

        Args:
            frame: its number; numbers ascend from call to call.
            labels, following: (H, W) label maps of frames t and t + 1, of one dtype.
            flow: (H, W, 2) from t to t + 1.
            backward: (H, W, 2) from t + 1 to t: occluded pixels are then excluded too.

        Raises:
            SizeError: maps and flows differ in size.
        """
        if labels.shape != following.shape:
            raise SizeError("two neighbouring label maps differ in size", labels.shape, following.shape)
        if labels.dtype != following.dtype:
            raise TypeError(f"label maps of {labels.dtype} and {following.dtype}")
        _check_flow(flow, labels.shape)
        if backward is not None:
            _check_flow(backward, labels.shape)
        warped, valid = _fetch(following, flow, backward)
        self._rows.append((frame, *_histogram(labels[valid], warped[valid])))
        self._excluded.append(int(labels.size - np.count_nonzero(valid)))

    def finish(self) -> FlowCounts:
        """The counts of all pairs."""
        return FlowCounts(JointSeries.of(self._rows), tuple(self._excluded))


def video_tc(counts: FlowCounts) -> float | None:
    """TC of a video, 0..1: mIoU of the maps of frames t against the warped ones, all pairs pooled.

    The mean is over classes that occur in either map of any pair; None where there is no such class.
    A constant prediction has 1.
    """
    intersection, union = _areas(counts)
    total = union.sum(axis=0)
    if not (total > 0).any():
        return None
    return float(np.mean(intersection.sum(axis=0)[total > 0] / total[total > 0]))


def step_ious(counts: FlowCounts) -> NDArray[np.float64]:
    """(F,) mIoU of each pair, 0..1, over the classes of that pair; NaN where it has none.

    mTC is the mean of these over time steps (Varghese et al. 2020). A constant prediction has 1 everywhere.
    """
    intersection, union = _areas(counts)
    present = union > 0
    ious = np.divide(intersection, union, out=np.zeros(union.shape), where=present)
    classes = present.sum(axis=1)
    mean = np.full(len(union), np.nan)
    np.divide(ious.sum(axis=1), classes, out=mean, where=classes > 0)
    return mean


def warped_change(counts: FlowCounts) -> tuple[int, int]:
    """(changed, pixels) over all pairs: valid pixels whose label differs from the warped one, and all valid ones.

    "other" is compared like a class. With a flow of zero this is the plain change rate. A constant
    prediction has (0, pixels).
    """
    pairs = counts.pairs
    changed = pairs.pixels[pairs.truth != pairs.prediction]
    return int(changed.sum(dtype=np.int64)), int(pairs.pixels.sum(dtype=np.int64))


def _areas(counts: FlowCounts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(F, C) intersections and unions of each pair, C the classes that occur."""
    pairs = counts.pairs
    step, pixels = pairs.frame_of_entry, pairs.pixels.astype(np.float64)
    classes = np.unique(np.concatenate([pairs.truth, pairs.prediction]))
    classes = classes[classes != OTHER]
    shape = (len(pairs), len(classes))

    def areas(labels: NDArray[np.int32], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        code = step[kept] * len(classes) + np.searchsorted(classes, labels[kept])
        summed = np.bincount(code, pixels[kept], shape[0] * shape[1])
        return summed.astype(np.float64).reshape(shape)  # integers where nothing is to be summed

    named = pairs.truth != OTHER
    intersection = areas(pairs.truth, named & (pairs.truth == pairs.prediction))
    both = areas(pairs.truth, named) + areas(pairs.prediction, pairs.prediction != OTHER)
    return intersection, both - intersection


def _fetch(
    labels_next: LabelMap, flow: Flow, backward: Flow | None = None
) -> tuple[LabelMap, NDArray[np.bool_]]:
    """`warp_labels`, and with `backward` also not valid where occluded; in strips, which stay in the cache."""
    height, width = labels_next.shape
    warped, valid = np.empty_like(labels_next, order="C"), np.empty((height, width), np.bool_)
    if backward is not None:  # dx and dy as one item, fetched at once
        pairs = np.ascontiguousarray(backward, np.float32).view(np.int64).reshape(-1)
    for top in range(0, height, _STRIP):
        rows = slice(top, top + _STRIP)
        index = _targets(flow[rows], top, height, valid[rows])
        np.take(labels_next, index, out=warped[rows], mode="clip")
        if backward is not None:
            back = np.take(pairs, index, mode="clip").view(np.float32).reshape(*index.shape, 2)
            valid[rows] &= _agree(flow[rows], back)
    warped *= valid
    return warped, valid


def _targets(flow: Flow, top: int, height: int, valid: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(h, W) flat index of the pixel that each pixel of the strip from row `top` on leads to, 0 where not valid;
    `valid` is filled in."""
    width = flow.shape[1]
    place = flow + np.float32(0.5)
    np.floor(place, out=place)
    x, y = place[..., 0], place[..., 1]
    x = x + np.arange(width, dtype=np.float32)
    y = y + np.arange(top, top + len(flow), dtype=np.float32)[:, None]
    np.greater_equal(x, 0, out=valid)  # false for NaN, as the others
    valid &= x < width
    valid &= y >= 0
    valid &= y < height
    if height * width > _EXACT32:
        y = y.astype(np.float64)
    with np.errstate(all="ignore"):  # places outside may be infinite
        y *= width
        y += x
    y.reshape(-1)[np.flatnonzero(~valid)] = 0
    return y.astype(np.intp)


def _agree(flow: Flow, back: Flow) -> NDArray[np.bool_]:
    with np.errstate(all="ignore"):
        gap = _square(flow + back)
        limit = CHECK_SLOPE * (_square(flow) + _square(back)) + CHECK_FLOOR
        agree: NDArray[np.bool_] = gap <= limit
    return agree


def _square(flow: NDArray[Any]) -> NDArray[Any]:
    squares = flow * flow
    total: NDArray[Any] = squares[..., 0] + squares[..., 1]
    return total


def _histogram(first: LabelMap, second: LabelMap) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Labels of two flat maps as canonical columns (first, second, pixels), -1 for "other"."""
    other = other_of(first.dtype)
    if first.dtype == np.uint8:
        code = first.astype(np.uint16)
        code <<= 8
        code |= second
        table = np.bincount(code, minlength=_PAIRS8)
        pair = np.flatnonzero(table)
        a, b, pixels = pair >> 8, pair & 255, table[pair]
    else:
        wide = first.astype(np.uint32)
        wide <<= 16
        wide |= second
        pairs, pixels = np.unique(wide, return_counts=True)
        a, b = (pairs >> 16).astype(np.int64), (pairs & 65535).astype(np.int64)
    a, b = np.where(a == other, OTHER, a), np.where(b == other, OTHER, b)
    order = np.lexsort((b, a))
    return a[order], b[order], pixels[order]


def _check_flow(flow: Flow, shape: tuple[int, ...]) -> None:
    if flow.shape != (*shape, 2):
        raise SizeError("flow and label map differ in size", flow.shape[:2], shape)
