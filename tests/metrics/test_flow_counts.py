"""Flow-warped consistency: by hand, by property, and against a pixel-by-pixel statement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ovbench.metrics.counts import SizeError
from ovbench.metrics.flow import FlowCounter, occluded, step_ious, video_tc, warp_labels, warped_change
from ovbench.metrics.series import JointSeries
from ovbench.metrics.videocounts import FlowCounts, Joint, VideoCounts

OTHER = 255


def steady(height: int, width: int, dx: float = 0, dy: float = 0) -> np.ndarray:
    return np.broadcast_to(np.array([dx, dy], np.float32), (height, width, 2)).copy()


def maps(*rows: list[list[int]]) -> list[np.ndarray]:
    return [np.array(r, np.uint8) for r in rows]


def count(label_maps, flows, backs=None) -> FlowCounts:
    counter = FlowCounter()
    for t, flow in enumerate(flows):
        counter.add(t, label_maps[t], label_maps[t + 1], flow, None if backs is None else backs[t])
    return counter.finish()


def entries(counts: FlowCounts) -> list[tuple[int, list[tuple[int, int, int]]]]:
    return [(t, list(zip(a.tolist(), b.tolist(), n.tolist(), strict=True))) for t, a, b, n in counts.pairs]


def slow_warp(labels, flow):
    """Pixel by pixel, in exact arithmetic."""
    height, width = labels.shape
    out, valid = np.zeros_like(labels), np.zeros(labels.shape, bool)
    for y in range(height):
        for x in range(width):
            dx, dy = flow[y, x].tolist()
            if not (math.isfinite(dx) and math.isfinite(dy)):
                continue
            there_x, there_y = x + math.floor(dx + 0.5), y + math.floor(dy + 0.5)
            if 0 <= there_x < width and 0 <= there_y < height:
                out[y, x], valid[y, x] = labels[there_y, there_x], True
    return out, valid


def test_a_shift_by_one_column():
    (labels,) = maps([[1, 2, 3], [4, 5, 6]])
    warped, valid = warp_labels(labels, steady(2, 3, dx=1))
    assert warped.tolist() == [[2, 3, 0], [5, 6, 0]]  # the last column leads out of the picture
    assert valid.tolist() == [[True, True, False]] * 2
    warped, valid = warp_labels(labels, steady(2, 3, dy=-1))
    assert warped.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert valid.tolist() == [[False] * 3, [True] * 3]


def test_half_a_pixel_goes_the_same_way_everywhere():
    labels = np.arange(8, dtype=np.uint8)[None]
    assert warp_labels(labels, steady(1, 8, dx=0.5))[0].tolist() == [[1, 2, 3, 4, 5, 6, 7, 0]]
    assert warp_labels(labels, steady(1, 8, dx=0.49))[0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert warp_labels(labels, steady(1, 8, dx=-0.5))[0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert warp_labels(labels, steady(1, 8, dx=-0.51))[0].tolist() == [[0, 0, 1, 2, 3, 4, 5, 6]]


def test_what_is_not_finite_is_not_valid():
    flow = steady(1, 5)
    flow[0, 0, 0], flow[0, 1, 1], flow[0, 2, 0], flow[0, 3, 0] = np.nan, np.inf, -np.inf, 1e38
    warped, valid = warp_labels(np.full((1, 5), 7, np.uint8), flow)
    assert valid.tolist() == [[False, False, False, False, True]] and warped.tolist() == [[0, 0, 0, 0, 7]]


def test_every_score_by_hand():
    """A square moves right by one; what it uncovers reads as another class, and one pixel flickers.

    t:      1 1 2 2     warped t + 1 by (1, 0):   1 3 2 .     over three valid pixels
    t + 1:  1 1 3 2     (the last column leads out)
    """
    first, second = maps([[1, 1, 2, 2]], [[1, 1, 3, 2]])
    counts = count([first, second], [steady(1, 4, dx=1)])
    assert entries(counts) == [(0, [(1, 1, 1), (1, 3, 1), (2, 2, 1)])]
    assert counts.excluded == (1,)
    assert video_tc(counts) == pytest.approx((1 / 2 + 1 + 0) / 3)  # classes 1, 2 and 3
    assert warped_change(counts) == (1, 3)


def test_pooled_and_per_step_are_two_things():
    a, b, c = maps([[1, 1, 1, 1]], [[1, 1, 1, 2]], [[2, 2, 2, 2]])
    zero = steady(1, 4)
    counts = count([a, b, c], [zero, zero])
    # steps: class 1 3/4, class 2 0/1 -> 3/8; class 1 0/3, class 2 1/4 -> 1/8
    assert step_ious(counts).tolist() == [3 / 8, 1 / 8]
    assert video_tc(counts) == pytest.approx((3 / 7 + 1 / 5) / 2)


def test_other_is_a_label_for_change_but_no_class():
    first, second = maps([[OTHER, OTHER, 1, 1]], [[OTHER, 1, OTHER, 1]])
    counts = count([first, second], [steady(1, 4)])
    assert entries(counts) == [(0, [(-1, -1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, 1)])]
    assert warped_change(counts) == (2, 4)
    assert video_tc(counts) == pytest.approx(1 / 3)
    nothing = count([first[:, :1], second[:, :1]], [steady(1, 1)])
    assert video_tc(nothing) is None and np.isnan(step_ious(nothing)).all()
    assert warped_change(nothing) == (0, 1)


def test_all_out_of_the_picture_is_a_pair_without_a_score():
    labels = np.ones((2, 2), np.uint8)
    counts = count([labels, labels, labels], [steady(2, 2, dx=5), steady(2, 2)])
    assert counts.excluded == (4, 0) and len(counts.pairs) == 2
    assert np.isnan(step_ious(counts)[0]) and step_ious(counts)[1] == 1
    assert video_tc(counts) == 1
    assert warped_change(count([labels, labels], [steady(2, 2, dy=-9)])) == (0, 0)
    assert video_tc(FlowCounts(JointSeries())) is None and step_ious(FlowCounts(JointSeries())).size == 0


def test_occlusion_by_the_way_back():
    """Background stands still and a thing moves by 3 onto pixel 4: pixel 4 is hidden in the next frame."""
    flow, back = steady(1, 8), steady(1, 8)
    flow[0, 1, 0], back[0, 4, 0] = 3, -3
    assert occluded(flow, back).tolist() == [[False, False, False, False, True, False, False, False]]
    labels = maps([[0, 1, 0, 0, 0, 0, 0, 0]], [[0, 0, 0, 0, 1, 0, 0, 0]])
    assert warped_change(count(labels, [flow])) == (1, 8)
    checked = count(labels, [flow], [back])
    assert warped_change(checked) == (0, 7) and checked.excluded == (1,) and video_tc(checked) == 1
    back[0, 4] = np.nan
    assert occluded(flow, back)[0, 1]


def test_the_rule_of_the_check():
    """|f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5, with f = (2, 0): the limit is passed between these two."""
    flow = steady(1, 5, dx=2)
    for b, hidden in ((-1.26, False), (-1.24, True)):
        gap, limit = (2 + b) ** 2, 0.01 * (4 + b * b) + 0.5
        assert (gap > limit) is hidden
        assert occluded(flow, steady(1, 5, dx=b)).tolist() == [[hidden] * 3 + [False] * 2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 5)])
def test_small_and_narrow_pictures(shape):
    labels = np.zeros(shape, np.uint8)
    counts = count([labels, labels], [steady(*shape)])
    assert warped_change(counts) == (0, labels.size) and video_tc(counts) == 1


def test_sixteen_bits():
    first = np.array([[300, 65535, 7]], np.uint16)
    counts = count([first, first[:, ::-1].copy()], [steady(1, 3)])
    assert entries(counts) == [(0, [(-1, -1, 1), (7, 300, 1), (300, 7, 1)])]


def test_sizes_that_differ_are_an_error():
    labels = np.zeros((2, 3), np.uint8)
    with pytest.raises(SizeError):
        warp_labels(labels, steady(3, 2))
    counter = FlowCounter()
    with pytest.raises(SizeError):
        counter.add(0, labels, labels.T.copy(), steady(2, 3))
    with pytest.raises(SizeError):
        counter.add(0, labels, labels, steady(2, 3), steady(2, 2))


label_maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2, 255])
)


@st.composite
def pairs(draw):
    first = draw(label_maps)
    second = draw(hnp.arrays(np.uint8, first.shape, elements=st.sampled_from([0, 1, 2, 255])))
    step = st.one_of(st.integers(-24, 24).map(lambda n: n / 8), st.sampled_from([math.nan, math.inf]))
    flow = draw(hnp.arrays(np.float32, (*first.shape, 2), elements=step.map(np.float32)))
    return first, second, flow


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_the_warp_is_the_slow_warp(pair):
    _, labels, flow = pair
    fast, slow = warp_labels(labels, flow), slow_warp(labels, flow)
    assert np.array_equal(fast[0], slow[0]) and np.array_equal(fast[1], slow[1])


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_counts_hold_every_pixel_once(pair):
    first, second, flow = pair
    counts = count([first, second], [flow])
    warped, valid = slow_warp(second, flow)
    changed, compared = warped_change(counts)
    assert compared + counts.excluded[0] == first.size
    assert (changed, compared) == (int((first != warped)[valid].sum()), int(valid.sum()))


@settings(max_examples=30, deadline=None)
@given(pairs(), st.permutations([0, 1, 2]))
def test_names_do_not_matter(pair, order):
    first, second, flow = pair
    table = np.arange(256, dtype=np.uint8)
    table[:3] = order
    before, after = count([first, second], [flow]), count([table[first], table[second]], [flow])
    assert warped_change(before) == warped_change(after)
    assert video_tc(before) == (None if video_tc(after) is None else pytest.approx(video_tc(after)))


@settings(max_examples=30, deadline=None)
@given(pairs(), st.integers(-3, 3), st.integers(-3, 3))
def test_a_whole_translation_is_followed_without_loss(pair, dx, dy):
    first = pair[0]
    second = np.roll(first, (dy, dx), axis=(0, 1))
    counts = count([first, second], [steady(*first.shape, dx, dy)])
    assert warped_change(counts)[0] == 0
    assert video_tc(counts) in (None, 1.0)
    kept = max(0, first.shape[0] - abs(dy)) * max(0, first.shape[1] - abs(dx))
    assert counts.excluded == (first.size - kept,)


@settings(max_examples=30, deadline=None)
@given(pairs(), st.sampled_from([0, 2]))
def test_a_constant_prediction_scores_100(pair, label):
    """Whatever the flow: these scores are no accuracy."""
    constant = np.full_like(pair[0], label)
    counts = count([constant, constant], [pair[2]])
    assert video_tc(counts) in (None, 1.0) and warped_change(counts)[0] == 0
    assert set(step_ious(counts)[~np.isnan(step_ious(counts))]) <= {1.0}


@settings(max_examples=30, deadline=None)
@given(pairs())
def test_zero_flow_is_the_plain_change_rate(pair):
    first, second, _ = pair
    assert warped_change(count([first, second], [steady(*first.shape)])) == (
        int((first != second).sum()),
        first.size,
    )


def test_a_record_keeps_the_counts():
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 3, 255], np.uint8), (5, 6, 7))
    flows = rng.normal(0, 2, (4, 6, 7, 2)).astype(np.float32)
    counts = VideoCounts(5, 0, 5, 0, 0, joint=Joint(), flow={"dis-fb": count(labels, flows, -flows)})
    again = VideoCounts.from_json(counts.to_json())
    assert again == counts and again.flow["dis-fb"].excluded == counts.flow["dis-fb"].excluded
