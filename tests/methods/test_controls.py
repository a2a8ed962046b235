"""Control rows: what they give out, and that their answers cannot drift."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from make_trees import make_protocol

import ovbench
from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import ArrayVideo, Dataset, Video
from ovbench.methods.base import FrameSegmenter
from ovbench.methods.create import build
from ovbench.methods.labels import narrow, outside
from ovbench.methods.select import select

FRAMES = np.zeros((3, 9, 13, 3), np.uint8)


class OneVideo(Dataset):
    """A split of one video in memory."""

    name, split = "memory", "train"

    def __init__(self, masks: np.ndarray) -> None:
        self.video = ArrayVideo(np.zeros((*masks.shape, 3), np.uint8), masks, "only")

    @property
    def video_ids(self) -> list[str]:
        return ["only"]

    def open(self, video_id: str) -> Video:
        return self.video


def test_random_is_the_same_everywhere_and_uniform() -> None:
    segmenter = ovbench.create("random")
    segmenter.prepare(ovbench.Vocabulary([f"c{i}" for i in range(7)]))
    maps = np.stack(list(segmenter.segment(ArrayVideo(FRAMES, video_id="v"))))
    assert maps.dtype == np.uint8
    # Recorded from this code: it does not show that the draw is right, only that it has not drifted.
    assert hashlib.sha256(maps.tobytes()).hexdigest()[:16] == "b6d23b8081ca94e4"
    large = np.stack(list(segmenter.segment(ArrayVideo(np.zeros((4, 100, 100, 3), np.uint8), video_id="w"))))
    counts = np.bincount(large.ravel(), minlength=7)
    assert len(counts) == 7
    assert abs(counts / large.size - 1 / 7).max() < 0.01
    assert not np.array_equal(large[0], large[1])


def test_random_depends_on_seed_and_video_alone() -> None:
    def draw(seed: int, video: str) -> bytes:
        segmenter = ovbench.create("random", seed=seed)
        segmenter.prepare(ovbench.Vocabulary(["a", "b", "c"]))
        return np.stack(list(segmenter.segment(ArrayVideo(FRAMES, video_id=video)))).tobytes()

    assert draw(0, "v") == draw(0, "v")
    assert len({draw(0, "v"), draw(1, "v"), draw(0, "w")}) == 3


def test_constant_by_name_and_index() -> None:
    vocabulary = ovbench.Vocabulary(["road", "sky"])
    segmenter = ovbench.create("constant", label="sky")
    segmenter.prepare(vocabulary)
    assert all((m == 1).all() for m in segmenter.segment(ArrayVideo(FRAMES)))
    with pytest.raises(UserError, match="unknown class name 'skye'"):
        ovbench.create("constant", label="skye").prepare(vocabulary)
    with pytest.raises(UserError, match="cannot be 2"):
        ovbench.create("constant", index=2).prepare(vocabulary)


def test_majority_counts_seen_classes_only() -> None:
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[:, :, :2] = 11  # unseen, the largest
    masks[:, :, 2] = 12
    masks[:, :3, 3] = 13
    protocol = make_protocol("folder", [10, 11, 12, 13], unseen=[11], ignore_ids=[0])
    segmenter = build(select("majority"), protocol=protocol, open_split=lambda split: OneVideo(masks))
    segmenter.prepare(protocol.vocabulary)
    assert segmenter.facts() == {"majority_of": "seen classes", "class": "class 12"}
    assert all((m == 2).all() for m in segmenter.segment(ArrayVideo(FRAMES)))


def test_majority_over_unseen_classes_says_that_it_is_an_oracle() -> None:
    protocol = make_protocol("folder", [10, 11], unseen=[10, 11])
    masks = np.full((1, 2, 2), 11, np.uint8)
    segmenter = build(select("majority"), protocol=protocol, open_split=lambda split: OneVideo(masks))
    segmenter.prepare(protocol.vocabulary)
    assert "oracle" in segmenter.facts()["majority_of"]


def test_majority_of_an_empty_count_is_an_error() -> None:
    protocol = make_protocol("folder", [10, 11])
    masks = np.full((1, 2, 2), 255, np.uint8)
    segmenter = build(select("majority"), protocol=protocol, open_split=lambda split: OneVideo(masks))
    with pytest.raises(UserError, match="no pixel"):
        segmenter.prepare(protocol.vocabulary)


@pytest.mark.parametrize("stride", [1, 3, 4, 50])
def test_oracle_grid_takes_the_centre_of_each_cell(stride: int) -> None:
    masks = np.random.default_rng(0).integers(9, 13, (2, 9, 13)).astype(np.uint8)  # 9: void
    protocol = make_protocol("folder", [12, 11, 10], ignore_ids=[9])
    segmenter = build(select("oracle-grid", given={"stride": stride}), protocol=protocol)
    segmenter.prepare(protocol.vocabulary)
    video = ArrayVideo(np.zeros((2, 9, 13, 3), np.uint8), masks)
    for t, label_map in enumerate(segmenter.segment(video)):
        for y, x in np.ndindex(9, 13):
            cy = min(y // stride * stride + stride // 2, 8)
            cx = min(x // stride * stride + stride // 2, 12)
            assert label_map[y, x] == {12: 0, 11: 1, 10: 2, 9: 255}[masks[t, cy, cx]]


def test_oracle_grid_without_truth_abstains() -> None:
    protocol = make_protocol("folder", [1, 2])
    segmenter = build(select("oracle-grid"), protocol=protocol)
    segmenter.prepare(protocol.vocabulary)
    assert all((m == 255).all() for m in segmenter.segment(ArrayVideo(FRAMES)))


@pytest.mark.parametrize("name", ["majority", "oracle-grid"])
def test_rows_that_need_a_protocol_say_so(name: str) -> None:
    with pytest.raises(UserError, match="needs a protocol"):
        ovbench.create(name)


def test_predictions_without_a_folder() -> None:
    with pytest.raises(UserError, match="needs a folder"):
        ovbench.create("predictions")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    card = replace(select("random").card, segmenter="torch.nothing_here:build", needs=("models",))
    choice = replace(select("random"), card=card)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(UserError) as caught:
        build(choice)
    assert "-m pip install" in str(caught.value) and "[models]" in str(caught.value)


def test_label_maps_become_narrow() -> None:
    wide = np.array([[0, 3, 65535]], np.uint16)
    assert narrow(wide, 4).tolist() == [[0, 3, 255]]
    assert narrow(wide, 4).dtype == np.uint8
    assert narrow(np.array([[0, 255]], np.uint8), 300).tolist() == [[0, 65535]]
    assert narrow(np.array([[300]], np.uint16), 4).dtype == np.uint16
    assert outside(np.array([[0, 3, 255]], np.uint8), 4) is None
    assert outside(np.array([[9, 4]], np.uint8), 4) == 4


@pytest.mark.parametrize("name", ["constant", "random", "constant+vote"])
def test_a_list_of_names_is_no_vocabulary(name: str) -> None:
    segmenter = ovbench.create(name)
    with pytest.raises(UserError, match="takes a Vocabulary, not a list") as caught:
        segmenter.prepare(["cat", "dog"])  # type: ignore[arg-type]
    assert "Vocabulary([" in (caught.value.hint or "") and segmenter.prepared is None


class _Plain(FrameSegmenter):
    """A method that would take anything."""

    def segment_frame(self, image: Image) -> LabelMap:
        return np.zeros(image.shape[:2], np.uint8)


def test_frames_that_are_no_images_are_named_for_every_method_of_single_frames() -> None:
    for shape, kind in (((1, 4, 5), np.uint8), ((1, 4, 5, 3), np.float32)):
        with pytest.raises(UserError, match="uint8 RGB") as caught:
            list(_Plain().segment(ArrayVideo(np.zeros(shape, kind))))
        assert caught.value.where == "video 'array', frame '00000'"
    with pytest.raises(UserError, match="no frames"):
        list(_Plain().segment(ArrayVideo(np.zeros((0, 4, 5, 3), np.uint8))))
