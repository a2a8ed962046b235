from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_cases import Rec, count_video, image, make_protocol

from ovbench.core.errors import IntegrityError, UserError
from ovbench.metrics.counts import Joint, VideoCounts
from ovbench.metrics.sample import class_sums, run_sample
from ovbench.metrics.score import check_sanity, summarize

MATRIX = [[6, 1, 1, 0], [0, 3, 0, 1], [2, 0, 1, 1]]  # rows truth, columns prediction, last one "other"


def joint_of(matrix):
    """Truth class c has raw id c + 1; the last column is "other"."""
    names = len(matrix[0]) - 1
    return Joint.of(
        (t + 1, p if p < names else -1, n) for t, row in enumerate(matrix) for p, n in enumerate(row)
    )


def record(video, joint, **kwargs):
    return Rec(
        video,
        VideoCounts(
            **{"frames": 1, "annotated": 1, "listed_files": 1, "height": 1, "width": 1, **kwargs}, joint=joint
        ),
    )


def score(protocol, *joints, **kwargs):
    records = [record(f"v{i}", j) for i, j in enumerate(joints)]
    return summarize(protocol, records, {"id": "m"}, expected_videos=[r.video_id for r in records], **kwargs)


def test_every_score_by_hand():
    summary = score(make_protocol(kinds=["stuff", "thing", "thing"]), joint_of(MATRIX))
    s = summary["scores"]
    assert s["all"] == pytest.approx(
        {
            "miou": 140 / 3,
            "fwiou": 50.0,
            "macc": 175 / 3,
            "pacc": 62.5,
            "things_miou": 40.0,
            "stuff_miou": 60.0,
        }
    )
    assert s["seen"] == pytest.approx(
        {"miou": 60.0, "fwiou": 60.0, "macc": 75.0, "pacc": 75.0, "things_miou": 60.0, "stuff_miou": 60.0}
    )
    assert s["unseen"]["stuff_miou"] is None
    assert s["unseen"]["miou"] == pytest.approx(20.0) and s["unseen"]["pacc"] == pytest.approx(25.0)
    assert s["harmonic"]["miou"] == pytest.approx(30.0)
    assert s["seen_bias"] == pytest.approx(50.0)
    rows = summary["per_class"]
    assert [r["iou"] for r in rows] == pytest.approx([60.0, 60.0, 20.0])
    assert [r["acc"] for r in rows] == pytest.approx([75.0, 75.0, 25.0])
    assert [(r["truth"], r["prediction"], r["videos"]) for r in rows] == [(8, 8, 1), (4, 4, 1), (4, 2, 1)]
    assert [r["group"] for r in rows] == ["seen", "seen", "unseen"]
    assert summary["counts"] == {
        "videos": 1, "frames": 1, "annotated_frames": 1, "pixels": 16,
        "classes": {"all": 3, "seen": 2, "unseen": 1}, "scored_classes": {"all": 3, "seen": 2, "unseen": 1},
    }  # fmt: skip
    assert summary["protocol"] == {"id": "tiny", "version": 1, "hash": "h"}
    assert summary["convention"]["id"] == "gt-present"


def test_abstention_is_a_miss_and_void_counts_nowhere():
    protocol = make_protocol(seen=(True, True, False))
    kept, abstained = [[4, 0, 0, 0]] + [[0] * 4] * 2, [[2, 0, 0, 2]] + [[0] * 4] * 2
    assert score(protocol, joint_of(kept))["scores"]["all"]["miou"] == 100.0
    s = score(protocol, joint_of(abstained))["scores"]["all"]
    assert (s["miou"], s["fwiou"], s["macc"], s["pacc"]) == (50.0, 50.0, 50.0, 50.0)
    void = Joint.of([(0, 1, 7), (255, 2, 9), (0, -1, 3)])
    assert score(protocol, joint_of(MATRIX) + void) == score(protocol, joint_of(MATRIX))


def test_absent_classes_under_each_convention():
    # Class 1 is absent but predicted on 2 pixels of class 0; class 2 is absent altogether.
    matrix = [[8, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    found = {
        c: score(make_protocol(convention=c), joint_of(matrix))
        for c in ("gt-present", "union-present", "all-classes")
    }
    assert {c: f["scores"]["all"]["miou"] for c, f in found.items()} == pytest.approx(
        {"gt-present": 80.0, "union-present": 40.0, "all-classes": 80 / 3}
    )
    assert {c: f["scores"]["all"]["macc"] for c, f in found.items()} == pytest.approx(
        {"gt-present": 80.0, "union-present": 80.0, "all-classes": 80 / 3}
    )
    assert [r["iou"] for r in found["gt-present"]["per_class"]] == [80.0, None, None]
    assert [r["iou"] for r in found["union-present"]["per_class"]] == [80.0, 0.0, None]
    assert [r["iou"] for r in found["all-classes"]["per_class"]] == [80.0, 0.0, 0.0]
    assert found["gt-present"]["scores"]["unseen"]["miou"] is None
    assert found["gt-present"]["scores"]["harmonic"]["miou"] is None
    assert found["gt-present"]["scores"]["seen_bias"] is None


def test_harmonic_is_zero_when_one_side_is():
    s = score(make_protocol(), joint_of([[4, 0, 0, 0], [0, 4, 0, 0], [4, 0, 0, 0]]))["scores"]
    assert s["unseen"]["miou"] == 0.0 and s["harmonic"]["miou"] == 0.0 and s["seen_bias"] == 100.0
    s = score(make_protocol(), joint_of([[0, 4, 0, 0], [4, 0, 0, 0], [4, 0, 0, 0]]))["scores"]
    assert s["harmonic"]["miou"] == 0.0


def test_conventional_protocol_ignores_seen_pixels():
    """Vocabulary = unseen names; predictions on seen truth cost nothing, wherever they fall."""
    protocol = make_protocol(seen=(True, False, False), vocabulary=(1, 2), scored=(1, 2))
    unseen = Joint.of([(2, 0, 6), (2, 1, 2), (3, 1, 4)])
    summary = score(protocol, unseen)
    assert summary == score(protocol, unseen + Joint.of([(1, 0, 50), (1, 1, 70), (1, -1, 5)]))
    s = summary["scores"]
    assert s["unseen"] == s["all"]
    assert s["all"]["miou"] == pytest.approx(100 * (6 / 8 + 4 / 6) / 2)
    assert all(v is None for v in s["seen"].values())
    assert s["harmonic"]["miou"] is None and s["seen_bias"] is None
    assert [r["index"] for r in summary["per_class"]] == [1, 2]
    assert summary["counts"]["scored_classes"] == {"all": 2, "seen": 0, "unseen": 2}


def test_named_groups_are_scored_too():
    summary = score(make_protocol(groups={"novel1": (2,)}), joint_of(MATRIX))
    assert summary["scores"]["novel1"] == summary["scores"]["unseen"]
    assert "novel1" in summary["intervals"]["scores"] and summary["counts"]["classes"]["novel1"] == 1


def test_constant_wrong_prediction_is_perfect_in_script_and_worthless_in_correct():
    protocol = make_protocol(windows=(2, 8))
    truth = [image([[1, 1], [2, 2]])] * 20
    counts = count_video(protocol, truth, [np.full((2, 2), 2, np.uint8)] * 20)
    temporal = summarize(protocol, [Rec("v", counts)], {}, expected_videos=["v"])["temporal"]
    assert temporal["vc8"] == {"script": 100.0, "clean": 100.0, "correct": 0.0}
    assert temporal["windows"]["vc8"]["script"] == {
        "windows": 12,
        "undefined": 0,
        "videos": 1,
        "skipped_videos": 0,
    }
    assert temporal["windows"]["vc8"]["clean"]["windows"] == 13
    assert temporal["note"] is None


def flicker_case():
    """Two pixels of class 0, one of void. The prediction of the second pixel flips in the last frame."""
    truth = [image([[1, 1, 0]])] * 18
    prediction = [image([[0, 0, 1]])] * 17 + [image([[0, 1, 1]])]
    return truth, prediction


def test_consistency_by_hand():
    protocol = make_protocol(windows=(2,))
    truth, prediction = flicker_case()
    temporal = summarize(
        protocol, [Rec("v", count_video(protocol, truth, prediction))], {}, expected_videos=["v"]
    )["temporal"]
    # The script leaves out the last window, the only imperfect one.
    assert temporal["vc2"]["script"] == 100.0
    # 16 windows hold both pixels, the 17th one of them; void is not looked at.
    assert temporal["vc2"]["clean"] == pytest.approx(100 * (16 + 1 / 2) / 17)
    assert temporal["vc2"]["correct"] == pytest.approx(100 * (16 + 1 / 2) / 17)


def test_void_is_truth_for_the_script_only():
    protocol = make_protocol(windows=(2,))
    truth = [image([[1, 0]]), image([[1, 255]])] * 9 + [image([[1, 0]])]
    prediction = [image([[0, t % 2]]) for t in range(19)]
    temporal = summarize(
        protocol, [Rec("v", count_video(protocol, truth, prediction))], {}, expected_videos=["v"]
    )["temporal"]
    assert temporal["vc2"] == {"script": 50.0, "clean": 100.0, "correct": 100.0}


@pytest.mark.parametrize(
    ("frames", "listed", "script", "clean"),
    [(16, 16, None, 9), (16, 17, 8, 9), (17, 17, 9, 10), (7, 17, None, None)],
)
def test_short_videos_and_hidden_files(frames, listed, script, clean):
    """The script counts files, hidden ones included: one stray file moves a video over the line."""
    protocol = make_protocol(windows=(8,))
    counts = count_video(protocol, [image([[1]])] * frames, [image([[0]])] * frames, listed=listed)
    temporal = summarize(protocol, [Rec("v", counts)], {}, expected_videos=["v"])["temporal"]
    assert temporal["vc8"]["script"] == (None if script is None else 100.0)
    assert temporal["windows"]["vc8"]["script"]["windows"] == (script or 0)
    assert temporal["vc8"]["clean"] == (None if clean is None else 100.0)
    assert temporal["windows"]["vc8"]["clean"]["skipped_videos"] == (clean is None)


def test_windows_without_constant_truth_leave_the_mean():
    protocol = make_protocol(windows=(2,))
    truth = [image([[1]]), image([[2]]), image([[2]])] + [image([[0]])] * 20
    counts = count_video(protocol, truth, [image([[1]])] * 23)
    temporal = summarize(protocol, [Rec("v", counts)], {}, expected_videos=["v"])["temporal"]
    assert temporal["vc2"]["correct"] == 100.0
    assert temporal["windows"]["vc2"]["correct"] == {
        "windows": 1,
        "undefined": 21,
        "videos": 1,
        "skipped_videos": 0,
    }


def test_windows_are_pooled_over_videos_not_averaged():
    protocol = make_protocol(windows=(2,))
    good = count_video(protocol, [image([[1]])] * 31, [image([[0]])] * 31)
    bad = count_video(protocol, [image([[1]])] * 11, [image([[t % 2]]) for t in range(11)])
    records = [Rec("a", good), Rec("b", bad)]
    temporal = summarize(protocol, records, {}, expected_videos=["a", "b"])["temporal"]
    assert temporal["vc2"]["clean"] == 75.0


def test_sparse_truth_has_no_consistency_and_says_why():
    protocol = make_protocol(windows=())
    counts = count_video(protocol, [None, image([[1]])], [image([[0]])] * 2)
    temporal = summarize(protocol, [Rec("v", counts)], {}, expected_videos=["v"])["temporal"]
    assert temporal["vc8"] == temporal["vc16"] == {"script": None, "clean": None, "correct": None}
    assert "sparse" in temporal["note"]
    gaps = make_protocol(windows=(2,))
    counts = count_video(gaps, [None, image([[1]])], [image([[0]])] * 2)
    temporal = summarize(gaps, [Rec("v", counts)], {}, expected_videos=["v"])["temporal"]
    assert temporal["vc2"]["clean"] is None and "1 of 1 videos lack" in temporal["note"]


def test_missing_videos_are_listed_and_order_does_not_matter():
    protocol = make_protocol()
    records = [record(v, joint_of(MATRIX)) for v in ("c", "a")]
    summary = summarize(protocol, records, {"id": "m"}, expected_videos=["a", "b", "c", "d"], partial="x")
    assert summary["missing_videos"] == ["b", "d"] and not summary["complete"] and summary["partial"] == "x"
    assert summary == summarize(
        protocol, records[::-1], {"id": "m"}, expected_videos=["a", "b", "c", "d"], partial="x"
    )
    with pytest.raises(IntegrityError, match="two records"):
        summarize(protocol, [*records, records[0]], {}, expected_videos=["a", "c"])
    with pytest.raises(IntegrityError, match="does not belong"):
        summarize(protocol, records, {}, expected_videos=["a"])


def test_no_records_at_all():
    summary = summarize(make_protocol(), [], {}, expected_videos=["a"])
    assert summary["scores"]["all"]["miou"] is None and summary["intervals"]["scores"]["all"]["miou"] is None
    json.dumps(summary, allow_nan=False)


def test_tags_are_summarised_apart():
    protocol = make_protocol(windows=())
    truth = image([[1, 2]])
    counts = count_video(
        protocol,
        [truth] * 3,
        [image([[0, 1]]), image([[1, 1]]), image([[0, 1]])],
        tags=["clean", "corrupted", "clean"],
    )
    tags = summarize(protocol, [Rec("v", counts)], {}, expected_videos=["v"])["tags"]
    assert tags["clean"]["frames"] == 2 and tags["clean"]["scores"]["all"]["miou"] == 100.0
    assert tags["corrupted"]["frames"] == 1 and tags["corrupted"]["scores"]["all"]["miou"] == 25.0


def test_labels_of_another_protocol():
    for joint in (Joint((9,), (0,), (1,)), Joint((1,), (3,), (1,))):
        with pytest.raises(IntegrityError, match="not in the protocol"):
            score(make_protocol(), joint)


def test_unknown_convention():
    with pytest.raises(UserError, match="unknown convention"):
        score(make_protocol(convention="gt-presents"), joint_of(MATRIX))


matrices = st.lists(st.lists(st.integers(0, 40), min_size=5, max_size=5), min_size=4, max_size=4)


def protocol4(**kwargs):
    return make_protocol(
        seen=(True, False, True, False), kinds=["thing", "stuff", "stuff", "thing"], **kwargs
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(matrices, min_size=1, max_size=4),
    st.sampled_from(["gt-present", "union-present", "all-classes"]),
)
def test_any_counts_give_sane_finite_scores(runs, rule):
    """Bounds and the arithmetic identities hold for every confusion matrix, abstention included."""
    summary = score(protocol4(convention=rule), *(joint_of(m) for m in runs))
    text = json.dumps(summary, allow_nan=False, sort_keys=True)
    assert json.loads(text) == summary
    for group in ("all", "seen", "unseen"):
        values = [v for v in summary["scores"][group].values() if v is not None]
        assert all(0.0 <= v <= 100.0 + 1e-9 for v in values)
    iv = summary["intervals"]["scores"]["all"]["miou"]
    assert iv is None or iv[0] <= iv[1]


@settings(max_examples=40, deadline=None)
@given(matrices, st.permutations(range(4)))
def test_scores_do_not_depend_on_what_classes_are_called(matrix, order):
    """Permute class table and vocabulary together: same means, permuted rows."""
    first = score(protocol4(), joint_of(matrix))
    seen, kinds = (True, False, True, False), ["thing", "stuff", "stuff", "thing"]
    protocol = make_protocol(seen=tuple(seen[o] for o in order), kinds=[kinds[o] for o in order])
    moved = [[matrix[o][p] for p in (*order, 4)] for o in order]
    second = score(protocol, joint_of(moved))
    for group, values in first["scores"].items():
        if isinstance(values, dict):
            for metric, value in values.items():
                other = second["scores"][group][metric]
                assert (value is None and other is None) or math.isclose(value, other, abs_tol=1e-9)
    assert [second["per_class"][order.index(c)]["iou"] for c in range(4)] == [
        r["iou"] for r in first["per_class"]
    ]


@settings(max_examples=40, deadline=None)
@given(matrices, st.integers(0, 4), st.integers(0, 4))
def test_splitting_a_run_into_videos_changes_no_score(matrix, row, column):
    whole = joint_of(matrix)
    parts = [[[n if (t, p) == (row, column) else 0 for p, n in enumerate(r)] for t, r in enumerate(matrix)]]
    parts.append([[n - parts[0][t][p] for p, n in enumerate(r)] for t, r in enumerate(matrix)])
    split = score(protocol4(), *(joint_of(p) for p in parts))
    assert split["scores"] == score(protocol4(), whole)["scores"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ignored_regions_and_constant_crops(seed):
    """A border of void changes nothing but the script's windows; nor does cropping it away again."""
    rng = np.random.default_rng(seed)
    protocol = protocol4(windows=(2,))
    truth = [rng.integers(0, 5, (4, 6)).astype(np.uint8) for _ in range(5)]
    guess = [rng.integers(0, 4, (4, 6)).astype(np.uint8) for _ in range(5)]
    plain = summarize(protocol, [Rec("v", count_video(protocol, truth, guess))], {}, expected_videos=["v"])
    framed = count_video(
        protocol, [np.pad(t, 2, constant_values=255) for t in truth], [np.pad(g, 2) for g in guess]
    )
    other = summarize(protocol, [Rec("v", framed)], {}, expected_videos=["v"])
    for part in ("scores", "per_class", "counts"):
        assert plain[part] == other[part]
    for mode in ("clean", "correct"):
        assert plain["temporal"]["vc2"][mode] == other["temporal"]["vc2"][mode]


def test_summary_and_sample_agree():
    protocol = protocol4(windows=(2, 3))
    rng = np.random.default_rng(5)
    records = []
    for v in range(6):
        truth = [np.repeat(rng.integers(0, 5, (3, 1)), 5, 1).astype(np.uint8)] * 18
        guess = [rng.integers(0, 4, (3, 5)).astype(np.uint8) for _ in range(18)]
        records.append(Rec(f"v{v}", count_video(protocol, truth, guess)))
    summary = summarize(protocol, records, {}, expected_videos=[r.video_id for r in records])
    point = run_sample(protocol, records).point()
    for name, value in point.items():
        group, _, metric = name.rpartition(".")
        if name == "seen_bias":
            expected = summary["scores"][name]
        elif not group:
            expected = summary["temporal"]["flicker"][name]
        else:
            expected = (summary["temporal"] if group.startswith("vc") else summary["scores"])[group][metric]
        assert value == expected if value is None else value == pytest.approx(expected, abs=1e-6), name
    for name, low_high in summary["intervals"]["temporal"]["vc2"].items():
        assert low_high[0] <= summary["temporal"]["vc2"][name] <= low_high[1]
    low, high = summary["intervals"]["scores"]["all"]["miou"]
    assert low < summary["scores"]["all"]["miou"] < high


def test_contradicting_scores_are_refused():
    protocol = make_protocol()
    total = class_sums(protocol, joint_of(MATRIX))
    s = {"miou": 50.0, "fwiou": 50.0, "macc": 40.0, "pacc": 60.0}
    with pytest.raises(IntegrityError, match="mIoU <= mAcc"):
        check_sanity(protocol, total, {"all": s, "seen": s, "unseen": s})
    s = {"miou": 30.0, "fwiou": 10.0, "macc": 40.0, "pacc": 60.0}
    with pytest.raises(IntegrityError, match=r"pAcc\^2 <= fwIoU"):
        check_sanity(protocol, total, {"all": s, "seen": s, "unseen": s})


def direct_script_vc(protocol, videos, n):
    """VC as the VSPW script states it: pooled windows, starts 0..L-n-1, one void, nan-mean."""
    ratios = []
    for truths, guesses, listed in videos:
        if listed <= 16:
            continue
        classes = [protocol.truth_table[t] for t in truths]
        for start in range(len(truths) - n):
            held = np.ones(truths[0].shape, bool)
            kept = held.copy()
            for later in range(start + 1, start + n):
                held &= classes[start] == classes[later]
                kept &= guesses[start] == guesses[later]
            ratios.append((held & kept).sum() / held.sum() if held.any() else np.nan)
    return 100 * np.nanmean(ratios)


@pytest.mark.parametrize("seed", range(4))
def test_script_mode_equals_the_script(seed):
    rng = np.random.default_rng(seed)
    protocol = protocol4(windows=(2, 8))
    videos, records = [], []
    for v in range(5):
        length = int(rng.integers(14, 30))
        truth = rng.integers(0, 5, (3, 4)).astype(np.uint8)
        truths, guesses = [], []
        for _ in range(length):
            flip = rng.random((3, 4)) < 0.1
            truth = np.where(flip, rng.choice([0, 255, 1, 2, 3, 4], (3, 4)), truth).astype(np.uint8)
            truths.append(truth)
            wrong = rng.random((3, 4)) < 0.1
            guesses.append(np.where(wrong, 3, np.clip(truth, 1, 4) - 1).astype(np.uint8))
        listed = length + int(rng.integers(0, 3))
        videos.append((truths, guesses, listed))
        records.append(Rec(f"v{v}", count_video(protocol, truths, guesses, listed=listed)))
    temporal = summarize(protocol, records, {}, expected_videos=[r.video_id for r in records])["temporal"]
    for n in (2, 8):
        assert temporal[f"vc{n}"]["script"] == pytest.approx(direct_script_vc(protocol, videos, n), abs=1e-10)
