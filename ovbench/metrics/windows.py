"""Window counts of video consistency (VC_n): one pass, memory that does not grow with the video.

A window of n frames is constant where n - 1 steps in a row kept the pixel. With masks packed into
bits, "the last 2m steps kept it" is one AND of two masks "the last m steps kept it", so a window of
any length costs a few operations on an eighth of a byte a pixel. A pixel whose pair of truth and
prediction was constant over the window and is right now was right all along.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bits import Step, Words, popcounts, words
from .videocounts import WindowCounts

_COLUMNS = len(fields(WindowCounts))


class WindowRows:
    """Integers of every window, as they come: eight of each."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._values = {n: array("q") for n in lengths}

    def add(self, length: int, start: int, counts: Sequence[int]) -> None:
        """A window from frame `start` on; `counts` as in `WindowCounts`."""
        values = self._values[length]
        values.append(start)
        values.extend(counts)

    def finish(self) -> dict[int, WindowCounts]:
        """Window length -> counts of all windows."""
        return {
            n: WindowCounts(*(tuple(v[i::_COLUMNS]) for i in range(_COLUMNS)))
            for n, v in self._values.items()
        }


class Kept:
    """Remembers masks "kept by this step" and answers "kept by the last m steps" for some fixed m.

    `rings[k]` holds masks "kept by 2**k steps" of as many steps back as the next ring or some m asks for.
    """

    def __init__(self, spans: Sequence[int], size: int) -> None:
        top = max(spans, default=0).bit_length() - 1
        depths = [1 << k for k in range(top)]
        if top >= 0:
            depths.append(max(spans) - (1 << top))
        self.rings = [np.zeros((depth + 1, words(size)), np.uint64) for depth in depths]
        self.turn = 0

    def add(self, mask: Words) -> None:
        """The next step."""
        self.turn += 1
        for level, ring in enumerate(self.rings):
            now = ring[self.turn % len(ring)]
            if level == 0:
                np.copyto(now, mask)
            else:
                self._combine(level - 1, 1 << (level - 1), now)

    def last(self, m: int, out: Words) -> Words:
        """Pixels kept by the last m steps, m >= 1 and one of the spans; needs m steps before."""
        top = m.bit_length() - 1
        self._combine(top, m - (1 << top), out)
        return out

    def copy_from(self, other: Kept) -> None:
        """Begin where `other` stands."""
        self.turn = other.turn
        for mine, theirs in zip(self.rings, other.rings, strict=True):
            np.copyto(mine, theirs)

    def _combine(self, level: int, back: int, out: Words) -> None:
        ring = self.rings[level]
        now, before = ring[self.turn % len(ring)], ring[(self.turn - back) % len(ring)]
        np.bitwise_and(now, before, out=out)


class WindowCounter:
    """Counts every window of the lengths `lengths` (each >= 1) of one video, from its steps."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(sorted(set(lengths)))
        self._rows = WindowRows(self.lengths)
        self._size = -1
        self._run = 0  # annotated frames without a gap, up to now
        self._flips = 0  # steps for which ids and classes may still differ in a window

    def skip(self) -> None:
        """A frame without truth: no window holds it."""
        self._run = 0

    def add(self, frame: int, step: Step) -> None:
        """Frame number `frame`, annotated; within a run of frames the size must not change."""
        if step.size != self._size:
            self._begin(step.size)
        if step.same_truth is None or step.same_prediction is None:
            self._run, self._flips = 0, 0
        else:
            self._keep(step.same_truth, step.same_prediction, step.same_raw)
        self._run += 1
        for n in self.lengths:
            if self._run >= n:
                self._count(n, frame, step)

    def finish(self) -> dict[int, WindowCounts]:
        """Window length -> counts of all windows seen."""
        return self._rows.finish()

    def _keep(self, truth: Words, prediction: Words, raw: Words | None) -> None:
        if raw is not None and not self._flips:
            for mine, merged in zip(self._raw, self._merged, strict=True):
                mine.copy_from(merged)
        self._flips = self.lengths[-1] if raw is not None else max(self._flips - 1, 0)
        self._merged[0].add(truth)
        self._merged[1].add(np.bitwise_and(truth, prediction, out=self._pair))
        if self._flips:
            ids = truth if raw is None else raw
            self._raw[0].add(ids)
            self._raw[1].add(np.bitwise_and(ids, prediction, out=self._pair))

    def _count(self, n: int, frame: int, step: Step) -> None:
        assert step.scored is not None and step.right is not None
        masks = self._counted
        self._constant(n, self._merged, masks[0], masks[1])
        np.bitwise_and(masks[0], step.scored, out=masks[2])
        np.bitwise_and(masks[1], step.scored, out=masks[3])
        np.bitwise_and(masks[1], step.right, out=masks[4])
        used = 5
        if self._flips:
            self._constant(n, self._raw, masks[5], masks[6])
            used = 7
        den, num, clean_den, clean_num, correct_num, *raw = popcounts(masks[:used])
        raw_den, raw_num = raw or (den, num)
        counts = (num, den, raw_num, raw_den, clean_num, correct_num, clean_den)
        self._rows.add(n, frame - n + 1, counts)

    def _constant(self, n: int, kept: tuple[Kept, Kept], truth: Words, pair: Words) -> None:
        for one, out in zip(kept, (truth, pair), strict=True):
            if n == 1:
                np.copyto(out, self._all)
            else:
                one.last(n - 1, out)

    def _begin(self, size: int) -> None:
        self._size = size
        spans = [n - 1 for n in self.lengths]
        self._merged = (Kept(spans, size), Kept(spans, size))
        self._raw = (Kept(spans, size), Kept(spans, size))
        self._pair: NDArray[Any] = np.empty(words(size), np.uint64)
        self._counted = np.empty((7, words(size)), np.uint64)
        self._all = np.zeros(words(size), np.uint64)
        bits = np.packbits(np.ones(size, np.bool_), bitorder="little")
        self._all.view(np.uint8)[: bits.size] = bits
