"""The world knows its own motion: a perfect prediction follows it, flicker does not, and DIS comes near it."""

from __future__ import annotations

import numpy as np
import pytest
from world_motion import frames, motion, scene_of, standing

from ovbench.datasets.world.dataset import make_clip
from ovbench.metrics.flow import FlowCounter, step_ious, video_tc, warped_change

LENGTH = 8
CLIPS = (0, 1, 2, 4)


def along(label_maps, flows, backs=None):
    counter = FlowCounter()
    for t, flow in enumerate(flows):
        counter.add(t, label_maps[t], label_maps[t + 1], flow, None if backs is None else backs[t])
    return counter.finish()


def both_ways(scene):
    pairs = range(LENGTH - 1)
    return [motion(scene, t, t + 1) for t in pairs], [motion(scene, t + 1, t) for t in pairs]


def test_the_scene_is_that_of_the_data_set():
    _, masks, _ = make_clip("attribute", "test", 0)
    assert np.array_equal(frames(scene_of(0), 3)[1], masks[:3])


@pytest.mark.parametrize("index", CLIPS)
def test_truth_that_stands_still_scores_exactly_100(index):
    scene = standing(scene_of(index))
    _, masks = frames(scene, LENGTH)
    forward, back = both_ways(scene)
    assert not np.any(forward)
    counts = along(masks, forward, back)
    assert video_tc(counts) == 1 and set(step_ious(counts)) == {1.0}
    assert warped_change(counts) == (0, masks[1:].size)


@pytest.mark.parametrize("index", CLIPS)
def test_moving_truth_follows_its_motion_but_for_what_it_hides(index):
    scene = scene_of(index)
    _, masks = frames(scene, LENGTH)
    forward, back = both_ways(scene)
    bare, checked = along(masks, forward), along(masks, forward, back)
    still = along(masks, np.zeros_like(forward))
    assert video_tc(checked) > 0.96  # outlines are rounded to pixels
    assert video_tc(checked) > video_tc(bare) > video_tc(still)
    assert rate(checked) < 0.01 < rate(still)


@pytest.mark.parametrize("index", CLIPS)
def test_flicker_lowers_every_score(index):
    scene = scene_of(index)
    _, masks = frames(scene, LENGTH)
    forward, back = both_ways(scene)
    spoiled = masks.copy()
    spoiled[1::2, 30:60, 40:90] = 250
    steady, flicker = along(masks, forward, back), along(spoiled, forward, back)
    assert video_tc(flicker) < video_tc(steady) - 0.1
    assert np.mean(step_ious(flicker)) < np.mean(step_ious(steady)) - 0.1
    assert rate(flicker) > rate(steady) + 0.05


@pytest.mark.parametrize("index", CLIPS)
def test_dis_finds_the_motion(index):
    pytest.importorskip("cv2")
    from ovbench.flow.opencv import OpenCvFlow

    backend = OpenCvFlow("dis")
    still, _ = frames(standing(scene_of(index)), 2)
    pictures, masks = frames(scene_of(index), LENGTH)
    found = [backend.flow(pictures[t], pictures[t + 1]) for t in range(LENGTH - 1)]
    true, _ = both_ways(scene_of(index))
    error = [float(np.median(np.hypot(*np.moveaxis(f - t, -1, 0)))) for f, t in zip(found, true, strict=True)]
    assert np.mean(error) < 0.5  # pixels
    assert abs(video_tc(along(masks, found)) - video_tc(along(masks, true))) < 0.06
    assert float(np.median(np.abs(backend.flow(still[0], still[1])))) < 0.05


def rate(counts) -> float:
    changed, pixels = warped_change(counts)
    return changed / pixels
