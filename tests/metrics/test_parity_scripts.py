"""Published scripts, stated directly on pixels as they were released, against their restatement from counts.

Everything is compared with `==`: window by window, and means in their order of summation.
"""

from __future__ import annotations

import numpy as np
import pytest
from metrics_cases import count_video, make_protocol

from ovbench.metrics.parity import SCRIPTS, script_notes, script_scores, script_windows
from ovbench.metrics.series import JointSeries
from ovbench.metrics.temporal import window_ratios
from ovbench.metrics.videocounts import Joint, VideoCounts

CLASSES = 124
VOIDS = (0, 252, 253, 254, 255)
PROTOCOL = make_protocol((True,) * CLASSES, ignore=VOIDS, windows=(8, 16))


class Clip:
    """A video as the scripts find it on disk: masks, label maps, and how many files lie beside them."""

    def __init__(self, rng: np.random.Generator, *, abstain: bool, gaps: bool) -> None:
        frames = int(rng.choice([rng.integers(1, 18), rng.integers(14, 20), rng.integers(18, 40)]))
        size = (3, 5)
        flip = float(rng.choice([0.0, 0.01, 0.05, 0.3]))
        ids = np.array([*rng.integers(1, CLASSES - 1, 5), *VOIDS, 0, 255])
        truth = rng.choice(ids, size)
        self.truths, self.predictions = [], []
        guess = np.clip(truth - 1, 0, CLASSES - 1)
        for _ in range(frames):
            truth = np.where(rng.random(size) < flip, rng.choice(ids, size), truth)
            void = np.isin(truth, (0, 255)) & (rng.random(size) < flip)
            truth = np.where(void, 255 - truth, truth)  # 0 <-> 255
            fresh = rng.random(size) < flip / 2
            guess = np.where(fresh, rng.integers(0, CLASSES, size), guess)
            shown = guess.astype(np.uint8)
            if abstain:
                shown[(rng.random(size) < 0.1) & (truth < CLASSES - 1)] = 255
            self.truths.append(truth.astype(np.uint8))
            self.predictions.append(shown)
        self.gaps = {int(g) for g in rng.integers(0, frames, 2)} if gaps else set()
        self.hidden = int(rng.choice([0, 0, 0, 1, 3]))

    @property
    def files(self) -> int:
        return len(self.truths) + self.hidden

    def counts(self) -> VideoCounts:
        truths = [None if i in self.gaps else t for i, t in enumerate(self.truths)]
        return count_video(PROTOCOL, truths, self.predictions, listed=self.files)


def clips(seed: int, count: int, *, abstain: bool = True, gaps: bool = False) -> list[Clip]:
    rng = np.random.default_rng(seed)
    return [Clip(rng, abstain=abstain, gaps=gaps) for _ in range(count)]


def shifted(mask: np.ndarray) -> np.ndarray:
    """Ids as MRCFA and OV2VSS see them: down by one, 0 and 255 both 255."""
    wide = mask.astype(int)
    return np.where((wide == 0) | (wide == 255), 255, wide - 1)


def released_windows(truths, predictions, n):
    """Each window from its first frame: which pixels never leave the first frame's value."""
    shares = []
    for i in range(len(truths) - n):
        still = np.ones(truths[i].shape, bool)
        still_shown = np.ones(truths[i].shape, bool)
        for j in range(i + 1, i + n):
            still &= truths[j] == truths[i]
            still_shown &= predictions[j] == predictions[i]
        with np.errstate(invalid="ignore"):
            shares.append(np.float64((still & still_shown).sum()) / np.float64(still.sum()))
    return shares


def released_vc(videos, n, *, limit, convert=lambda mask: mask):
    pool = []
    for clip in videos:
        if clip.files > limit:
            pool += released_windows([convert(t) for t in clip.truths], clip.predictions, n)
    return pool


def mean(pool):
    return None if np.isnan(pool).all() else 100 * np.nanmean(np.array(pool))


def released_confusion(videos):
    """The matrix of the VSPW evaluator, abstentions as the value 255 that they have in the file."""
    matrix = np.zeros((CLASSES, CLASSES))
    for clip in videos:
        for truth, shown in zip(map(shifted, clip.truths), clip.predictions, strict=True):
            known = truth < CLASSES
            code = CLASSES * truth[known] + shown[known]
            matrix += np.bincount(code, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    return matrix


def released_means(matrix):
    hit, truth = np.diag(matrix), np.sum(matrix, axis=1)
    with np.errstate(invalid="ignore"):
        iou = hit / (truth + np.sum(matrix, axis=0) - hit)
        accuracy = np.nanmean(hit / truth)
    share = truth / np.sum(matrix)
    return {
        "miou": 100 * (np.nansum(iou * (truth > 0)) / (truth > 0).sum()),
        "fwiou": 100 * (share[share > 0] * iou[share > 0]).sum(),
        "macc": 100 * accuracy,
        "pacc": 100 * (hit.sum() / matrix.sum()),
    }


@pytest.fixture(scope="module")
def many() -> tuple[list[Clip], list[VideoCounts]]:
    videos = clips(0, 240)
    return videos, [v.counts() for v in videos]


def test_the_random_videos_hold_every_trap(many):
    videos, _ = many
    assert len(videos) >= 200
    assert {len(v.truths) for v in videos} >= set(range(1, 18))
    assert any(len(v.truths) <= 16 < v.files for v in videos)
    pools = [released_windows(v.truths, v.predictions, 8) for v in videos]
    assert sum(np.isnan(p).sum() for p in pools) > 20
    flips = sum(
        (((a == 0) & (b == 255)) | ((a == 255) & (b == 0))).any()
        for v in videos
        for a, b in zip(v.truths, v.truths[1:], strict=False)
    )
    assert flips > 200
    assert {i for v in videos for t in v.truths for i in np.unique(t)} >= set(VOIDS)


@pytest.mark.parametrize("n", [8, 16])
def test_every_window_equals_the_released_algorithm(many, n):
    windows = 0
    for clip, counts in zip(*many, strict=True):
        merged = released_vc([clip], n, limit=16, convert=shifted)
        np.testing.assert_array_equal(window_ratios(counts, n, "script"), merged)
        np.testing.assert_array_equal(script_windows(counts, n, raw=False, shortest=16), merged)
        apart = released_vc([clip], n, limit=n)
        np.testing.assert_array_equal(script_windows(counts, n, raw=True, shortest=n), apart)
        windows += len(apart)
    assert windows > 500


def test_vc_of_whole_sets_equals_the_scripts_to_the_last_digit(many):
    for start, stop in ((0, 240), (0, 1), (3, 20), (50, 170)):
        videos, counts = (part[start:stop] for part in many)
        found = script_scores(PROTOCOL, counts)
        both = []
        for n in (8, 16):
            assert found["vspw-script"][f"vc{n}"] == mean(released_vc(videos, n, limit=16, convert=shifted))
            apart = released_vc(videos, n, limit=n)
            assert found["vspw-baseline"][f"vc{n}"] == mean(apart)
            both += apart
            assert found["dvis-plus"][f"vc{n}"] == mean(both)
    assert found["dvis-plus"]["vc16"] != found["vspw-baseline"]["vc16"]


def test_accuracies_of_the_vspw_evaluator_abstentions_in_the_wrong_cell_included(many):
    videos, counts = many
    found = script_scores(PROTOCOL, counts)
    names = ("miou", "fwiou", "macc", "pacc")
    skipped = released_means(released_confusion([v for v in videos if v.files > 16]))
    assert {m: found["vspw-script"][m] for m in names} == skipped
    assert {m: found["dvis-plus"][m] for m in names} == released_means(released_confusion(videos))
    assert found["vspw-script"]["miou"] != found["dvis-plus"]["miou"]


def test_an_abstention_behind_the_last_cell_stops_the_script():
    truth = np.full((2, 2), CLASSES, np.uint8)  # the last class: 124 * 123 + 255 is past the matrix
    counts = count_video(PROTOCOL, [truth] * 18, [np.full((2, 2), 255, np.uint8)] * 18)
    with pytest.raises(ValueError, match="reshape"):
        np.bincount(np.array([CLASSES * 123 + 255]), minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    found = script_scores(PROTOCOL, [counts])
    assert found["vspw-script"]["miou"] is None and found["vspw-script"]["vc8"] == 100
    assert "255" in script_notes(PROTOCOL, [counts])["vspw-script"][0]
    assert script_notes(PROTOCOL, [counts])["vspw-baseline"] == ()


def test_what_the_counts_cannot_state_is_none_and_said():
    videos = clips(1, 40, gaps=True)
    videos = [v for v in videos if len(v.truths) > 16]
    counts = [v.counts() for v in videos]
    for clip, count in zip(videos, counts, strict=True):
        for n in (8, 16):
            direct = released_windows(list(map(shifted, clip.truths)), clip.predictions, n)
            whole = [i for i in range(len(direct)) if not clip.gaps & set(range(i, i + n))]
            np.testing.assert_array_equal(window_ratios(count, n, "script"), np.array(direct)[whole])
    found = script_scores(PROTOCOL, counts)
    assert {found[s][f"vc{n}"] for s in ("vspw-script", "vspw-baseline", "dvis-plus") for n in (8, 16)} == {
        None
    }
    assert "without truth" in script_notes(PROTOCOL, counts)["vspw-script"][0]
    tiny = make_protocol(windows=(2,))
    short = count_video(tiny, [np.ones((2, 2), np.uint8)] * 20, [np.zeros((2, 2), np.uint8)] * 20)
    assert script_scores(tiny, [short])["dvis-plus"]["vc16"] is None
    assert "8 and 16 frames were not counted" in script_notes(tiny, [short])["dvis-plus"][0]


def test_hidden_files_move_a_video_over_the_line():
    truth, shown = np.full((2, 2), 3, np.uint8), np.full((2, 2), 9, np.uint8)
    for frames, listed, script in ((16, 16, None), (16, 17, None), (17, 17, 100), (15, 19, 100)):
        counts = count_video(PROTOCOL, [truth] * frames, [shown] * frames, listed=listed)
        found = script_scores(PROTOCOL, [counts])
        expected = None if listed <= 16 else 100
        assert found["vspw-script"]["vc8"] == expected
        assert found["vspw-script"]["vc16"] == (script if frames > 16 else None)
        assert found["vspw-script"]["pacc"] == (None if listed <= 16 else 0)
        assert found["vspw-baseline"]["vc8"] == 100 and found["dvis-plus"]["pacc"] == 0
        notes = script_notes(PROTOCOL, [counts])
        assert bool(notes["vspw-script"]) == bool(notes["vspw-baseline"]) == (frames <= 16 < listed)
        assert bool(notes["dvis-plus"]) == (listed > frames)


def released_detectron2(truths, predictions, size):
    matrix = np.zeros((size + 1, size + 1), np.int64)
    for truth, shown in zip(truths, predictions, strict=True):
        code = (size + 1) * np.where(shown == 255, size, shown.astype(int)) + truth
        matrix += np.bincount(code.ravel(), minlength=matrix.size).reshape(matrix.shape)
    inner = matrix[:-1, :-1]
    hit, in_truth, shown = matrix.diagonal()[:-1].astype(float), inner.sum(0), inner.sum(1)
    valid = in_truth > 0
    iou = hit[valid] / (in_truth + shown - hit)[valid]
    return {
        "miou": 100 * (iou.sum() / valid.sum()),
        "fwiou": 100 * (iou * (in_truth / in_truth.sum())[valid]).sum(),
        "macc": 100 * ((hit[valid] / in_truth[valid]).sum() / valid.sum()),
        "pacc": 100 * (hit.sum() / in_truth.sum()),
    }


def as_training_ids(protocol, clip, void):
    """Masks prepared as those evaluators expect them: class indices, everything not scored is `void`."""
    classes = [protocol.truth_table[t].astype(int) for t in clip.truths]
    return [np.where(np.isin(c, protocol.scored_classes), c, void) for c in classes]


@pytest.mark.parametrize("scored", [None, tuple(range(80, CLASSES))])
def test_detectron2(scored):
    protocol = make_protocol((True,) * CLASSES, ignore=VOIDS, windows=(), scored=scored)
    videos = clips(2, 30)
    counts = [count_video(protocol, v.truths, v.predictions) for v in videos]
    masks = [m for v in videos for m in as_training_ids(protocol, v, CLASSES)]
    shown = [p for v in videos for p in v.predictions]
    found = script_scores(protocol, counts)["detectron2"]
    assert found == released_detectron2(masks, shown, CLASSES)
    silent = [count_video(protocol, v.truths, [np.full_like(p, 255) for p in v.predictions]) for v in videos]
    assert set(script_scores(protocol, silent)["detectron2"].values()) == {None}


def released_mmseg(frames, size):
    """Histograms and their sums with the library's own float32 calls."""
    torch = pytest.importorskip("torch")
    hit, union, truth_area = 0, 0, 0
    for truth, shown in frames:
        keep = truth != 255
        label, guess = torch.from_numpy(truth[keep]), torch.from_numpy(shown[keep].astype(int))
        parts = [
            torch.histc(x.float(), bins=size, min=0, max=size - 1)
            for x in (guess[guess == label], guess, label)
        ]
        hit, truth_area = hit + parts[0], truth_area + parts[2]
        union = union + (parts[1] + parts[2] - parts[0])
    return {
        "miou": 100 * float(np.nanmean((hit / union).numpy())),
        "macc": 100 * float(np.nanmean((hit / truth_area).numpy())),
        "pacc": 100 * float(hit.sum() / truth_area.sum()),
    }


def test_mmseg():
    protocol = make_protocol((True,) * CLASSES, ignore=VOIDS, windows=())
    videos = clips(3, 30)
    counts = [count_video(protocol, v.truths, v.predictions) for v in videos]
    frames = [
        pair for v in videos for pair in zip(as_training_ids(protocol, v, 255), v.predictions, strict=True)
    ]
    found = script_scores(protocol, counts)["mmseg"]
    assert found == pytest.approx(released_mmseg(frames, CLASSES), rel=1e-7)
    assert {m: found[m] for m in ("miou", "macc")} == {
        m: v for m, v in released_mmseg(frames, CLASSES).items() if m != "pacc"
    }


def test_abstentions_by_hand():
    protocol = make_protocol((True, True, True), windows=())
    counts = count_video(protocol, [np.uint8([[1, 1, 1, 2, 0]])], [np.uint8([[0, 0, 255, 2, 1]])])
    found = script_scores(protocol, [counts])
    # detectron2: class 0 is 2 of 2, as its third pixel is gone; class 1 is 0 of 1; class 2 is not in the truth.
    assert found["detectron2"] == {
        "miou": 50.0,
        "fwiou": pytest.approx(100 * 2 / 3),
        "macc": 50.0,
        "pacc": pytest.approx(100 * 2 / 3),
    }
    # mmseg: class 0 is 2 of 3; classes 1 and 2 are 0 of 1, the latter only for being predicted.
    assert found["mmseg"] == {
        "miou": pytest.approx(100 * (2 / 3) / 3),
        "macc": pytest.approx(100 * (2 / 3) / 2),
        "pacc": pytest.approx(50),
    }


def test_mmseg_loses_pixels_of_long_sets_as_float32_does():
    protocol = make_protocol((True, True), windows=())
    rng = np.random.default_rng(4)
    pixels = rng.integers(1 << 22, 1 << 23, (200, 2, 2))  # truth x prediction of each frame
    series = JointSeries.of((i, [1, 1, 2, 2], [0, 1, 0, 1], p.ravel()) for i, p in enumerate(pixels))
    counts = VideoCounts(200, 200, 200, 1, 1, joint=Joint(*series.total()), per_frame=series)
    areas = np.zeros((3, 2), np.float32)
    for frame in pixels.astype(np.float32):
        hit = np.diag(frame)
        for total, part in zip(areas, (hit, frame.sum(0) + frame.sum(1) - hit, frame.sum(1)), strict=True):
            total += part
    exact = pixels.astype(float).sum(0)
    exact_iou = np.diag(exact) / (exact.sum(0) + exact.sum(1) - np.diag(exact))
    found = script_scores(protocol, [counts])["mmseg"]
    assert found["miou"] == 100 * float(np.mean(areas[0] / areas[1]))
    assert found["macc"] == 100 * float(np.mean(areas[0] / areas[2]))
    assert found["miou"] != 100 * np.mean(exact_iou)
    assert found["miou"] == pytest.approx(100 * np.mean(exact_iou), rel=1e-4)


def test_every_script_says_what_it_is():
    assert set(script_scores(PROTOCOL, [])) == set(SCRIPTS)
    for script in SCRIPTS.values():
        assert script.text.endswith(".") and script.source
        assert set(script.scores(PROTOCOL, []).values()) <= {None}
