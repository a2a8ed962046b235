"""The joint histogram of truth and prediction over the pixels of a frame."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.types import other_of

from .videocounts import OTHER

_DENSE_CUTS = 12  # more than one cut in so many pixels: count pixels, not runs
_TABLE_WIDTH = 256  # more labels than this are kept in a sparse table

Flat: TypeAlias = NDArray[Any]
Columns: TypeAlias = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
Runs: TypeAlias = tuple[NDArray[np.int64], NDArray[Any]]
"""Index of each run's last pixel, and its value."""


class LabelError(ValueError):
    """A label that nobody declared: a raw id in the truth, or an index outside the vocabulary.

    Attributes:
        value: the label. kind: "truth" or "prediction".
    """

    def __init__(self, value: int, kind: str) -> None:
        what = "raw id" if kind == "truth" else "vocabulary index"
        known = "the protocol's class table" if kind == "truth" else "the vocabulary"
        super().__init__(f"{what} {value} in the {kind} is not in {known}")
        self.value, self.kind = value, kind

    def __reduce__(self) -> tuple[object, ...]:
        return (LabelError, (self.value, self.kind))


class Pairs:
    """Counts how often each pair of truth and prediction occurs in a frame.

    Args:
        declared: (D,) raw ids that may occur in the truth, ascending.
        names: V, the size of the vocabulary.

    Label maps have long runs along a row: the pair is looked up once per run and weighted by its
    length. Maps with many runs (noise) are counted pixel by pixel, which bounds the cost.

    `runs` are those of the last prediction, None where it was counted pixel by pixel.
    """

    def __init__(self, declared: NDArray[np.int64], names: int) -> None:
        self.declared, self.names = declared, names
        self.is_declared = np.zeros(65536, np.bool_)
        self.is_declared[declared] = True
        self._rank = np.zeros(65536, np.int64)
        self._rank[declared] = np.arange(len(declared))
        self._cuts = np.empty((2, 0), np.bool_)
        self.runs: Runs | None = None

    def of(self, truth: Flat, prediction: Flat) -> Columns:
        """Truth ids, predictions (-1: other) and pixels of one frame; both maps flat, of one length >= 1.

        Raises:
            LabelError: a label that is not declared.
        """
        ends = self._ends(truth, prediction)
        if ends is None:
            self.runs = None
            return self.named(*_dense(truth, prediction), prediction.dtype)
        values = prediction[ends]
        self.runs = _runs(ends, values)
        lengths = np.empty_like(ends)
        lengths[0] = ends[0] + 1
        np.subtract(ends[1:], ends[:-1], out=lengths[1:])
        pairs = self._pairs(truth[ends], values, lengths)
        return self.named(*pairs, prediction.dtype)

    def named(
        self, truth: Flat, values: Flat, pixels: Flat, dtype: np.dtype[Any], ordered: bool = False
    ) -> Columns:
        """Distinct pairs of raw id and value in a map of `dtype` -> the columns of `of`, in canonical order.

        Args:
            ordered: the pairs are in canonical order already; otherwise by id and value.

        Raises:
            LabelError: a label that is not declared.
        """
        known = self.is_declared[truth]
        if not known.all():
            raise LabelError(int(truth[~known].min()), "truth")
        prediction = values.astype(np.int32)
        prediction[values == other_of(dtype)] = OTHER
        if prediction.max() >= self.names:
            raise LabelError(int(prediction[prediction >= self.names].min()), "prediction")
        if not ordered and prediction.min() == OTHER:
            order = np.lexsort((prediction, truth))
            truth, prediction, pixels = truth[order], prediction[order], pixels[order]
        return truth.astype(np.int32), prediction, pixels.astype(np.int32)

    def _ends(self, truth: Flat, prediction: Flat) -> NDArray[np.int64] | None:
        """Where a run of equal pairs ends; None for more runs than are worth it."""
        size = truth.size
        if self._cuts.shape[1] != size:
            self._cuts = np.ones((2, size), np.bool_)  # the last pixel always ends a run
        cut, other = self._cuts
        np.not_equal(truth[1:], truth[:-1], out=cut[:-1])
        np.not_equal(prediction[1:], prediction[:-1], out=other[:-1])
        cut |= other
        if np.count_nonzero(cut) > size // _DENSE_CUTS:
            return None
        return np.flatnonzero(cut)

    def _pairs(self, truth: Flat, values: Flat, pixels: Flat) -> Columns:
        """Equal pairs added up, ascending."""
        width = int(values.max()) + 1
        if width <= _TABLE_WIDTH and len(self.declared) <= _TABLE_WIDTH:
            if not self.is_declared[truth].all():
                return truth, values, pixels  # refused by `named`
            codes = self._rank[truth]
            codes *= width
            codes += values
            table = np.bincount(codes, pixels)
            kept = np.flatnonzero(table > 0)
            return self.declared[kept // width], kept % width, table[kept]
        codes, place = np.unique(truth.astype(np.int64) << 16 | values, return_inverse=True)
        return codes >> 16, codes & 65535, np.bincount(place.reshape(-1), pixels)


def _runs(ends: NDArray[np.int64], values: NDArray[Any]) -> Runs:
    """Runs of the prediction, from those of the pairs."""
    cut = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=cut[:-1])
    last = np.flatnonzero(cut)
    return ends[last], values[last]


def _dense(truth: Flat, prediction: Flat) -> Columns:
    if truth.dtype == np.uint8 and prediction.dtype == np.uint8:
        code = truth.astype(np.uint16)
        code <<= 8
        code |= prediction
        table = np.bincount(code, minlength=65536)
        pair = np.flatnonzero(table)
        return pair >> 8, pair & 255, table[pair]
    wide = truth.astype(np.uint32)
    wide <<= 16
    wide |= prediction
    pairs, counts = np.unique(wide, return_counts=True)
    return pairs >> 16, pairs & 65535, counts
