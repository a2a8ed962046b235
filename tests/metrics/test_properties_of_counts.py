"""What must hold for any video: order, names, crops, void, cuts and mirrors."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metrics_cases import Rec, count_video, make_protocol

from ovbench.metrics.parity import script_scores
from ovbench.metrics.score import summarize
from ovbench.metrics.temporal import TemporalColumns, temporal_summary
from ovbench.metrics.videocounts import ChangeCounts, WindowCounts

CLASSES = 4
LENGTHS = (2, 3)
PROTOCOL = make_protocol((True, True, False, False), windows=LENGTHS, ignore=(0, 254, 255))
SHORT = st.integers(1, 7)
QUICK = settings(max_examples=60, deadline=None)


@st.composite
def clip(draw, frames=SHORT):
    """(T, H, W) raw truth with void, and predictions with abstentions; both tend to stay as they are."""
    shape = (draw(frames), draw(st.integers(1, 3)), draw(st.integers(2, 4)))
    truth = draw(arrays(np.uint8, shape, elements=st.sampled_from([1, 1, 2, 3, 4, 0, 255, 254])))
    shown = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 2, 3, 255])))
    moves = draw(arrays(np.bool_, (2, *shape)))
    for t in range(1, shape[0]):
        truth[t] = np.where(moves[0, t] & (truth[t] % 2 == 1), truth[t], truth[t - 1])
        shown[t] = np.where(moves[1, t], shown[t], shown[t - 1])
    return truth, shown


def count(truth, shown, protocol=PROTOCOL):
    return count_video(protocol, list(truth), list(shown))


def summary(videos, protocol=PROTOCOL):
    names = [f"v{i}" for i in range(len(videos))]
    records = [Rec(n, v) for n, v in zip(names, videos, strict=True)]
    return summarize(protocol, records, {}, expected_videos=names)


def table(counts):
    """(rows, columns) of a `WindowCounts` or `ChangeCounts`."""
    return np.array([getattr(counts, f.name) for f in fields(counts)], np.int64).T


@QUICK
@given(st.lists(clip(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_videos_changes_nothing(clips, random):
    videos = [replace(count(*c), listed_files=20) for c in clips]
    mixed = random.sample(videos, len(videos))
    first, second = summary(videos), summary(mixed)
    for part in ("scores", "temporal", "per_class", "counts"):
        assert first[part] == second[part]
    columns = TemporalColumns(PROTOCOL, ())
    np.testing.assert_array_equal(sum(map(columns.row, videos)), sum(map(columns.row, mixed)))
    for name in ("vspw-script", "detectron2"):
        assert script_scores(PROTOCOL, videos)[name] == script_scores(PROTOCOL, mixed)[name]


@QUICK
@given(clip(), st.permutations(range(CLASSES)))
def test_names_of_classes_change_nothing(video, order):
    """Class c is called order[c] in truth, prediction and protocol."""
    truth, shown = video
    order = np.array(order)
    to_raw = np.arange(256, dtype=np.uint8)
    to_raw[1 : CLASSES + 1] = order + 1
    to_name = np.append(order, range(CLASSES, 256)).astype(np.uint8)
    seen = np.zeros(CLASSES, bool)
    seen[order] = [c.seen for c in PROTOCOL.classes]
    renamed = make_protocol(tuple(seen.tolist()), windows=LENGTHS, ignore=(0, 254, 255))
    before, after = count(truth, shown), count(to_raw[truth], to_name[shown], renamed)
    assert before.windows == after.windows and before.changes == after.changes
    first, second = summary([before]), summary([after], renamed)
    for group in ("all", "seen", "unseen"):
        for metric, value in first["scores"][group].items():
            other = second["scores"][group][metric]
            assert (value is None) == (other is None) and (value is None or abs(value - other) < 1e-9)
    by_index = {row["index"]: row for row in second["per_class"]}
    for row in first["per_class"]:
        twin = by_index[int(order[row["index"]])]
        assert (row["iou"], row["truth"], row["prediction"]) == (
            twin["iou"],
            twin["truth"],
            twin["prediction"],
        )


@QUICK
@given(clip(), st.data())
def test_two_halves_add_up_to_the_whole(video, data):
    truth, shown = video
    cut = data.draw(st.integers(1, truth.shape[2] - 1))
    whole = count(truth, shown)
    left, right = (count(truth[:, :, p], shown[:, :, p]) for p in (np.s_[:cut], np.s_[cut:]))
    assert left.joint + right.joint == whole.joint
    for n in LENGTHS:
        both = table(left.windows[n])[:, 1:] + table(right.windows[n])[:, 1:]
        np.testing.assert_array_equal(both, table(whole.windows[n])[:, 1:])
        assert left.windows[n].start == right.windows[n].start == whole.windows[n].start
    both = table(left.changes)[:, 1:] + table(right.changes)[:, 1:]
    np.testing.assert_array_equal(both, table(whole.changes)[:, 1:])


@QUICK
@given(clip(), st.data())
def test_a_void_border_changes_no_score_that_ignores_void(video, data):
    truth, shown = video
    shape = (*truth.shape[:2], data.draw(st.integers(1, 3)))
    void = data.draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 254, 255])))
    noise = data.draw(arrays(np.uint8, shape, elements=st.integers(0, CLASSES - 1)))
    bare = count(truth, shown)
    padded = count(np.concatenate([truth, void], 2), np.concatenate([shown, noise], 2))
    for n in LENGTHS:
        for name in ("clean_num", "clean_den", "correct_num"):
            assert getattr(bare.windows[n], name) == getattr(padded.windows[n], name)
    for name in ("scored", "scored_changed", "truth_changed"):
        assert getattr(bare.changes, name) == getattr(padded.changes, name)
    first, second = summary([bare]), summary([padded])
    assert first["scores"] == second["scores"] and first["per_class"] == second["per_class"]
    for n in LENGTHS:
        for mode in ("clean", "correct"):
            assert first["temporal"][f"vc{n}"][mode] == second["temporal"][f"vc{n}"][mode]
    assert first["temporal"]["flicker"]["excess_change"] == second["temporal"]["flicker"]["excess_change"]


@QUICK
@given(clip(st.integers(2, 8)), st.data())
def test_cutting_a_video_loses_exactly_what_lies_across_the_cut(video, data):
    truth, shown = video
    cut = data.draw(st.integers(1, len(truth) - 1))
    whole, first, second = (
        count(truth, shown),
        count(truth[:cut], shown[:cut]),
        count(truth[cut:], shown[cut:]),
    )
    assert first.joint + second.joint == whole.joint
    for n in LENGTHS:
        later = table(second.windows[n]) + [cut, *[0] * (len(fields(WindowCounts)) - 1)]
        kept = np.concatenate([table(first.windows[n]), later])
        everything = table(whole.windows[n])
        across = (everything[:, 0] < cut) & (everything[:, 0] + n > cut)
        np.testing.assert_array_equal(kept, everything[~across])
    later = table(second.changes) + [cut, *[0] * (len(fields(ChangeCounts)) - 1)]
    everything = table(whole.changes)
    everything = everything[everything[:, 0] != cut]
    everything[everything[:, 0] == cut + 1, 3:5] = 0  # its A-B-A looks across the cut
    np.testing.assert_array_equal(np.concatenate([table(first.changes), later]), everything)


@QUICK
@given(clip())
def test_mirrored_frames_count_the_same(video):
    truth, shown = video
    assert count(truth, shown) == count(truth[:, :, ::-1], shown[:, :, ::-1])
    assert count(truth, shown) == replace(
        count(truth.swapaxes(1, 2), shown.swapaxes(1, 2)), height=truth.shape[1], width=truth.shape[2]
    )


@QUICK
@given(clip())
def test_order_among_the_modes_and_bounds_of_the_rates(video):
    truth, shown = video
    temporal = temporal_summary(PROTOCOL, [count(truth, shown)])
    for n in LENGTHS:
        scores = temporal[f"vc{n}"]
        if scores["clean"] is not None:
            assert 0 <= scores["correct"] <= scores["clean"] <= 100
    flicker = temporal["flicker"]
    if len(truth) > 1:
        assert 0 <= flicker["change_rate"] <= 100
    if len(truth) > 2:
        assert 0 <= flicker["aba_rate"] <= 100 * (len(truth) - 1) / (len(truth) - 2)
    if flicker["excess_change"] is not None:
        assert -flicker["truth_change_rate"] <= flicker["excess_change"] <= 100


@QUICK
@given(clip(st.integers(2, 6)))
def test_the_truth_itself_is_perfect(video):
    truth, _ = video
    shown = np.where((truth >= 1) & (truth <= CLASSES), truth - 1, 255).astype(np.uint8)
    temporal = temporal_summary(PROTOCOL, [count(truth, shown)])
    for n in LENGTHS:
        assert temporal[f"vc{n}"]["correct"] in (100.0, None)
    assert temporal["flicker"]["excess_change"] in (0.0, None)
