"""Majority vote over neighbouring frames, around any method: the twin that learned fusion must beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video
from ovbench.protocol.vocabulary import Vocabulary

from .base import Segmenter
from .window import WindowView, check_window, reach, sliding

VOTE_OPTIONS = {"vote_window": 4}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `UserError` for a value out of its range."""
    check_window("vote_window", options["vote_window"])


class VoteSegmenter(Segmenter):
    """Gives each pixel the label that most frames of a window around it agree on.

    Args:
        inner: the method whose label maps vote.
        window: number of frames, placed as `ovbench.methods.window.reach` says: 4 means offsets -2, -1, 0, +1.
            At a video's ends there are fewer votes.

    A tie goes to the label of the current frame, then to that of the nearest frame (the earlier one of
    two). "Other" votes like any label. Memory: at most `window` label maps.
    """

    def __init__(self, inner: Segmenter, window: int) -> None:
        check_window("vote_window", window)
        self.inner, self.window = inner, window
        self.before, self.after = reach(window)

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        self.inner.prepare(vocabulary)

    def segment(self, video: Video) -> Iterator[LabelMap]:
        seen = WindowView(video, self.before, self.after)
        for held, current in sliding(self.inner.segment(seen), self.before, self.after):
            yield _vote(held, current)

    def absent(self, video: Video) -> frozenset[int]:
        return self.inner.absent(video)

    def facts(self) -> dict[str, Any]:
        return {**self.inner.facts(), "vote_window": self.window}


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
