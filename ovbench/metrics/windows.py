"""Window counts of video consistency (VC_n): one pass, constant memory for any length of video.

Per pixel two counters say for how many frames the truth, and the pair of truth and prediction,
have not changed. A window of n frames that ends now is constant where the counter is >= n.
A pixel whose pair was constant over the window and is right now was right all along, so the
correct count needs one more mask and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codes import TruthCodes
from .videocounts import WindowCounts

_BYTE_LIMIT = 200  # longest window that byte counters serve
_CLIP_EVERY = 50  # so that limit + 50 stays below 256


class WindowCounter:
    """Counts every window of the lengths `lengths` of one video.

    Args:
        codes: how raw ids compare with predictions.
        lengths: window lengths, each >= 1.
    """

    def __init__(self, codes: TruthCodes, lengths: Sequence[int]) -> None:
        self._codes = codes
        self._lengths = tuple(sorted(set(lengths)))
        self._rows: dict[int, list[tuple[int, ...]]] = {n: [] for n in self._lengths}
        self._frame = -1  # number of the frame seen last
        self._run = 0  # annotated frames without a gap, up to now
        self._size = -1

    def skip(self) -> None:
        """A frame without truth: no window holds it."""
        self._frame += 1
        self._run = 0

    def update(self, raw: NDArray[Any], prediction: NDArray[Any]) -> None:
        """The next frame, both maps flat; within a run of frames the size must not change."""
        self._frame += 1
        self._run += 1
        if self._run == 1:
            self._start(raw.size, prediction.dtype)
        truth, before = self._truth[self._frame & 1], self._truth[~self._frame & 1]
        same, same_pair, scored = self._masks
        self._codes.encode(raw, truth, same)
        if self._run > 1:
            np.equal(truth, before, out=same)
            np.equal(prediction, self._prediction, out=same_pair)
            same_pair &= same
            if self._run % _CLIP_EVERY == 0:
                np.minimum(self._ages, self._lengths[-1], out=self._ages)
            for age, kept in zip(self._ages, (same, same_pair), strict=True):
                age *= kept.view(np.uint8)
                age += self._one
        np.copyto(self._prediction, prediction)
        if self._run >= self._lengths[0]:
            self._codes.scored(truth, scored)
            self._count(truth, prediction)

    def finish(self) -> dict[int, WindowCounts]:
        """Window length -> counts of all windows seen."""
        return {
            n: WindowCounts(*(tuple(c) for c in zip(*rows, strict=True))) if rows else WindowCounts()
            for n, rows in self._rows.items()
        }

    def _count(self, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        held, held_pair, scored = self._masks
        right = self._right
        self._codes.right(truth, prediction, scored, right)
        truth_age, pair_age = self._ages
        for n in self._lengths:
            if self._run < n:
                break
            np.greater_equal(truth_age, n, out=held)
            script_den = np.count_nonzero(held)
            held &= scored
            clean_den = np.count_nonzero(held)
            np.greater_equal(pair_age, n, out=held_pair)
            script_num = np.count_nonzero(held_pair)
            np.logical_and(held_pair, right, out=held)
            correct_num = np.count_nonzero(held)
            held_pair &= scored
            clean_num = np.count_nonzero(held_pair)
            start = self._frame - n + 1
            counts = (start, script_num, script_den, clean_num, correct_num, clean_den)
            self._rows[n].append(tuple(int(c) for c in counts))

    def _start(self, size: int, dtype: np.dtype[Any]) -> None:
        if size != self._size:
            self._size = size
            age = np.dtype(np.uint8 if self._lengths[-1] <= _BYTE_LIMIT else np.uint32)
            self._one = age.type(1)
            self._ages = np.empty((2, size), age)
            self._truth = np.empty((2, size), self._codes.dtype)
            self._prediction = np.empty(size, dtype)
            self._masks = np.empty((3, size), np.bool_)
            self._right = np.empty(size, np.bool_)
        self._ages.fill(1)
