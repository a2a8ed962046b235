"""Run-length masks as COCO writes them: column by column, first the run of zeros. NumPy alone decodes them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import missing_extra
from ovbench.core.types import LabelMap, other_of

from .masks import MAX_PIXELS

Ints = NDArray[np.int64]

_FIRST = 48  # a compressed digit is written as this character code plus six bits
_MORE, _SIGN, _BITS = 0x20, 0x10, 5  # of the six: more digits follow; minus (of the last digit); payload
_MOST_DIGITS = 7  # 35 bits: more than any picture has pixels


class RunError(ValueError):
    """A run-length mask that says something impossible; the text says what."""


class Overlap(Exception):
    """Two masks of one frame hold the same pixel; `first` and `second` are their positions."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first, second)
        self.first, self.second = first, second


@dataclass(frozen=True)
class Runs:
    """One mask: pixels start <= i < stop of each run, counted down the columns of a (height, width) frame."""

    size: tuple[int, int]
    start: Ints
    stop: Ints


def decode_runs(segmentation: Any) -> Runs:
    """A COCO segmentation {"size": [h, w], "counts": text or list of integers}.

    Nothing is allocated that the counts themselves do not need.

    Raises:
        RunError: no such object, an impossible size, a damaged text, runs that do not add up to the size.
    """
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        kind = "polygons or an unknown form" if isinstance(segmentation, list) else "no {size, counts}"
        raise RunError(f"its segmentation is {kind}; a label map needs run lengths")
    height, width = _size(segmentation["size"])
    counts = _counts(segmentation["counts"])
    if (counts < 0).any():
        raise RunError("it holds a run of negative length, so its counts are damaged")
    total = int(counts.sum())
    if total != height * width:
        raise RunError(
            f"its runs add up to {total:,} pixels, its size {height}x{width} has {height * width:,}"
        )
    ends = np.cumsum(counts)
    start, stop = ends[0::2][: len(ends) // 2], ends[1::2]
    some = stop > start
    return Runs((height, width), start[some], stop[some])


def paint(masks: Sequence[Runs], labels: Sequence[int], dtype: np.dtype[Any]) -> LabelMap:
    """(H, W) label map of masks of one size, at least one; pixels of no mask are "other".

    Raises:
        Overlap: a pixel belongs to two masks.
    """
    height, width = masks[0].size
    start = np.concatenate([m.start for m in masks])
    stop = np.concatenate([m.stop for m in masks])
    owner = np.repeat(np.arange(len(masks)), [len(m.start) for m in masks])
    order = np.argsort(start, kind="stable")
    start, stop, owner = start[order], stop[order], owner[order]
    clash = np.flatnonzero(start[1:] < stop[:-1])
    if len(clash):
        pair = sorted(owner[clash[0] : clash[0] + 2].tolist())
        raise Overlap(*pair)
    bounds = np.empty(2 * len(start) + 2, np.int64)
    bounds[0], bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = 0, start, stop, height * width
    values = np.full(2 * len(start) + 1, other_of(dtype), dtype)
    values[1::2] = np.asarray(labels, dtype)[owner]
    columns = np.repeat(values, np.diff(bounds)).reshape(width, height)
    return np.ascontiguousarray(columns.T)


def encode_masks(label_map: LabelMap) -> list[tuple[int, dict[str, Any], int, list[float]]]:
    """Every label of a frame as (label, segmentation, area, box [x, y, w, h]), by pycocotools.

    Raises:
        UserError: pycocotools is not installed.
    """
    try:
        coco = importlib.import_module("pycocotools.mask")
    except ModuleNotFoundError as error:
        raise missing_extra("pycocotools", "export") from error
    found = []
    for label in np.unique(label_map).tolist():
        runs = coco.encode(np.asfortranarray(label_map == label, np.uint8))
        segmentation = {"size": [int(n) for n in runs["size"]], "counts": runs["counts"].decode("ascii")}
        box = [float(n) for n in coco.toBbox(runs)]
        found.append((label, segmentation, int(coco.area(runs)), box))
    return found


def _size(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and n > 0 for n in value):
        raise RunError(f"its size is {str(value)[:40]}, not [height, width]")
    if value[0] * value[1] > MAX_PIXELS:
        raise RunError(f"its size {value[0]}x{value[1]} is more than {MAX_PIXELS:,} pixels")
    return value[0], value[1]


def _counts(value: Any) -> Ints:
    if isinstance(value, str):
        return _decompressed(value)
    if not isinstance(value, list) or not value or not all(type(n) is int for n in value):
        raise RunError("its counts are neither a text nor a list of integers")
    if max(value) > MAX_PIXELS or min(value) < 0:
        raise RunError(f"it holds a run of {max(value) if min(value) >= 0 else min(value)} pixels")
    return np.array(value, np.int64)


def _decompressed(text: str) -> Ints:
    """COCO's compressed counts: little-endian groups of five bits, from the fourth on as a difference to the
    run two places before (the format of pycocotools' `maskApi`; decoded here so that a damaged text cannot
    reach unchecked code, and scoring needs no extra package)."""
    try:
        digits = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _FIRST
    except UnicodeEncodeError as error:
        raise RunError("its compressed counts are damaged") from error
    last = np.flatnonzero((digits & _MORE) == 0)
    if (
        not len(digits)
        or (digits < 0).any()
        or (digits > 63).any()
        or last[-1:].tolist() != [len(digits) - 1]
    ):
        raise RunError("its compressed counts are damaged")
    first = np.append(0, last[:-1] + 1)
    length = last - first + 1
    if length.max() > _MOST_DIGITS:
        raise RunError("its compressed counts are damaged")
    place = np.arange(len(digits)) - np.repeat(first, length)
    numbers = np.add.reduceat((digits & (_MORE - 1)) << (_BITS * place), first)
    numbers -= np.where(digits[last] & _SIGN, np.int64(1) << (_BITS * length), 0)
    # counts[i] = number[i] + counts[i - 2] from the fourth on: a running sum over every second one
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    if (np.abs(numbers) > MAX_PIXELS).any():
        raise RunError("its compressed counts are damaged")
    return numbers
