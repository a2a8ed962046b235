"""Majority vote over neighbouring frames, around any method: the twin that learned fusion must beat."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ovbench.core.errors import UserError
from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video, VideoView
from ovbench.protocol.vocabulary import Vocabulary

from .base import Segmenter

VOTE_OPTIONS = {"vote_window": 4}


def check_window(window: int) -> None:
    """Raise `UserError` for a window that holds no frame or more votes than a byte counts."""
    if not 1 <= window <= 255:
        raise UserError(f"option 'vote_window' cannot be {window}", hint="give a number from 1 to 255")


class VoteSegmenter(Segmenter):
    """Gives each pixel the label that most frames of a window around it agree on.

    Args:
        inner: the method whose label maps vote.
        window: number of frames. Odd: as many before as after. Even: one more before than after, so 4
            means offsets -2, -1, 0, +1. At a video's ends there are fewer votes.

    A tie goes to the label of the current frame, then to that of the nearest frame (the earlier one of
    two). "Other" votes like any label. Memory: at most `window` label maps.
    """

    def __init__(self, inner: Segmenter, window: int) -> None:
        check_window(window)
        self.inner, self.window = inner, window
        self.before, self.after = window // 2, (window - 1) // 2

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        self.inner.prepare(vocabulary)

    def segment(self, video: Video) -> Iterator[LabelMap]:
        held: deque[LabelMap] = deque()
        current = 0  # position in `held` of the next frame to give out
        for label_map in self.inner.segment(_Voters(video, self.before, self.after)):
            held.append(label_map)
            if len(held) - 1 - current == self.after:
                yield _vote(held, current)
                current = _forward(held, current, self.before)
        while current < len(held):
            yield _vote(held, current)
            current = _forward(held, current, self.before)

    def absent(self, video: Video) -> frozenset[int]:
        return self.inner.absent(video)

    def facts(self) -> dict[str, Any]:
        return {**self.inner.facts(), "vote_window": self.window}


class _Voters(VideoView):
    """The same video; wanted are also the frames that vote about a wanted one."""

    def __init__(self, inner: Video, before: int, after: int) -> None:
        super().__init__(inner)
        self._before, self._after = before, after

    def wanted(self, index: int) -> bool:
        first, last = max(0, index - self._after), min(len(self) - 1, index + self._before)
        return any(self._inner.wanted(i) for i in range(first, last + 1))


def _forward(held: deque[LabelMap], current: int, before: int) -> int:
    """Move on by one frame, dropping the one that left the window."""
    if current < before:
        return current + 1
    held.popleft()
    return current


def _vote(held: Sequence[LabelMap], current: int) -> LabelMap:
    """(H, W) majority of `held`, ties to the frame nearest to `current`."""
    voters = sorted(range(len(held)), key=lambda i: (abs(i - current), i))
    maps = [held[i] for i in voters if held[i].shape == held[current].shape]
    counts = np.ones((len(maps), *maps[0].shape), np.uint8)
    for i in range(len(maps)):
        for j in range(i):
            equal = maps[i] == maps[j]
            counts[i] += equal
            counts[j] += equal
    winner = counts.argmax(0)  # the first of equals: the nearest frame
    result: LabelMap = np.take_along_axis(np.stack(maps), winner[None], 0)[0]
    return result
