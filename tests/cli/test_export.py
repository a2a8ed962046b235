"""`ovbench export`: tables that add up to the summary, and label maps that score the same again."""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_runs import counts, request
from make_trees import SIZE, make_vspw
from stored_maps import random_maps, write_npy, write_png

from ovbench.cli.main import _run
from ovbench.engine.evaluate import run as run_method
from ovbench.engine.evaluate import score
from ovbench.metrics.score import scores_under
from ovbench.protocol.load import load_protocol
from ovbench.report.model import Run
from ovbench.store.rundir import RunDir

WORLD = "world-27-9"
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two short videos with its label maps."""
    out = tmp_path_factory.mktemp("done") / "run"
    run_method(request(method="oracle-grid", out=out, videos=2, frames=9, save_predictions=True))
    return out


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = _run(["export", *map(str, arguments)])
        caught = capsys.readouterr()
        return code, caught.out, caught.err

    return call


def table(export: Any, folder: Path, out: Path, *arguments: object) -> Rows:
    code, printed, err = export(folder, "--out", out, *arguments)
    assert (code, printed) == (0, f"{out}\n"), err
    with open(out, newline="") as stream:
        return list(csv.DictReader(stream))


def number(text: str) -> float | None:
    return float(text) if text else None


@pytest.mark.parametrize("per", ["run", "video", "frame"])
def test_classes_add_up_to_the_summary(per: str, done: Path, export: Any, tmp_path: Path) -> None:
    rows = table(export, done, tmp_path / "c.csv", "--what", "classes", "--per", per)
    summary = json.loads((done / "summary.json").read_text())
    total: dict[int, np.ndarray] = defaultdict(lambda: np.zeros(3, np.int64))
    for row in rows:
        total[int(row["class"])] += [int(row[k]) for k in ("intersection", "truth", "prediction")]
        assert (row["protocol"], row["protocol_hash"]) == (WORLD, load_protocol(WORLD).hash)
        assert (row["convention"], row["method"]) == ("gt-present", "oracle-grid")
        assert row["run_key"] == RunDir(done).manifest()["run_key"]
        assert row["partial"].startswith("first 2 of 36 videos")
    for c in summary["per_class"]:
        hit, truth, guess = total[c["index"]]
        assert (truth, guess) == (c["truth"], c["prediction"])
        if c["iou"] is not None:
            assert c["iou"] == pytest.approx(100 * hit / (truth + guess - hit))
    present = [c for c in summary["per_class"] if c["truth"]]
    assert summary["scores"]["all"]["miou"] == pytest.approx(
        np.mean([100 * h / (t + g - h) for h, t, g in (total[c["index"]] for c in present)])
    )


def test_frames(done: Path, export: Any, tmp_path: Path) -> None:
    rows = table(export, done, tmp_path / "f.csv", "--what", "frames")
    classes = table(export, done, tmp_path / "c.csv", "--what", "classes", "--per", "frame")
    assert [(r["video"], int(r["frame"])) for r in rows] == [
        (v, t) for v in ("test-000", "test-001") for t in range(9)
    ]
    for row in rows:
        mine = [c for c in classes if (c["video"], c["frame"]) == (row["video"], row["frame"])]
        present = [c for c in mine if int(c["truth"])]
        assert int(row["classes"]) == len(present)
        assert int(row["pixels"]) == sum(int(c["truth"]) for c in present)
        assert float(row["all.miou"]) == pytest.approx(np.mean([float(c["iou"]) for c in present]))
        right = sum(int(c["intersection"]) for c in mine)
        assert float(row["all.pacc"]) == pytest.approx(100 * right / int(row["pixels"]))
    first = [r for r in rows if r["frame"] == "0"]
    assert [r["change_rate"] for r in first] == ["", ""]
    summary = json.loads((done / "summary.json").read_text())
    assert sum(int(r["pixels"]) for r in rows) == summary["counts"]["pixels"]


def test_change_rates_are_those_of_the_label_maps(done: Path, export: Any, tmp_path: Path) -> None:
    from PIL import Image

    rows = table(export, done, tmp_path / "f.csv", "--what", "frames")
    maps = [
        np.array(Image.open(p)).astype(int) for p in sorted((done / "predictions/test-001").glob("*.png"))
    ]
    mine = [r for r in rows if r["video"] == "test-001"]
    for t in range(1, 9):
        changed = maps[t] != maps[t - 1]
        assert int(mine[t]["changed_pixels"]) == changed.sum()
        assert float(mine[t]["change_rate"]) == pytest.approx(100 * changed.mean())
        if t > 1:
            assert int(mine[t]["aba_pixels"]) == (changed & (maps[t] == maps[t - 2])).sum()


def test_videos_and_conventions(done: Path, export: Any, tmp_path: Path) -> None:
    protocol = load_protocol(WORLD)
    records = Run.open(done).records
    for rule in ("gt-present", "union-present+abstain-shrinks", "per-image"):
        rows = table(export, done, tmp_path / f"{rule}.csv", "--what", "videos", "--convention", rule)
        for row, record in zip(rows, records, strict=True):
            wanted = scores_under(protocol, [record], rule)["scores"]
            assert (row["video"], row["convention"]) == (record.video_id, rule)
            for group in ("all", "seen", "unseen"):
                for metric, value in wanted[group].items():
                    found = number(row[f"{group}.{metric}"])
                    assert found == (None if value is None else pytest.approx(value)), (group, metric)
            assert int(row["frames"]) == 9
            assert "vc8.correct" in row and "change_rate" in row
        table(export, done, tmp_path / f"{rule}-f.csv", "--what", "frames", "--convention", rule)


def test_parquet_holds_the_same(done: Path, export: Any, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for what in ("frames", "videos", "classes"):
        rows = table(export, done, tmp_path / f"{what}.csv", "--what", what)
        code, _, err = export(done, "--what", what, "--out", tmp_path / f"{what}.parquet")
        assert code == 0, err
        found = parquet.read_table(tmp_path / f"{what}.parquet").to_pylist()
        assert [list(r) for r in found[:1]] == [list(r) for r in rows[:1]]
        for ours, theirs in zip(rows, found, strict=True):
            assert ours == {k: "" if v is None else str(v) for k, v in theirs.items()}


def test_rows_that_contradict_the_summary(export: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_method(request(out=out, videos=1, frames=2))
    summary = json.loads((out / "summary.json").read_text())
    next(c for c in summary["per_class"] if c["truth"])["truth"] += 1
    (out / "summary.json").write_text(json.dumps(summary))
    for what in ("frames", "videos", "classes"):
        code, printed, err = export(out, "--what", what, "--out", tmp_path / "x.csv")
        assert (code, printed) == (4, "")
        assert "the records give" in err and err.count("error: ") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_format_and_ending_must_fit(done: Path, export: Any, tmp_path: Path) -> None:
    for what, form, name, words in (
        ("predictions", "npz", "x.json", "--format npz and a file that ends in .json"),
        ("predictions", "csv", "x", "--format rle or npz or png"),
        ("frames", "npz", "x.npz", "--format csv or parquet"),
        ("frames", None, "x", "--format csv or parquet"),
    ):
        code, _, err = export(
            done, "--what", what, *(("--format", form) if form else ()), "--out", tmp_path / name
        )
        assert code == 2 and words in err, err
    assert not list(tmp_path.iterdir())


def test_a_run_of_score_names_what_it_scored(done: Path, export: Any, tmp_path: Path) -> None:
    out = tmp_path / "scored"
    manifest = json.loads((done / "manifest.json").read_text())
    score(
        done,
        manifest["protocol"]["id"],
        videos=len(manifest["videos"]),
        frames=manifest["frames"],
        out=out,
        jobs=1,
    )
    code, _, err = export(out, "--what", "predictions", "--out", tmp_path / "x.json")
    assert code == 2 and f"'{done.name}/predictions'" in err and "score them again with --save-predictions" in err, err


def test_nothing_is_overwritten_by_accident(done: Path, export: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("mine")
    code, _, err = export(done, "--what", "videos", "--out", tmp_path / "x.csv")
    assert code == 2 and "--force" in err
    assert (tmp_path / "x.csv").read_text() == "mine"
    assert export(done, "--what", "videos", "--out", tmp_path / "x.csv", "--force")[0] == 0
    assert "test-000" in (tmp_path / "x.csv").read_text()
    target = tmp_path / "maps"
    arguments = (done, "--what", "predictions", "--format", "png", "--out", target)
    assert export(*arguments)[0] == 0
    assert export(*arguments)[0] == 2
    assert export(*arguments, "--force")[0] == 0
    (target / "thesis.tex").write_text("mine")
    code, _, err = export(*arguments, "--force")
    assert code == 2 and "not deleted: thesis.tex" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["maps", "x.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--what", "videos", "--out", "x"), "which format?"),
        (("--what", "videos", "--out", "x", "--format", "rle"), "not written as rle"),
        (("--what", "predictions", "--out", "x.csv"), "not written as csv"),
        (("--what", "videos", "--out", "x.csv", "--per", "frame"), "--per goes with"),
        (("--what", "videos", "--out", "x.csv", "--convention", "gt-presnt"), "did you mean gt-present"),
        (("--what", "videos", "--out", "x.csv", "--protocol", "vspw-124"), "not the one given"),
        (("--what", "predictions", "--out", "x.json", "--per", "run"), "not with label maps"),
    ],
)
def test_wrong_requests(
    arguments: tuple[str, ...], message: str, done: Path, export: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, err = export(done, *arguments)
    assert (code, printed) == (2, "")
    assert message in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_missing_extras_are_named(done: Path, export: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for package, what, name in (
        ("pyarrow", "videos", "x.parquet"),
        ("pycocotools", "predictions", "x.json"),
    ):
        with monkeypatch.context() as patch:
            for module in [m for m in sys.modules if m.split(".")[0] == package]:
                patch.delitem(sys.modules, module)
            patch.setitem(sys.modules, package, None)
            code, _, err = export(done, "--what", what, "--out", tmp_path / name)
            assert (
                code == 2
                and f"'{package}'" in err
                and f"{sys.executable} -m pip install" in err
                and "[export]" in err
            )
    assert not list(tmp_path.iterdir())


def test_unfinished_runs_and_runs_without_label_maps(export: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_method(request(out=out, videos=1, frames=2))
    code, _, err = export(out, "--what", "predictions", "--out", tmp_path / "x.npz")
    assert code == 2 and "saved no predictions" in err
    (out / "summary.json").unlink()
    code, _, err = export(out, "--what", "videos", "--out", tmp_path / "x.csv")
    assert code == 3 and "not finished" in err
    assert export(tmp_path, "--what", "videos", "--out", tmp_path / "x.csv")[0] == 2


OUTPUTS = {
    "rle": "x.json",
    "rle per video": "rle",
    "npz": "x.npz",
    "npz per video": "npz",
    "png": "png",
}


@pytest.mark.parametrize("form", OUTPUTS)
def test_label_maps_score_the_same_again(
    form: str, done: Path, export: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if form.startswith("rle"):
        pytest.importorskip("pycocotools")
    out = tmp_path / OUTPUTS[form]
    arguments = (done, "--what", "predictions", "--out", out, "--format", form.split()[0])
    code, printed, err = export(*arguments)
    assert (code, printed) == (0, f"{out}\n"), err
    score = ("score", "--predictions", out, "--protocol", WORLD, "--videos", 2, "--frames", 9, "--jobs", 1)
    assert _run([str(a) for a in (*score, "--out", tmp_path / "again")]) == 0, capsys.readouterr().err
    assert counts(tmp_path / "again") == counts(done)
    hashes = [[r.predictions_sha256 for r in RunDir(d).records()] for d in (done, tmp_path / "again")]
    assert hashes[0] == hashes[1]
    if out.is_file():
        before = out.read_bytes()
        assert export(*arguments, "--force")[0] == 0
        assert out.read_bytes() == before


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_reads_our_run_lengths(done: Path, export: Any, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    assert export(done, "--what", "predictions", "--out", tmp_path / "x.json")[0] == 0
    data = coco.COCO(str(tmp_path / "x.json"))
    from PIL import Image

    image = data.imgs[5]
    label_map = np.array(Image.open(done / "predictions" / image["file_name"]))
    mine = data.imgToAnns[5]
    assert sorted(a["category_id"] for a in mine) == [v for v in np.unique(label_map).tolist() if v != 255]
    for entry in mine:
        mask = data.annToMask(entry).astype(bool)
        assert np.array_equal(mask, label_map == entry["category_id"])
        assert entry["area"] == mask.sum()
    names = load_protocol(WORLD).vocabulary.names
    assert [data.cats[i]["name"] for i in range(36)] == list(names)


def test_our_run_lengths_know_their_vocabulary(
    done: Path, export: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    assert export(done, "--what", "predictions", "--out", tmp_path / "x.json")[0] == 0
    root = make_vspw(tmp_path / "data", {"a": 4}, images=False)
    score = ("score", "--predictions", tmp_path / "x.json", "--protocol", "vspw-80-44", "--data-root", root)
    assert _run([str(a) for a in (*score, "--out", tmp_path / "out")]) == 2
    assert f"another vocabulary, that of '{WORLD}'" in capsys.readouterr().err


def test_a_run_that_lost_label_maps(export: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_method(request(out=out, videos=2, frames=3, save_predictions=True))
    (out / "predictions/test-001/00002.png").unlink()
    code, _, err = export(out, "--what", "predictions", "--format", "npz", "--out", tmp_path / "x")
    assert code == 3 and "first 'test-001'" in err
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_label_maps_from_elsewhere_change_their_form(export: Any, tmp_path: Path) -> None:
    frames = {"a": ["00000001", "00000002"], "b": ["00000001"]}
    root = make_vspw(tmp_path / "data", {v: len(f) for v, f in frames.items()}, images=False)
    maps = random_maps(frames, 124, SIZE)
    named = write_png(maps, tmp_path / "png")
    code, _, err = export(named, "--what", "predictions", "--out", tmp_path / "x.npz")
    assert code == 2 and "--protocol P" in err
    protocol = ("--protocol", "vspw-80-44-gzs")
    assert export(named, "--what", "predictions", "--out", tmp_path / "x.npz", *protocol)[0] == 0
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"a/00000001", "a/00000002", "b/00000001"}
        assert all(np.array_equal(arrays[f"{v}/{f}"], m) for v in maps for f, m in maps[v].items())
    nameless = write_npy(maps, tmp_path / "npy")
    arguments = (nameless, "--what", "predictions", "--out", tmp_path / "y.npz", *protocol)
    code, _, err = export(*arguments)
    assert code == 2 and "--data-root" in err
    code, _, err = export(*arguments, "--data-root", root)
    assert code == 0, err
    assert (tmp_path / "y.npz").read_bytes() == (tmp_path / "x.npz").read_bytes()
    maps["b"]["00000001"][0, 0] = 200
    code, _, err = export(write_png(maps, tmp_path / "bad"), *arguments[1:4], tmp_path / "z.npz", *protocol)
    assert code == 2 and "label 200" in err and "video 'b', frame '00000001'" in err
    assert not (tmp_path / "z.npz").exists() and not list(tmp_path.glob(".z*"))


@pytest.mark.parametrize("names", [("../v", "f"), ("v", "../f"), (".v", "f"), ("v", "a/b")])
def test_names_that_would_leave_the_folder(names: tuple[str, str], export: Any, tmp_path: Path) -> None:
    mask = {"video": names[0], "frame": names[1], "category_id": 0}
    mask["segmentation"] = {"size": [2, 2], "counts": [0, 4]}
    (tmp_path / "x.json").write_text(json.dumps([mask]))
    (tmp_path / "inner").mkdir()
    for form in ("png", "npz", "rle"):
        out = tmp_path / "inner" / "out"
        arguments = ("--what", "predictions", "--format", form, "--out", out, "--protocol", "vspw-124")
        code, _, err = export(tmp_path / "x.json", *arguments)
        assert code == 2 and "cannot be the name" in err
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["inner", "x.json"]
