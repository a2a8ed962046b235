"""`--flow` in runs and scores: same integers by every way, resumable, and plain words where it cannot work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from engine_runs import counts, ovbench, request
from make_trees import make_camvid, make_cityscapes

from ovbench.core.errors import IncompleteError, UserError
from ovbench.datasets.open import open_dataset
from ovbench.engine.evaluate import run, score
from ovbench.metrics.flow import FlowCounter
from ovbench.metrics.videocounts import VideoCounts
from ovbench.protocol.load import load_protocol

pytest.importorskip("cv2")
BOTH = ("dis", "dis-fb")


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def flows(out: Path) -> dict:
    return {video: value["flow"] for video, value in counts(out).items()}


@pytest.fixture(scope="module")
def world_run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("flow") / "run"
    run(request(flow=BOTH, out=out, save_predictions=True))
    return out


def test_a_run_counts_what_the_pieces_count(world_run):
    from ovbench.flow.opencv import OpenCvFlow
    from ovbench.store.masks import read_mask

    dataset = open_dataset(load_protocol("world-27-9"), None)
    video = dataset.open("test-001")
    labels = [read_mask(world_run / "predictions" / video.id / f"{n}.png") for n in video.frame_names[:10]]
    backend, bare, checked = OpenCvFlow("dis"), FlowCounter(), FlowCounter()
    for t in range(9):
        forward = backend.flow(video.image(t), video.image(t + 1))
        back = backend.flow(video.image(t + 1), video.image(t))
        bare.add(t, labels[t], labels[t + 1], forward)
        checked.add(t, labels[t], labels[t + 1], forward, back)
    found = VideoCounts.from_json(counts(world_run)[video.id]).flow
    assert found["dis"] == bare.finish() and found["dis-fb"] == checked.finish()


def test_jobs_resume_and_score_give_the_same_integers(world_run, tmp_path):
    run(request(flow=("dis-fb", "dis"), out=tmp_path / "jobs", jobs=2))
    assert counts(tmp_path / "jobs") == counts(world_run)
    victim = tmp_path / "jobs" / "records" / "test-001.json"
    before = json.loads(victim.read_text())["counts"]
    victim.unlink()
    run(request(flow=BOTH, out=tmp_path / "jobs"))
    assert json.loads(victim.read_text())["counts"] == before
    score(world_run, "world-27-9", videos=3, frames=10, jobs=1, out=tmp_path / "score", flow=BOTH)
    assert counts(tmp_path / "score") == counts(world_run)
    assert summary(tmp_path / "score")["temporal"] == summary(world_run)["temporal"]


def test_flow_is_part_of_the_run_and_changes_nothing_else(world_run, tmp_path):
    run(request(out=tmp_path / "plain"))
    plain, with_flow = counts(tmp_path / "plain"), counts(world_run)
    assert all(value["flow"] == {} for value in plain.values())
    assert {v: {**c, "flow": {}} for v, c in with_flow.items()} == plain
    with pytest.raises(UserError, match="flow"):
        run(request(out=tmp_path / "plain", flow=("dis",)))
    key = json.loads((world_run / "manifest.json").read_text())["key"]["flow"]
    assert [part["name"] for part in key] == ["dis", "dis-fb"] and all(part["opencv"] for part in key)
    assert summary(world_run)["temporal"]["flow"]["dis"]["pairs"] == 27


def test_a_constant_scores_100(tmp_path):
    run(request(method="constant", flow=("dis",), out=tmp_path / "constant"))
    scores = summary(tmp_path / "constant")["temporal"]["flow"]["dis"]
    assert (scores["tc"], scores["mtc"], scores["warped_change"]) == (100, 100, 0)


def test_sparse_truth_is_no_hindrance(tmp_path, capsys):
    """Cityscapes: one of thirty frames has truth, and yet every pair is compared."""
    root = make_cityscapes(tmp_path / "data", {"ulm": [(0, 19)]})
    asked = request(method="random", protocol="cityscapes-19", data_root=root, frames=None, videos=None)
    out = tmp_path / "run"
    run(request(**{**vars_of(asked), "out": out, "flow": ("dis",), "save_predictions": True}))
    assert summary(out)["temporal"]["flow"]["dis"]["pairs"] == 29
    run(request(**{**vars_of(asked), "out": tmp_path / "unsaved", "flow": ("dis",)}))
    assert flows(tmp_path / "unsaved") == flows(out)
    files = sorted((out / "predictions").glob("*/*.png"))
    for number in (3, 10, 11):  # 3: two pairs lost; 10 and 11: three
        files[number].unlink()
    capsys.readouterr()
    options = {"data_root": root, "jobs": 1, "flow": ("dis",)}
    score(out / "predictions", "cityscapes-19", out=tmp_path / "score", **options)
    assert summary(tmp_path / "score")["temporal"]["flow"]["dis"]["pairs"] == 24
    assert "24 of 29 pairs" in capsys.readouterr().err
    whole = VideoCounts.from_json(next(iter(counts(out).values()))).flow["dis"]
    part = VideoCounts.from_json(next(iter(counts(tmp_path / "score").values()))).flow["dis"]
    lost = {2, 3, 9, 10, 11}
    assert part.pairs.index.tolist() == [t for t in range(29) if t not in lost]
    kept = {t: (a.tolist(), b.tolist(), n.tolist()) for t, a, b, n in whole.pairs if t not in lost}
    assert {t: (a.tolist(), b.tolist(), n.tolist()) for t, a, b, n in part.pairs} == kept
    shutil.rmtree(root / "leftImg8bit_sequence")
    with pytest.raises(UserError, match="photographs"):
        score(out / "predictions", "cityscapes-19", out=tmp_path / "blind", **options)


def vars_of(asked) -> dict:
    return {name: getattr(asked, name) for name in ("method", "protocol", "data_root", "frames", "videos")}


@pytest.fixture
def small_camvid(tmp_path):
    """Predictions of a small CamVid without photographs."""
    from ovbench.store.masks import write_mask

    root = make_camvid(tmp_path / "data")
    dataset = open_dataset(load_protocol("camvid-8-3-gzs"), root)
    for video_id in dataset.video_ids:
        for frame in dataset.open(video_id).frame_names:
            write_mask(tmp_path / "maps" / video_id / f"{frame}.png", np.zeros((24, 40), np.uint8))
    return root, tmp_path / "maps", {v: dataset.open(v).frame_names for v in dataset.video_ids}


def test_photographs_that_are_absent_are_named_but_flow_from_files_needs_none(small_camvid, tmp_path):
    root, maps, names = small_camvid
    for place in root.glob("*"):
        if place.is_dir() and not place.name.endswith("annot"):
            shutil.rmtree(place)
    asked = {"data_root": root, "jobs": 1}
    score(maps, "camvid-8-3-gzs", out=tmp_path / "plain", **asked)
    with pytest.raises(UserError, match="photographs") as caught:
        score(maps, "camvid-8-3-gzs", out=tmp_path / "dis", flow=("dis",), **asked)
    assert "--flow files=DIR" in str(caught.value.hint)
    for video_id, frames in names.items():
        (tmp_path / "flow" / video_id).mkdir(parents=True)
        for frame in frames[:-1]:
            np.save(tmp_path / "flow" / video_id / f"{frame}.npy", np.zeros((24, 40, 2), np.float16))
    source = f"files={tmp_path / 'flow'}"
    score(maps, "camvid-8-3-gzs", out=tmp_path / "files", flow=(source,), **asked)
    assert summary(tmp_path / "files")["temporal"]["flow"]["files"]["warped_change"] == 0
    next((tmp_path / "flow").glob("*/*.npy")).unlink()
    with pytest.raises(IncompleteError, match="flow is missing"):
        score(maps, "camvid-8-3-gzs", out=tmp_path / "gap", flow=(source,), **asked)


def test_the_command_line(tmp_path):
    common = (
        "run",
        "--method",
        "constant",
        "--protocol",
        "world-27-9",
        "--videos",
        1,
        "--frames",
        3,
        "--jobs",
        1,
    )
    done = ovbench(*common, "--flow", "farneback", "--flow", "dis", "--out", tmp_path / "ok")
    assert done.returncode == 0, done.stderr
    assert sorted(summary(tmp_path / "ok")["temporal"]["flow"]) == ["dis", "farneback"]
    for wrong in ("diss", "raft-small", "files=nowhere"):
        done = ovbench(*common, "--flow", wrong, "--out", tmp_path / "bad")
        assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.startswith("error:")
        assert not (tmp_path / "bad").exists()
