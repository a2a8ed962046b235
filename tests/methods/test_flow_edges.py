"""The flow twin where something is missing: an opinion, a frame, a size that fits, room for a flow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import ovbench
from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import ArrayVideo, Video
from ovbench.methods.base import FrameSegmenter, Segmenter
from ovbench.methods.flow import FlowSegmenter
from ovbench.methods.vote import VoteSegmenter

pytest.importorskip("cv2", reason="the flow twin needs the extra [flow]")


class Abstaining(FrameSegmenter):
    """Says class 1 where the picture is bright, nothing elsewhere."""

    def scores(self, image: Image) -> np.ndarray:
        found = np.zeros((len(self.vocabulary), *image.shape[:2]), np.float32)
        found[1] = image[..., 0] > 100
        return found

    def segment_frame(self, image: Image) -> LabelMap:
        dtype = np.uint8 if len(self.vocabulary) < 256 else np.uint16
        return np.where(image[..., 0] > 100, 1, np.iinfo(dtype).max).astype(dtype)


class Given(Segmenter):
    """Label maps of a value each, of the sizes given."""

    def __init__(self, *maps: tuple[int, tuple[int, int]]) -> None:
        self.maps = maps

    def segment(self, video: Video) -> Iterator[LabelMap]:
        for value, size in self.maps:
            yield np.full(size, value, np.uint8)


def pictures(*sizes: tuple[int, int]) -> ArrayVideo:
    rng = np.random.default_rng(0)
    return ArrayVideo([rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes])


@pytest.mark.parametrize("names", [3, 300])
@pytest.mark.parametrize("window", [1, 3])
def test_no_opinion_stays_none(window: int, names: int) -> None:
    frames = np.zeros((3, 24, 32, 3), np.uint8)
    frames[:, :, :16] = 200
    frames[1, :8] = 0  # nothing is said here in the middle frame, but by its neighbours
    segmenter = FlowSegmenter(Abstaining(), window=window, fuse="scores", unconfirmed="stay")
    segmenter.prepare(ovbench.Vocabulary([f"n{i}" for i in range(names)]))
    maps = list(segmenter.segment(ArrayVideo(frames)))
    own = [segmenter.inner.segment_frame(frame) for frame in frames]
    assert [m.dtype for m in maps] == [m.dtype for m in own]
    other = np.iinfo(own[0].dtype).max
    if window == 1:
        assert all(np.array_equal(a, b) for a, b in zip(maps, own, strict=True))
    assert all((m[:, 24:] == other).all() and (m[12:, :8] == 1).all() for m in maps)
    assert not any((m == 0).any() for m in maps)


def test_a_class_without_positive_scores_is_an_opinion() -> None:
    class Cosines(Abstaining):
        def scores(self, image: Image) -> np.ndarray:
            found = np.full((2, *image.shape[:2]), -0.5, np.float32)
            found[1] = 0
            return found

    segmenter = FlowSegmenter(Cosines(), window=3, fuse="scores")
    segmenter.prepare(ovbench.Vocabulary(["a", "b"]))
    assert all((m == 1).all() for m in segmenter.segment(pictures((20, 20), (20, 20))))


@pytest.mark.parametrize("fuse", ["labels", "scores"])
@pytest.mark.parametrize("extra", [1, 4])
def test_more_label_maps_than_frames_reach_the_engine(fuse: str, extra: int) -> None:
    class Eager(Abstaining):
        def segment(self, video: Video) -> Iterator[LabelMap]:
            yield from [np.ones((20, 20), np.uint8)] * (len(video) + extra)

    segmenter = FlowSegmenter(Eager(), fuse=fuse)
    segmenter.prepare(ovbench.Vocabulary(["a", "b"]))
    expected = 3 + (extra if fuse == "labels" else 0)  # scores are asked for frame by frame
    assert len(list(segmenter.segment(pictures(*[(20, 20)] * 3)))) == expected


def test_pictures_of_another_size_say_nothing() -> None:
    size = (20, 20)
    maps = Given((1, size), (1, size), (2, size))  # as a method gives them that has a size of its own
    video = pictures(size, size, (24, 20))
    assert [int(m[0, 0]) for m in VoteSegmenter(maps, 4).segment(video)] == [1, 1, 1]
    assert [int(m[0, 0]) for m in FlowSegmenter(maps).segment(video)] == [1, 1, 2]


def test_a_picture_too_small_for_a_flow_names_the_twins_own_option() -> None:
    size = (7, 20)
    video, maps = pictures(size, size), Given((1, size), (1, size))
    with pytest.raises(UserError, match="7x20") as caught:
        list(FlowSegmenter(maps).segment(video))
    assert "--set flow_backend=farneback" in str(caught.value) and "--flow " not in str(caught.value)
    assert "frame '00000'" in str(caught.value)
    assert len(list(FlowSegmenter(maps, backend="farneback").segment(video))) == 2
    narrow = (20, 8)  # one side of 12 is enough
    assert len(list(FlowSegmenter(Given((1, narrow), (1, narrow))).segment(pictures(narrow, narrow)))) == 2
