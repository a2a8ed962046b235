"""What a method, a mask or a data set can get wrong at the border of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_runs import Scripted
from make_trees import make_cityscapes, make_protocol

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import ArrayVideo, Video
from ovbench.datasets.open import open_dataset
from ovbench.engine.frames import Counted, count_video
from ovbench.engine.view import MethodView
from ovbench.methods.base import FrameSegmenter, Segmenter
from ovbench.methods.vote import VoteSegmenter
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol

PROTOCOL = make_protocol("folder", [3, 5, 7], ignore_ids=(255,), windows=())
GOOD = np.zeros((4, 6), np.uint8)


def count(
    maps: list[Any], masks: np.ndarray | None = None, frames: int = 2, protocol: Protocol = PROTOCOL
) -> Counted:
    masks = np.full((frames, 4, 6), 3, np.uint8) if masks is None else masks
    video = ArrayVideo(np.zeros((frames, 4, 6, 3), np.uint8), masks, "clip")
    segmenter = Scripted(maps)
    segmenter.prepare(protocol.vocabulary)
    return count_video(protocol, "mine", segmenter, video, MethodView(video, None, False))


@pytest.mark.parametrize(
    ("maps", "message", "hint"),
    [
        ([GOOD.astype(np.int64), GOOD], "int64 (4, 6)", "uint8 or uint16"),
        ([GOOD, GOOD[None]], "uint8 (1, 4, 6)", "frame '00001'"),
        ([GOOD, [[0]]], "a list as a label map", "frame '00001'"),
        ([GOOD, GOOD + 3], "the label 3, outside the vocabulary", "0 to 2, and 255 for 'other'"),
        ([GOOD, GOOD.astype(np.uint16) + 300], "the label 300, outside", "65535 for 'other'"),
        ([GOOD, GOOD[:, :5]], "a label map of 4x5, the frame is 4x6", "frame '00001'"),
        ([GOOD], "only 1 label maps for 2 frames", "exactly one"),
        ([GOOD, GOOD, GOOD], "more than 2 label maps for 2 frames", "exactly one"),
    ],
)
def test_wrong_label_maps_name_method_video_and_frame(maps: list[Any], message: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        count(maps)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert "'mine'" in str(caught.value)
    assert "'clip'" in str(caught.value)


def test_undeclared_truth_ids_are_named() -> None:
    masks = np.full((2, 4, 6), 3, np.uint8)
    masks[1, 2, 2] = 9
    with pytest.raises(UserError) as caught:
        count([GOOD, GOOD], masks)
    assert "id 9" in str(caught.value)
    assert "video 'clip', frame '00001'" in str(caught.value)


def test_a_mask_of_another_size_than_its_picture() -> None:
    class Looks(Segmenter):
        def segment(self, video: Video) -> Iterator[LabelMap]:
            for image in video.images():
                yield np.zeros(image.shape[:2], np.uint8)

    video = ArrayVideo(np.zeros((1, 4, 6, 3), np.uint8), np.full((1, 8, 6), 3, np.uint8), "clip")
    segmenter = Looks()
    segmenter.prepare(PROTOCOL.vocabulary)
    with pytest.raises(UserError, match="the mask is 8x6, the picture 4x6"):
        count_video(PROTOCOL, "mine", segmenter, video, MethodView(video, None, False))


def test_wide_and_narrow_maps_count_alike() -> None:
    abstains = GOOD.copy()
    abstains[0] = 255
    wide = abstains.astype(np.uint16)
    wide[0] = 65535
    a, b = count([abstains, GOOD]), count([wide, GOOD.astype(np.uint16)])
    assert a.counts == b.counts
    assert a.predictions_sha256 == b.predictions_sha256
    assert a.predictions_sha256 != count([GOOD, GOOD]).predictions_sha256


def test_values_are_checked_on_frames_without_truth() -> None:
    video = ArrayVideo(np.zeros((1, 4, 6, 3), np.uint8), None, "clip")
    segmenter = Scripted([GOOD + 7])
    segmenter.prepare(PROTOCOL.vocabulary)
    with pytest.raises(UserError, match="label 7"):
        count_video(PROTOCOL, "mine", segmenter, video, MethodView(video, None, False))


def test_methods_see_no_truth_and_no_tags() -> None:
    class Tagged(ArrayVideo):
        def tags(self, index: int) -> dict[str, Any]:
            return {"corruption": "dark"}

    video = Tagged(np.zeros((5, 4, 6, 3), np.uint8), np.full((5, 4, 6), 3, np.uint8), "clip")
    view = MethodView(video, 3, False)
    assert len(view) == 3
    assert len(list(view.images())) == 3
    assert view.tags(0) == {}
    assert view.listed_files == 3
    with pytest.raises(UserError, match="asked for the truth"):
        view.truth(0)
    with pytest.raises(IndexError):
        view.image(3)
    assert (MethodView(video, None, True).truth(4) == 3).all()


def test_spoiled_frames_are_counted_apart() -> None:
    class Tagged(ArrayVideo):
        def tags(self, index: int) -> dict[str, Any]:
            return {"corruption": "dark" if index else "clean"}

    video = Tagged(np.zeros((3, 4, 6, 3), np.uint8), np.full((3, 4, 6), 3, np.uint8), "clip")
    segmenter = Scripted([GOOD] * 3)
    segmenter.prepare(PROTOCOL.vocabulary)
    counts = count_video(PROTOCOL, "mine", segmenter, video, MethodView(video, None, False)).counts
    assert {tag: c.frames for tag, c in counts.tags.items()} == {"clean": 1, "corrupted": 2}


def test_frames_that_nobody_looks_at_are_not_segmented(tmp_path: Path) -> None:
    make_cityscapes(tmp_path / "data", snippets={"frankfurt": [(0, 19)]})
    protocol = load_protocol("cityscapes-19")
    data = open_dataset(protocol, tmp_path / "data")
    video = data.open(data.video_ids[0])
    looked, results = {}, {}
    for every in (True, False):
        for vote in (False, True):
            counted = _Counting()
            segmenter: Segmenter = VoteSegmenter(counted, 4) if vote else counted
            segmenter.prepare(protocol.vocabulary)
            view = MethodView(video, None, False, every=every)
            results[every, vote] = count_video(protocol, "mine", segmenter, video, view).counts
            looked[every, vote] = counted.frames
    assert looked == {(True, False): 30, (True, True): 30, (False, False): 1, (False, True): 4}
    assert results[True, False] == results[False, False]
    assert results[True, True] == results[False, True]


class _Counting(FrameSegmenter):
    """Bright pixels are class 1; counts how often it is asked."""

    def __init__(self) -> None:
        self.frames = 0

    def segment_frame(self, image: Image) -> LabelMap:
        self.frames += 1
        return (image[..., 0] > 127).astype(np.uint8)
