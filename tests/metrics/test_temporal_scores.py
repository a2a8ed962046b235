"""Temporal scores by hand: every number below is worked out in the comment beside it."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_cases import count_video, image, make_protocol

from ovbench.metrics.counts import counter_for
from ovbench.metrics.flow import FlowCounter
from ovbench.metrics.temporal import (
    TemporalColumns,
    constant_reference,
    label_free,
    temporal_summary,
)
from ovbench.metrics.videocounts import ChangeCounts, VideoCounts


def columns(protocol, videos, backends=()):
    """Name -> value of all videos, as the bootstrap sees the run as it is."""
    found = TemporalColumns(protocol, backends)
    sums = sum(found.row(v) for v in videos)[None].astype(np.float64)
    return dict(zip(found.names, found.scores(sums)[0], strict=True))


def two_videos():
    """Truth is one class; pixels of the prediction flip in the first video only."""
    protocol = make_protocol((True, False), windows=(2, 3))
    truth = image([[1, 1, 1, 1]])
    maps = [image([row]) for row in ([0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0])]
    first = count_video(protocol, [truth] * 4, maps, listed=17)
    second = count_video(protocol, [truth] * 3, [image([[1, 0, 0, 0]])] * 3, listed=17)
    return protocol, [first, second]


def test_consistency_pooled_over_windows_and_as_mean_of_videos():
    protocol, videos = two_videos()
    temporal = temporal_summary(protocol, videos)
    # n = 2, first video: 3, 3 and 3 of 4 pixels hold; the right ones among them 1, 1, 2. Second: 4, 4 and 3, 3.
    assert temporal["vc2"]["clean"] == pytest.approx(100 * (3 * 3 / 4 + 2 * 1) / 5)
    assert temporal["vc2"]["correct"] == pytest.approx(100 * (1 / 4 + 1 / 4 + 2 / 4 + 3 / 4 + 3 / 4) / 5)
    assert temporal["video_mean"]["vc2"]["clean"] == pytest.approx(100 * (3 / 4 + 1) / 2)
    assert temporal["video_mean"]["vc2"]["correct"] == pytest.approx(100 * (1 / 3 + 3 / 4) / 2)
    # The script leaves the last window of each video out.
    assert temporal["vc2"]["script"] == pytest.approx(100 * (3 / 4 + 3 / 4 + 1) / 3)
    assert temporal["video_mean"]["vc2"]["script"] == pytest.approx(100 * (3 / 4 + 1) / 2)
    # n = 3: pixel 1 flips in both windows, pixel 3 in the second; the second video has one window, dropped.
    assert temporal["vc3"]["clean"] == pytest.approx(100 * (3 / 4 + 2 / 4 + 1) / 3)
    assert temporal["video_mean"]["vc3"]["script"] == pytest.approx(75)
    assert temporal["windows"]["vc3"]["script"]["videos"] == 1


def test_windows_without_constant_truth_count_in_no_mean():
    protocol = make_protocol((True, False), windows=(2,))
    truths = [image([[1, 1]]), image([[2, 2]]), image([[2, 1]]), image([[2, 1]])]
    maps = [image([[0, 0]]), image([[1, 1]]), image([[0, 1]]), image([[0, 0]])]
    first = count_video(protocol, truths, maps)
    second = count_video(protocol, truths[:1] * 2, maps[:1] * 2)
    temporal = temporal_summary(protocol, [first, second])
    # First video: undefined, then 0 of 1, then 1 of 2. Second: 2 of 2.
    assert temporal["vc2"]["clean"] == pytest.approx(100 * (0 + 1 / 2 + 1) / 3)
    assert temporal["video_mean"]["vc2"]["clean"] == pytest.approx(100 * (1 / 4 + 1) / 2)
    assert temporal["windows"]["vc2"]["clean"]["undefined"] == 1


def test_flicker_rates():
    _, videos = two_videos()
    protocol = make_protocol((True, False), windows=(2,))
    flicker = temporal_summary(protocol, videos)["flicker"]
    # Pairs: 3 of the first video with 1, 1, 1 changed pixels of 4, and 2 of the second with none.
    assert flicker["change_rate"] == pytest.approx(100 * 3 / 20)
    # Triples: frames 0-1-2 have pixel 1 as 0, 1, 0. Frames 1-2-3 have none. One more of the second video.
    assert flicker["aba_rate"] == pytest.approx(100 * 1 / 12)
    assert flicker["truth_change_rate"] == 0
    assert flicker["excess_change"] == pytest.approx(100 * 3 / 20)


def test_excess_change_counts_only_pixels_scored_in_both_frames():
    protocol = make_protocol((True, False), windows=())
    truths = [image([[1, 1, 1, 0]]), image([[1, 2, 2, 255]]), image([[1, 2, 0, 1]])]
    maps = [image([[0, 0, 0, 0]]), image([[1, 0, 0, 1]]), image([[1, 1, 0, 0]])]
    flicker = temporal_summary(protocol, [count_video(protocol, truths, maps)])["flicker"]
    # Scored in both: pixels 0 to 2, then 0 and 1. Truth changes: 2, then 0. Prediction there: 1, then 1.
    assert flicker["truth_change_rate"] == pytest.approx(100 * 2 / 5)
    assert flicker["excess_change"] == pytest.approx(100 * (2 - 2) / 5)
    # Over all pixels: 2, then 2, of 4.
    assert flicker["change_rate"] == pytest.approx(50)
    # Pixel 3 goes 0, 1, 0.
    assert flicker["aba_rate"] == pytest.approx(25)


def flow_counts(maps, flow):
    """Counts along the same flow between all neighbours."""
    counter = FlowCounter()
    for t in range(len(maps) - 1):
        counter.add(t, maps[t], maps[t + 1], flow)
    return counter.finish()


def video(flow):
    return VideoCounts(0, 0, 0, 0, 0, joint=count_video(make_protocol(), [], []).joint, flow=flow)


def test_flow_scores():
    protocol = make_protocol(windows=())
    left = np.zeros((1, 4, 2), np.float32)
    left[..., 0] = 1  # everything moves one pixel to the right: pixel x is found at x + 1
    maps = [image([row]) for row in ([0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 1, 0])]
    # Pair 0: 0 0 1 against 0 0 1: right on. Pair 1: 1 0 0 against 1 1 0: IoU of 0: 1 / 2, of 1: 1 / 2.
    moving = video({"hand": flow_counts(maps, left)})
    still = video({"hand": flow_counts([maps[0]] * 2, np.zeros((1, 4, 2), np.float32))})
    without = video({})
    temporal = temporal_summary(protocol, [moving, without, still])
    found = temporal["flow"]["hand"]
    # TC of the first video: class 0: 3 of 4, class 1: 2 of 3; of the second: 1.
    assert found["tc"] == pytest.approx(100 * ((3 / 4 + 2 / 3) / 2 + 1) / 2)
    assert found["mtc"] == pytest.approx(100 * (1 + 1 / 2 + 1) / 3)
    assert found["warped_change"] == pytest.approx(100 * 1 / 10)
    assert (found["pairs"], found["pixels"], found["excluded"]) == (3, 10, 2)
    sampled = columns(protocol, [moving, without, still], ("hand", "absent"))
    for name in ("tc", "mtc", "warped_change"):
        assert sampled[f"{name}-hand"] == pytest.approx(found[name], abs=1e-6)
        assert np.isnan(sampled[f"{name}-absent"])


def test_columns_are_integers_that_add_up_to_the_scores():
    protocol, videos = two_videos()
    found = TemporalColumns(protocol, ())
    rows = [found.row(v) for v in videos]
    assert all(r.dtype == np.int64 and r.shape == (found.width,) for r in rows)
    assert found.names == (
        "vc2.script", "vc2.clean", "vc2.correct", "vc3.script", "vc3.clean", "vc3.correct",
        "change_rate", "aba_rate", "excess_change",
    )  # fmt: skip
    values = columns(protocol, videos)
    temporal = temporal_summary(protocol, videos)
    for n in (2, 3):
        for mode in ("script", "clean", "correct"):
            assert values[f"vc{n}.{mode}"] == pytest.approx(temporal[f"vc{n}"][mode], abs=1e-6)
    for name in ("change_rate", "aba_rate", "excess_change"):
        assert values[name] == temporal["flicker"][name]
    weights = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    resampled = found.scores(weights @ np.array(rows, np.float64))
    alone = np.array([list(columns(protocol, [v]).values()) for v in videos])
    np.testing.assert_array_equal(resampled[:2], alone)  # how often a video is drawn alone changes no mean


def test_nothing_to_score():
    protocol = make_protocol(windows=())
    truth = image([[1, 2]])
    sparse = count_video(protocol, [truth, None], [truth - 1, truth - 1])
    skipped = counter_for(protocol)
    for _ in range(2):
        skipped.update(truth, truth - 1)
        skipped.skip()
    temporal = temporal_summary(protocol, [skipped.finish()])
    assert temporal["vc8"] == {"script": None, "clean": None, "correct": None}
    assert set(temporal["flicker"].values()) == {None} and temporal["flow"] == {}
    assert "sparse" in temporal["note"]
    assert temporal_summary(protocol, [sparse])["flicker"] == {
        "change_rate": 0.0, "aba_rate": None, "truth_change_rate": None, "excess_change": None,
    }  # fmt: skip
    assert temporal_summary(make_protocol(windows=(2,)), [])["vc2"]["clean"] is None


def test_notes_name_what_is_missing():
    protocol = make_protocol(windows=(2, 8, 16))
    truth = image([[1, 2]])
    ten, one = (count_video(protocol, [truth] * n, [truth - 1] * n) for n in (10, 1))
    gap = count_video(protocol, [truth, None, truth], [truth - 1] * 3)
    assert temporal_summary(protocol, [ten])["note"] == "no video is as long as a window of 16 frames"
    temporal = temporal_summary(protocol, [one, gap])
    assert "1 of 2 videos lack" in temporal["note"] and "8 and 16 frames" in temporal["note"]
    assert temporal["vc16"]["clean"] is None and temporal["video_mean"]["vc8"]["correct"] is None
    long = count_video(protocol, [truth] * 17, [truth - 1] * 17)
    assert temporal_summary(protocol, [one, long])["note"].startswith("1 of 2 videos are shorter")
    assert temporal_summary(protocol, [long])["note"] is None


@pytest.mark.parametrize(
    "name", ["script", "vc8.clean", "change_rate", "aba_rate", "tc-dis", "mtc-raft", "excess_change"]
)
def test_label_free_scores_are_marked(name):
    assert label_free(name)
    assert not label_free("vc8.correct") and not label_free("all.miou")


def test_constant_reference_is_what_a_constant_prediction_gets():
    rng = np.random.default_rng(5)
    protocol = make_protocol((True, True, False), windows=(2, 8))
    ours, flat = [], []
    for frames in (1, 5, 20):
        truths = [rng.integers(0, 4, (4, 6)).astype(np.uint8) for _ in range(frames)]
        maps = [rng.integers(0, 3, (4, 6)).astype(np.uint8) for _ in range(frames)]
        flow = np.zeros((4, 6, 2), np.float32)
        for into, shown in ((ours, maps), (flat, [np.full((4, 6), 1, np.uint8)] * frames)):
            counts = count_video(protocol, truths, shown)
            counts.flow["still"] = flow_counts(shown, flow)
            into.append(counts)
    reference = constant_reference(ours)
    assert reference == constant_reference(flat)
    measured = columns(protocol, flat, ("still",)) | temporal_summary(protocol, flat)["flicker"]
    assert reference["vc2.script"] == 100 and reference["excess_change"] < 0
    assert set(reference) == {n for n in measured if label_free(n)}
    for name, value in reference.items():
        expected = None if np.isnan(measured[name]) else pytest.approx(measured[name])
        assert value == expected, name
    assert constant_reference([VideoCounts(0, 0, 0, 0, 0, flat[0].joint, changes=ChangeCounts())]) == {
        "change_rate": None, "aba_rate": None, "truth_change_rate": None, "excess_change": None,
    }  # fmt: skip
