"""The vote against a slow independent version, and its bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

import ovbench
from ovbench.core.errors import UserError
from ovbench.core.types import LabelMap
from ovbench.datasets.base import ArrayVideo, Video
from ovbench.methods.base import Segmenter
from ovbench.methods.vote import VoteSegmenter


class Replay(Segmenter):
    """Gives out stored maps and remembers how far it was asked to go."""

    def __init__(self, maps: np.ndarray) -> None:
        self.maps, self.given = maps, 0

    def segment(self, video: Video) -> Iterator[LabelMap]:
        for label_map in self.maps:
            self.given += 1
            yield label_map


def slow_vote(maps: np.ndarray, window: int) -> np.ndarray:
    """Pixel by pixel with plain Python."""
    offsets = range(-(window // 2), (window - 1) // 2 + 1)
    near_first = sorted(offsets, key=lambda o: (abs(o), o))
    result = np.empty_like(maps)
    for t, y, x in np.ndindex(maps.shape):
        votes = [maps[t + o, y, x] for o in near_first if 0 <= t + o < len(maps)]
        most = max(Counter(votes).values())
        result[t, y, x] = next(v for v in votes if votes.count(v) == most)
    return result


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 7, 20])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_equals_the_slow_version(window: int, frames: int) -> None:
    maps = np.random.default_rng(window * 10 + frames).integers(0, 4, (frames, 5, 6)).astype(np.uint8)
    maps[maps == 3] = 255
    voted = list(
        VoteSegmenter(Replay(maps), window).segment(ArrayVideo(np.zeros((frames, 5, 6, 3), np.uint8)))
    )
    assert np.array_equal(np.stack(voted), slow_vote(maps, window))


def test_default_window_looks_two_back_and_one_ahead() -> None:
    maps = np.array([1, 1, 0, 0, 0], np.uint8).reshape(5, 1, 1)
    segmenter = VoteSegmenter(Replay(maps), 4)
    assert (segmenter.before, segmenter.after) == (2, 1)
    assert [int(m[0, 0]) for m in segmenter.segment(ArrayVideo(np.zeros((5, 1, 1, 3), np.uint8)))] == [
        1,
        1,
        0,
        0,
        0,
    ]


def test_streams_with_bounded_lookahead() -> None:
    inner = Replay(np.zeros((50, 2, 2), np.uint8))
    maps = VoteSegmenter(inner, 5).segment(ArrayVideo(np.zeros((50, 2, 2, 3), np.uint8)))
    for t in range(10):
        next(maps)
        assert inner.given <= t + 1 + 2


def test_any_method_has_a_twin() -> None:
    segmenter = ovbench.create("constant+vote", index=2, vote_window=3)
    segmenter.prepare(ovbench.Vocabulary(["a", "b", "c"]))
    assert isinstance(segmenter, VoteSegmenter)
    maps = list(segmenter.segment(ArrayVideo(np.zeros((4, 3, 3, 3), np.uint8))))
    assert len(maps) == 4
    assert all((m == 2).all() for m in maps)


@pytest.mark.parametrize("window", [0, -1, 256])
def test_windows_that_cannot_be(window: int) -> None:
    with pytest.raises(UserError, match="vote_window"):
        ovbench.create("constant+vote", vote_window=window)
