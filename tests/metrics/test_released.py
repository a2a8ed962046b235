"""The evaluation released with OV2VSS: what its code does to arrays, step by step, against protocol and records.

The slow side below handles whole masks the way the released code does (its label map applied id by id, histograms
with edges, a `bincount` matrix); ours counts once and adds up integers.
"""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from engine_runs import ovbench, request
from hypothesis import given, settings
from hypothesis import strategies as st
from make_trees import make_vspw
from metrics_cases import count_video
from PIL import Image

from ovbench.core.errors import UserError
from ovbench.engine.evaluate import run, score
from ovbench.engine.records import CountedVideo
from ovbench.metrics.parity import script_scores
from ovbench.metrics.sample import run_sample
from ovbench.metrics.score import scores_under, summarize
from ovbench.protocol.load import load_protocol
from ovbench.report.find import open_run

ID = "vspw-80-44-asreleased"
NAMES = 44  # unseen ones; the label map after them is "background"
BACKGROUND = 44
METRICS = ("miou", "fwiou", "macc", "pacc")


class Stopped(Exception):
    """The script would have ended with an error."""


def released_label_map() -> dict[int, int]:
    """Keys are positions of the 124 names (0..123), though masks hold 0..124."""
    every = [row.name for row in load_protocol("vspw-80-44").classes]
    wanted = every[80:]
    return {i: wanted.index(name) if name in wanted else -1 for i, name in enumerate(every)}


def prepared(mask):
    """The masks that the preparation script writes for `val_unseen`."""
    return np.where(mask > 80, mask, 255).astype(np.uint8)


def loaded(mask):
    label = prepared(mask)
    for old, new in released_label_map().items():
        label[label == old] = new % 256  # -1 wraps
    label[label == 0] = 255
    label = label - np.uint8(1)
    label[label == 254] = 255
    return label


def script(masks, maps):
    """What the script prints, in percent: its table, and the two numbers before it."""
    areas, matrix = np.zeros((3, NAMES)), np.zeros((NAMES, NAMES))
    edges = np.arange(NAMES + 1)
    for mask, guess in zip(masks, maps, strict=True):
        label = loaded(mask)
        inside = label < NAMES
        found = np.bincount(NAMES * label[inside].astype(int) + guess[inside], minlength=NAMES**2)
        if found.size != NAMES**2:
            raise Stopped
        matrix += found.reshape(NAMES, NAMES)
        guess, label = guess[label != 255], label[label != 255]
        for row, values in enumerate((guess[guess == label], guess, label)):
            areas[row] += np.histogram(values, bins=edges)[0]
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hit, given, truth = areas
        iou, union = np.diag(matrix) * 1.0, matrix.sum(1) + matrix.sum(0) - np.diag(matrix)
        iou = iou / union
        present, frequency = matrix.sum(1) > 0, matrix.sum(1) / matrix.sum()
        shares = {
            "miou": np.nanmean(hit / (given + truth - hit)),
            "macc": np.nanmean(hit / truth),
            "pacc": hit.sum() / truth.sum(),
            "fwiou": (frequency[frequency > 0] * iou[frequency > 0]).sum(),
            "printed_miou": np.nansum(iou * present) / present.sum(),
        }
        return {name: 100 * float(share) for name, share in shares.items()}


def test_the_slow_side_has_the_label_map_of_the_release():
    raw = np.arange(256, dtype=np.uint8)[None]
    label = loaded(raw)[0]
    assert label[81:124].tolist() == list(range(43))
    assert set(label[:81].tolist()) == {255} and label[255] == 255
    assert label[124] == 123 and label[252:255].tolist() == [251, 252, 253]


def random_clip(rng, *, abstain=False, size=(9, 13), frames=2):
    """Blocks of ids and labels; every kind of oddity occurs."""
    pool = np.array([*rng.integers(81, 125, 6), *rng.integers(1, 81, 2), 0, 80, 124, 123, 252, 253, 254, 255])
    names = np.array([*rng.integers(0, NAMES, 4), 43, BACKGROUND, *([255] if abstain else [])])
    masks, maps = [], []
    for _ in range(frames):
        mask = rng.choice(pool, size).astype(np.uint8)
        right = (mask.astype(int) - 81) % 256
        guess = np.where((right < NAMES) & (rng.random(size) < 0.5), right, rng.choice(names, size))
        masks.append(mask)
        maps.append(guess.astype(np.uint8))
    return masks, maps


def record(protocol, name, clip) -> CountedVideo:
    return CountedVideo(name, count_video(protocol, *clip), {})


def percent(shares):
    return {name: 100 * share for name, share in shares.items()}


def printed(protocol, records):
    return script_scores(protocol, [r.counts for r in records])["ov2vss"]


def same(ours, theirs):
    assert ours["miou"] == pytest.approx(theirs["miou"], rel=1e-12, abs=1e-12)
    for metric in METRICS:
        assert ours[metric] == pytest.approx(theirs[metric], rel=1e-12, abs=1e-12), metric


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), videos=st.integers(1, 3))
def test_random_videos_give_the_numbers_of_the_script(seed, videos):
    rng = np.random.default_rng(seed)
    protocol = load_protocol(ID)
    clips = [random_clip(rng) for _ in range(videos)]
    truth = script([m for c in clips for m in c[0]], [g for c in clips for g in c[1]])
    records = [record(protocol, f"v{i}", c) for i, c in enumerate(clips)]
    summary = summarize(protocol, records, {}, expected_videos=[r.video_id for r in records])
    same(summary["scores"]["unseen"], truth)
    assert summary["scores"]["all"] == summary["scores"]["unseen"]
    assert printed(protocol, records) == truth  # to the last bit
    # whatever the matrix does, this law holds: the overflow cannot explain a table that breaks it
    assert truth["pacc"] ** 2 / 100 <= truth["fwiou"] + 1e-9 and truth["fwiou"] <= truth["pacc"] + 1e-9


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_abstention_is_the_number_255_of_the_script(seed):
    rng = np.random.default_rng(seed)
    protocol = load_protocol(ID)
    masks, maps = random_clip(rng, abstain=True, size=(3, 5))
    one = record(protocol, "v", (masks, maps))
    ours = scores_under(protocol, [one], protocol.convention)["scores"]["unseen"]
    try:
        truth = script(masks, maps)
    except Stopped:
        assert set(printed(protocol, [one]).values()) == {None}
        assert ours["fwiou"] is None
        return
    if math.isnan(truth["pacc"]):  # no truth: ours has no score where theirs prints 0 or nan
        assert ours["miou"] is None
        return
    same(ours, truth)
    assert printed(protocol, [one]) == truth


def test_by_hand():
    """The example of docs/metrics.md: eight labelled pixels, and one that is void whatever is said there."""
    mask = np.array([[81] * 4 + [82] * 2 + [124] * 2 + [80]], np.uint8)
    guess = np.array([[0, 0, BACKGROUND, 1, 1, 1, 43, 0, 1]], np.uint8)
    protocol = load_protocol(ID)
    one = record(protocol, "v", ([mask], [guess]))
    found = summarize(protocol, [one], {}, expected_videos=["v"])
    released = {"miou": (2 / 5 + 2 / 3 + 0) / 3, "macc": (2 / 4 + 1) / 2, "pacc": 4 / 6, "fwiou": 1 / 2}
    scores = found["scores"]["unseen"]
    assert {m: scores[m] for m in METRICS} == pytest.approx(percent(released))
    rows = {r["name"]: r for r in found["per_class"]}
    assert (rows["train"]["truth"], rows["train"]["prediction"], rows["train"]["acc"]) == (0, 2, None)
    assert rows["trash_can"]["matrix"] == [2, 3, 3] and rows["cage"]["matrix"] == [2, 3, 3]
    assert printed(protocol, [one])["printed_miou"] == 50.0

    ordinary = load_protocol("vspw-80-44")
    other = np.where(guess == BACKGROUND, 255, guess).astype(np.uint8)
    two = record(ordinary, "v", ([mask], [other]))
    plain = {"miou": (2 / 5 + 2 / 3 + 1 / 2) / 3, "macc": (2 / 4 + 1 + 1 / 2) / 3, "pacc": 5 / 8}
    plain["fwiou"] = (4 * 2 / 5 + 2 * 2 / 3 + 2 * 1 / 2) / 8
    got = summarize(ordinary, [two], {}, expected_videos=["v"])["scores"]["unseen"]
    assert {m: got[m] for m in METRICS} == pytest.approx(percent(plain))
    # An ordinary rule over the released protocol's own counts sees what the ordinary protocol sees.
    under = scores_under(protocol, [one], "gt-present")["scores"]["unseen"]
    assert {m: under[m] for m in METRICS} == pytest.approx(percent(plain))


def test_intervals_come_from_sums_that_add_up():
    protocol = load_protocol(ID)
    rng = np.random.default_rng(8)
    clips = [random_clip(rng) for _ in range(6)]
    records = [record(protocol, f"v{i}", c) for i, c in enumerate(clips)]
    sample = run_sample(protocol, records)
    drawn = [0, 0, 3, 5, 5, 2]
    found = dict(zip(sample.names, sample.scores(sample.sums[drawn].sum(axis=0)[None])[0], strict=True))
    truth = script([m for i in drawn for m in clips[i][0]], [g for i in drawn for g in clips[i][1]])
    same({m: found[f"unseen.{m}"] for m in METRICS}, truth)
    summary = summarize(protocol, records, {}, expected_videos=[r.video_id for r in records])
    for metric in METRICS:
        low, high = summary["intervals"]["scores"]["unseen"][metric]
        assert low < summary["scores"]["unseen"][metric] < high


def test_the_same_label_maps_under_the_ordinary_protocol_and_by_name():
    """Without background the convention may be asked for from a run of vspw-80-44, too."""
    ordinary = load_protocol("vspw-80-44")
    rng = np.random.default_rng(1)
    masks, maps = random_clip(rng)
    masks = [np.where(np.isin(m, (252, 253, 254)), 0, m) for m in masks]  # void in vspw-80-44
    maps = [np.where(g == BACKGROUND, 0, g) for g in maps]
    one = record(ordinary, "v", (masks, maps))
    under = scores_under(ordinary, [one], "ov2vss-released")["scores"]["unseen"]
    same(under, script(masks, maps))
    own = scores_under(ordinary, [one], "gt-present")["scores"]["unseen"]
    assert own["miou"] != pytest.approx(under["miou"]) and own["pacc"] != pytest.approx(under["pacc"])


def test_other_settings_refuse_it():
    generalised = load_protocol("vspw-80-44-gzs")
    with pytest.raises(UserError, match=r"unseen names on unseen pixels.*vspw-80-44-gzs"):
        scores_under(generalised, [], "ov2vss-released")
    assert set(script_scores(generalised, [])["ov2vss"].values()) == {None}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Every id 0..124, 252..255, in masks of VSPW's layout; label maps with background and abstentions."""
    root = tmp_path_factory.mktemp("tree")
    make_vspw(root / "data", videos={"a": 4, "b": 3, "c": 5}, ids=tuple(range(64, 125)), oddities=True)
    rng = np.random.default_rng(3)
    masks, maps = [], []
    for path in sorted((root / "data/data").glob("*/mask/0*.png")):
        mask = np.asarray(Image.open(path)).copy()
        mask[5:9] = rng.integers(0, 125, (4, mask.shape[1]))
        picture = Image.fromarray(mask)
        picture.save(path)
        guess = rng.integers(0, 45, mask.shape)
        right = (mask.astype(int) - 81) % 256
        guess = np.where((right < NAMES) & (rng.random(mask.shape) < 0.6), right, guess).astype(np.uint8)
        target = root / "maps" / path.parts[-3] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(guess).save(target)
        masks.append(mask)
        maps.append(guess)
    return root, masks, maps


def test_score_gives_the_scripts_numbers(tree, tmp_path):
    root, masks, maps = tree
    out = tmp_path / "run"
    score(root / "maps", ID, data_root=root / "data", jobs=1, out=out)
    truth = script(masks, maps)
    summary = json.loads((out / "summary.json").read_text())
    same(summary["scores"]["unseen"], truth)
    assert summary["convention"]["id"] == "ov2vss-released"
    assert printed(load_protocol(ID), open_run(out).records) == truth

    told = ovbench("explain", out)
    assert told.returncode == 0, told.stderr
    text = " ".join(told.stdout.split())
    for metric, title in (("miou", "mIoU"), ("fwiou", "fwIoU"), ("macc", "mAcc"), ("pacc", "pAcc")):
        assert f"unseen {title} {truth[metric]:.2f} =" in text
    assert "As the evaluation released with OV2VSS counts, bugs included" in text
    assert "answered 'background', which is no class" in text
    assert f"printed_miou {truth['printed_miou']:.2f}" in text
    told = ovbench("explain", out / "summary.json")
    assert told.returncode == 0, told.stderr
    for more in ((), ("--convention", "all"), ("--convention", "gt-present"), ("--columns", "all")):
        table = ovbench("table", out, *more)
        assert table.returncode == 0, table.stderr
        if more != ("--convention", "gt-present"):
            assert "ov2vss-released" in table.stdout and f"{truth['miou']:.1f}" in table.stdout
    for arguments in (
        ("explain", out, "--class", "train"),
        ("export", out, "--what", "classes", "--out", tmp_path / "rows.csv"),
    ):
        done = ovbench(*arguments)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["random", "oracle-grid", "majority"])
def test_methods_run_with_a_name_that_is_no_class(tree, tmp_path, method):
    root, masks, _ = tree
    (root / "data/train.txt").write_text("a\nb\n")
    asked = request(
        method=method, protocol=ID, data_root=root / "data", videos=None, frames=None,
        out=tmp_path / "run", save_predictions=True,
    )  # fmt: skip
    summary = json.loads(run(asked).read_text())
    maps = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "run/predictions").rglob("*.png"))]
    if method == "random":
        assert any((m == BACKGROUND).any() for m in maps)
    annotated = [m for m in maps if m.size]
    if len(annotated) == len(masks) and not any((m == 255).any() for m in maps):
        same(summary["scores"]["unseen"], script(masks, maps))


def test_a_label_map_value_past_the_extra_name_is_refused(tree, tmp_path):
    root, _, maps = tree
    bad = tmp_path / "maps"
    for path in (root / "maps").rglob("*.png"):
        target = bad / path.relative_to(root / "maps")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path))).save(target)
    first = sorted(bad.rglob("*.png"))[0]
    wrong = maps[0].copy()
    wrong[0, 0] = 45
    Image.fromarray(wrong).save(first)
    with pytest.raises(UserError, match="the label 45, outside the vocabulary") as caught:
        score(bad, ID, data_root=root / "data", jobs=1, out=tmp_path / "run")
    assert "0 to 44" in str(caught.value)
    with pytest.raises(UserError, match="the label 44, outside the vocabulary"):
        score(root / "maps", "vspw-80-44", data_root=root / "data", jobs=1, out=tmp_path / "run")


def test_the_class_table_differs_from_vspw_in_what_it_says():
    ours, plain = load_protocol(ID), load_protocol("vspw-80-44")
    rows = {row.raw_ids[0]: row for row in plain.classes}
    kept = {row.raw_ids[0]: row for row in ours.classes}
    assert set(rows) - set(kept) == {80} and kept[124].raw_ids == (124, 252, 253, 254)
    for raw in set(kept) - {124}:
        assert kept[raw] == rows[raw]
    assert len(ours.groups["seen"]) == 79 and ours.truth_table[80] == ours.truth_table[0] == 255
    assert ours.vocabulary.names == (*plain.vocabulary.names, "background")
    assert not ours.board  # on no leaderboard
