"""The joint histogram of truth and prediction over the pixels of many frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .videocounts import OTHER, Joint

_DENSE_CUTS = 12  # more than one cut in so many pixels: count pixels, not runs
_PENDING = 1 << 17  # runs kept before they are added up
_TABLE_CELLS = 1 << 20  # larger tables of pairs are kept sparse

Flat = NDArray[Any]


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
    """Turns two maps into weighted pair codes: `row * (V + 1) + column`.

    Args:
        declared: (D,) raw ids that may occur in the truth, ascending.
        names: V, the size of the vocabulary; column V is "other".

    Label maps have long runs along a row: the pair is looked up once per run and weighted by its
    length. Maps with many runs (noise) are counted pixel by pixel, which bounds the cost.
    """

    def __init__(self, declared: NDArray[np.int64], names: int) -> None:
        self.declared, self.names = declared, names
        self.cells = len(declared) * (names + 1)
        self._row = np.full(65536, -1, np.int64)
        self._row[declared] = np.arange(len(declared)) * (names + 1)
        self._column = {np.dtype(t): _columns(names, t) for t in (np.uint8, np.uint16)}
        self._cuts = np.empty((2, 0), np.bool_)

    def of(self, truth: Flat, prediction: Flat) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """(R,) codes and (R,) pixel weights of one frame; both maps flat, of the same length >= 1.

        Raises:
            LabelError: a label that is not declared.
        """
        truth_values, values, weights = self._runs(truth, prediction)
        rows = self._row[truth_values]
        if rows.min() < 0:
            raise LabelError(int(truth_values[rows < 0].min()), "truth")
        columns = self._column[prediction.dtype][values]
        if columns.min() < 0:
            raise LabelError(int(values[columns < 0].min()), "prediction")
        return rows + columns, weights

    def joint(self, codes: NDArray[np.int64], pixels: NDArray[Any]) -> Joint:
        """Histogram over codes -> sparse `Joint`."""
        truth = self.declared[codes // (self.names + 1)]
        prediction = codes % (self.names + 1)
        prediction[prediction == self.names] = OTHER
        counts = pixels.astype(np.int64)
        return Joint.of(zip(truth.tolist(), prediction.tolist(), counts.tolist(), strict=True))

    def _runs(self, truth: Flat, prediction: Flat) -> tuple[Flat, Flat, NDArray[Any]]:
        size = truth.size
        if self._cuts.shape[1] != size - 1:
            self._cuts = np.empty((2, size - 1), np.bool_)
        cut, other = self._cuts
        np.not_equal(truth[1:], truth[:-1], out=cut)
        np.not_equal(prediction[1:], prediction[:-1], out=other)
        cut |= other
        if np.count_nonzero(cut) > size // _DENSE_CUTS:
            return _dense(truth, prediction)
        ends = np.append(np.flatnonzero(cut), size - 1)
        return truth[ends], prediction[ends], np.diff(ends, prepend=-1)


def _columns(names: int, dtype: type[Any]) -> NDArray[np.int64]:
    size = np.iinfo(dtype).max + 1
    column = np.full(size, -1, np.int64)
    column[: min(names, size)] = np.arange(min(names, size))
    column[size - 1] = names
    return column


def _dense(truth: Flat, prediction: Flat) -> tuple[Flat, Flat, NDArray[Any]]:
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


class JointCounter:
    """Adds up weighted pair codes, many frames per addition; sums are exact (below 2**53)."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self.frames = 0
        self._codes: list[NDArray[np.int64]] = []
        self._weights: list[NDArray[Any]] = []
        self._waiting = 0
        self._total = np.zeros(pairs.cells if pairs.cells <= _TABLE_CELLS else 0)

    def add(self, codes: NDArray[np.int64], weights: NDArray[Any]) -> None:
        """One frame's codes, as `Pairs.of` gives them."""
        self.frames += 1
        self._codes.append(codes)
        self._weights.append(weights)
        self._waiting += codes.size
        if self._waiting > _PENDING or len(self._codes) >= 16:
            self._flush()

    def joint(self) -> Joint:
        """The histogram over everything added so far."""
        self._flush()
        if self._pairs.cells <= _TABLE_CELLS:
            codes = np.flatnonzero(self._total)
            return self._pairs.joint(codes, self._total[codes])
        if not self._codes:
            return Joint()
        return self._pairs.joint(self._codes[0], self._weights[0])

    def _flush(self) -> None:
        if not self._codes:
            return
        codes = np.concatenate(self._codes)
        weights = np.concatenate(self._weights)
        if self._pairs.cells <= _TABLE_CELLS:
            self._total += np.bincount(codes, weights, self._pairs.cells)
            self._codes, self._weights = [], []
        else:
            kept, place = np.unique(codes, return_inverse=True)
            self._codes = [kept]
            self._weights = [np.bincount(place.reshape(-1), weights)]
        self._waiting = 0
