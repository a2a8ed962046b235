"""Panels: what is drawn where, by reading pixels back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ovbench.core.errors import UserError
from ovbench.datasets.base import ArrayVideo
from ovbench.protocol.load import load_protocol
from ovbench.report.panel import OTHER, VOID, paint, panel, predicted_classes, truth_classes


@pytest.fixture(scope="module")
def protocol():
    return load_protocol("camvid-8-3-gzs")


def clip(frames=3):
    masks = np.zeros((frames, 30, 40), np.uint8)
    masks[:, 10:20] = 3
    masks[:, 20:] = 11  # void
    return ArrayVideo(np.full((frames, 30, 40, 3), 200, np.uint8), masks)


def test_indices_and_colours(protocol):
    truth = truth_classes(np.array([[0, 3, 11]], np.uint8), protocol)
    assert truth.tolist() == [[0, 3, VOID]]
    for dtype, other in ((np.uint8, 255), (np.uint16, 65535)):
        assert predicted_classes(np.array([[2, other]], dtype), protocol).tolist() == [[2, OTHER]]
    colors = paint(np.array([[3, VOID, OTHER]]), protocol)
    assert colors[0, 0].tolist() == list(protocol.classes[3].color)
    assert colors[0, 1].tolist() == [0, 0, 0]


def test_classes_that_are_not_scored_are_void():
    protocol = load_protocol("camvid-8-3")
    truth = truth_classes(np.array([[0, 9]], np.uint8), protocol)
    assert truth.tolist() == [[VOID, 9]]


def colors_in(path):
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return {tuple(c) for c in np.unique(pixels, axis=0).tolist()}


def test_only_present_classes_are_drawn_and_listed(protocol, tmp_path):
    wrong = {0: np.full((30, 40), 8, np.uint8), 2: np.full((30, 40), 255, np.uint8)}
    path = panel(clip(), [("wrong", wrong)], [0, 2], protocol, tmp_path / "new" / "p.png")
    found = colors_in(path)
    for index in (0, 3, 8):
        assert protocol.classes[index].color in found
    for index in (1, 5):
        assert protocol.classes[index].color not in found
    assert (200, 200, 200) in found  # the frame itself


def test_the_same_input_gives_the_same_bytes(protocol, tmp_path):
    maps = [np.zeros((30, 40), np.uint8)] * 3
    files = [panel(clip(), [("m", maps)], [1], protocol, tmp_path / f"{i}.png") for i in range(2)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_frames_without_truth_are_said_to_be_so(protocol, tmp_path):
    video = ArrayVideo(np.zeros((2, 30, 40, 3), np.uint8))
    maps = [np.zeros((30, 40), np.uint8)] * 2
    assert panel(video, [("m", maps)], [0, 1], protocol, tmp_path / "p.png").is_file()


def test_refusals(protocol, tmp_path):
    with pytest.raises(UserError, match="'m' has no label map for frame 2"):
        panel(clip(), [("m", {0: np.zeros((30, 40), np.uint8)})], [0, 2], protocol, tmp_path / "p.png")
    with pytest.raises(UserError, match="at least one frame"):
        panel(clip(), [], [], protocol, tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()
