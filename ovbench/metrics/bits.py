"""Masks of a frame as bits, 64 pixels a word: what window and change counts are made of.

Comparing and combining masks of one byte a pixel is most of the work of counting; packed, each
combination costs an eighth of it and less.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .codes import TruthCodes

Words: TypeAlias = NDArray[np.uint64]
Flat: TypeAlias = NDArray[Any]


def words(size: int) -> int:
    """How many words hold `size` bits."""
    return -(-size // 64)


def pack(mask: NDArray[np.bool_], out: Words) -> Words:
    """(S,) bool -> bits in `out`, of `words(S)` words whose surplus bits are 0 and stay so."""
    packed = np.packbits(mask, bitorder="little")
    out.view(np.uint8)[: packed.size] = packed
    return out


def popcounts(masks: Words) -> list[int]:
    """(M, W) masks -> the number of set bits of each."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        total: list[int] = np.add.reduce(np.bitwise_count(masks), axis=1, dtype=np.uint32).tolist()
        return total
    return [int(np.count_nonzero(np.unpackbits(row.view(np.uint8)))) for row in masks]


@dataclass(frozen=True)
class Step:
    """A frame beside those before it. Masks of truth are None where either frame has none."""

    size: int
    same_prediction: Words | None = None  # None: the frame before was not segmented
    back: Words | None = None  # prediction equals that of the frame before the last; None: not segmented
    same_truth: Words | None = None  # the same class, or the same void
    same_raw: Words | None = None  # the same raw id; None: the same pixels as `same_truth`
    scored: Words | None = None  # truth is scored now (None: no truth now)
    scored_before: Words | None = None
    right: Words | None = None  # scored, and the prediction is right


class Stepper:
    """Turns frames into `Step`s; holds two frames of predictions and one of truth, and nothing else.

    The masks of a step are valid until the step after the next.
    """

    def __init__(self, codes: TruthCodes) -> None:
        self._codes = codes
        self._size = -1
        self._seen: set[int] = set()
        self._mixed = False
        self.skip()

    def skip(self) -> None:
        """A frame that was not segmented."""
        self._segmented = 0  # frames in a row, up to now
        self._annotated = False

    def step(self, raw: Flat | None, present: Collection[int], prediction: Flat) -> Step:
        """The next frame, flat; a change of size begins anew.

        Args:
            raw: raw ids, or None without annotation. present: the ids that occur in it.
            prediction: vocabulary indices.
        """
        if prediction.size != self._size or prediction.dtype != self._predictions.dtype:
            self._begin(prediction)
        same = back = None
        slot = self._turn % 3
        if self._segmented:
            same = self._equal(prediction, self._predictions[slot - 1], 0)
        if self._segmented > 1:
            back = self._equal(prediction, self._predictions[slot - 2], 1)
        truth = self._truth(raw, present, prediction) if raw is not None else {}
        np.copyto(self._predictions[slot], prediction)
        self._segmented += 1
        self._annotated = raw is not None
        self._turn += 1
        return Step(prediction.size, same, back, **truth)

    def _truth(self, raw: Flat, present: Collection[int], prediction: Flat) -> dict[str, Words | None]:
        masks: dict[str, Words | None] = {}
        now, before = self._turn & 1, ~self._turn & 1
        if self._raws[now].dtype != raw.dtype:
            self._raws[now] = np.empty_like(raw)
        np.copyto(self._raws[now], raw)
        mixed = self._mix(present)
        if mixed:
            codes = self._full_codes(self._turn, present)
        else:
            codes = self._truths[0]  # of this frame only: one buffer stays in the processor's cache
            self._codes.encode(raw, present, codes, self._mask, scored_only=True)
        if self._annotated:
            same = masks["same_truth"] = self._equal(raw, self._raws[before], 2)
            masks["scored_before"] = self._masks[before][4]
        if self._annotated and mixed:
            same_code = self._equal(codes, self._full_codes(self._turn - 1, self._seen), 3)
            if not np.array_equal(same, same_code):
                masks["same_raw"], masks["same_truth"] = same, same_code
        self._codes.scored(codes, self._mask)
        masks["scored"] = scored = pack(self._mask, self._masks[now][4])
        self._codes.hits(codes, prediction, self._mask)
        right = pack(self._mask, self._masks[now][5])
        right &= scored
        masks["right"] = right
        return masks

    def _mix(self, present: Collection[int]) -> bool:
        """Whether two ids of one code have occurred in this video: till then, equal codes mean equal ids."""
        if self._codes.aliased and not self._mixed:
            self._seen.update(present)
            self._mixed = self._codes.mixed(self._seen)
        return self._mixed

    def _full_codes(self, turn: int, present: Collection[int]) -> Flat:
        """Codes of this frame or of the one before, encoded once."""
        place = turn & 1
        codes: Flat = self._truths[place]
        if self._coded[place] != turn:
            self._codes.encode(self._raws[place], present, codes, self._mask)
            self._coded[place] = turn
        return codes

    def _equal(self, a: Flat, b: Flat, place: int) -> Words:
        np.equal(a, b, out=self._mask)
        return pack(self._mask, self._masks[self._turn & 1][place])

    _predictions: Flat = np.empty((3, 0), np.uint8)

    def _begin(self, prediction: Flat) -> None:
        size = self._size = prediction.size
        self._turn = 0
        self._mask = np.empty(size, np.bool_)
        self._masks = np.zeros((2, 6, words(size)), np.uint64)
        self._predictions = np.empty((3, size), prediction.dtype)
        self._truths = np.empty((2, size), self._codes.dtype)
        self._raws = [np.empty(size, np.uint8), np.empty(size, np.uint8)]
        self._coded = [-1, -1]  # the turn whose full codes `_truths` holds
        self.skip()
