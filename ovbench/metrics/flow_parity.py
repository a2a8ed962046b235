"""Flow-warped consistency as two released scripts compute it, restated from label maps and flows.

    vspw   `TC_cal.py` of the VSPW code. Nearest sampling on a grid that is scaled for `align_corners=True` and
           sampled with False, so the picture is stretched by half a pixel at each border; what leaves it reads
           class 0 (for even widths that is the whole last column, even where nothing moves). One confusion
           matrix over everything; mean over classes that occur in the predictions of frames t.
    etc    `tool/eval_tc.py` of ETC (Liu et al. 2020). Label ids are blended like grey values and cut off to
           uint8, which invents classes at borders; what leaves the picture repeats its edge. Mean over all K
           classes, absent ones counted as 0.

Neither masks occlusion. Both scripts bring a flow network of their own (RAFT, FlowNet2); here the flow is given,
so that everything after it can be compared. VSPW's looks at the first 100 listed videos only, ETC's at the first 29
pairs of some snippets: choosing them is up to the caller. These cannot be had from stored counts, which
hold pixels warped by another rule. A constant prediction scores 100 in both where no pixel leaves the picture or
the constant is class 0 (vspw), and at most 100 / K (etc).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import LabelMap

from .flow import Flow

Step: TypeAlias = tuple[LabelMap, LabelMap, Flow]
"""Label maps (H, W) of frames t and t + 1, and the flow (H, W, 2) from t to t + 1."""


def vspw_warp(labels_next: LabelMap, flow: Flow) -> LabelMap:
    """(H, W) labels of frame t + 1 fetched along the flow as VSPW's script does; 0 outside the picture."""
    height, width = labels_next.shape
    column, inside_x = _vspw_axis(flow[..., 0], np.arange(width, dtype=np.float32), width)
    row, inside_y = _vspw_axis(flow[..., 1], np.arange(height, dtype=np.float32)[:, None], height)
    inside = inside_x & inside_y
    warped: LabelMap = np.where(inside, labels_next[row, column], labels_next.dtype.type(0))
    return warped


def _vspw_axis(
    flow: NDArray[Any], place: NDArray[np.float32], size: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    one, two = np.float32(1), np.float32(2)
    grid = two * (place + flow.astype(np.float32)) / np.float32(max(size - 1, 1)) - one
    nearest = np.rint(
        (grid + one) * np.float32(size / 2) - np.float32(0.5)
    )  # half to even, as in the sampler
    inside = (nearest >= 0) & (nearest < size)
    return np.where(inside, nearest, 0).astype(np.intp), inside


def etc_warp(labels_next: LabelMap, flow: Flow) -> NDArray[np.uint8]:
    """(H, W) uint8: label ids of frame t + 1 interpolated bilinearly along the flow and cut off, as ETC does."""
    height, width = labels_next.shape
    x, left, right = _etc_axis(flow[..., 0], np.arange(width, dtype=np.float32), width)
    y, top, bottom = _etc_axis(flow[..., 1], np.arange(height, dtype=np.float32)[:, None], height)
    ids, one = labels_next.astype(np.float32), np.float32(1)
    blend = (one - x) * (one - y) * ids[top, left]
    blend += x * (one - y) * ids[top, right]
    blend += (one - x) * y * ids[bottom, left]
    blend += x * y * ids[bottom, right]
    return blend.astype(np.uint8)


def _etc_axis(
    flow: NDArray[Any], place: NDArray[np.float32], size: int
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp]]:
    """Weight of the farther neighbour, and the two neighbours, kept inside the picture."""
    target = place + flow.astype(np.float32)
    low = np.floor(target)
    near = np.clip(low, 0, size - 1).astype(np.intp)
    far = np.clip(low + 1, 0, size - 1).astype(np.intp)
    return target - low, near, far


def vspw_tc(steps: Iterable[Step], classes: int) -> float | None:
    """VSPW's TC, 0..1; None without any pixel. `classes`: label ids are 0 to `classes` - 1.

    Raises:
        UserError: a label map holds another id ("other" included, which the script does not know), or the
            maps and the flow differ in size, or the flow is not finite.
    """
    matrix = np.zeros(classes * classes, np.int64)
    for labels, following, flow in _checked(steps, classes):
        warped = vspw_warp(following, flow)
        code = labels.astype(np.int64) * classes + warped
        matrix += np.bincount(code.reshape(-1), minlength=classes * classes)
    table = matrix.reshape(classes, classes)
    hit, here, there = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    present = here > 0
    if not present.any():
        return None
    return float(np.mean(hit[present] / (here + there - hit)[present]))


def etc_tc(steps: Iterable[Step], classes: int) -> float | None:
    """ETC's TC, 0..1; None without any pixel. Arguments and errors as in `vspw_tc`."""
    hit, both = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for labels, following, flow in _checked(steps, classes):
        warped = etc_warp(following, flow)
        hit += np.bincount(labels[labels == warped], minlength=classes)
        both += np.bincount(labels.reshape(-1), minlength=classes)
        both += np.bincount(warped.reshape(-1), minlength=classes)
    if not both.any():
        return None
    return float(np.mean(hit / (both - hit + 1e-10)))


def _checked(steps: Iterable[Step], classes: int) -> Iterable[Step]:
    for number, (labels, following, flow) in enumerate(steps):
        where = f"pair {number}"
        if labels.shape != following.shape or flow.shape != (*labels.shape, 2):
            sizes = f"{labels.shape}, {following.shape}, {flow.shape}"
            raise UserError(f"label maps and flow differ in size: {sizes}", where=where)
        largest = max(int(labels.max()), int(following.max()))
        if largest >= classes:
            raise UserError(
                f"the label {largest} is not one of the {classes} classes",
                where=where,
                hint="the scripts know no 'other'",
            )
        if not np.isfinite(flow).all():
            raise UserError("the flow is not finite everywhere", where=where)
        yield labels, following, flow
