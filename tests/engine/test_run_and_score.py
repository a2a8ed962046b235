"""Runs, resumed runs and scored predictions: same counts, same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_runs import counts, ovbench, request
from make_trees import make_cityscapes, make_vspw

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.engine import check
from ovbench.engine.evaluate import run, score
from ovbench.report.table import render
from ovbench.store.masks import read_mask, write_mask
from ovbench.store.rundir import RunDir


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its label maps."""
    out = tmp_path_factory.mktemp("saved") / "run"
    run(request(out=out, save_predictions=True))
    return out


def test_any_number_of_jobs_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    run(request(out=tmp_path / "two", jobs=2))
    assert (tmp_path / "two/summary.json").read_bytes() == (saved / "summary.json").read_bytes()
    assert counts(tmp_path / "two") == counts(saved)


def test_score_gives_the_counts_of_the_run(saved: Path, tmp_path: Path) -> None:
    for folder, name in ((saved, "a"), (saved / "predictions", "b")):
        score(folder, "world-27-9", videos=3, frames=10, jobs=1, out=tmp_path / name)
        assert counts(tmp_path / name) == counts(saved)
    ours = json.loads((tmp_path / "b/summary.json").read_text())
    theirs = json.loads((saved / "summary.json").read_text())
    assert ours.pop("method")["source"] == "random"
    theirs.pop("method")
    assert ours == theirs
    hashes = [[r.predictions_sha256 for r in RunDir(d).records()] for d in (saved, tmp_path / "a")]
    assert hashes[0] == hashes[1]


def test_saved_files_are_eight_bit_indices(saved: Path) -> None:
    label_map = read_mask(saved / "predictions/test-000/00000.png")
    assert label_map.dtype == np.uint8
    assert label_map.max() < 36


def test_scoring_never_imports_torch(saved: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from ovbench.cli.main import _run; "
        f"assert _run(['score', '--predictions', {str(saved)!r}, '--protocol', 'world-27-9', '--videos', '3',"
        f" '--frames', '10', '--jobs', '1', '--out', {str(tmp_path / 's')!r}]) == 0; "
        "assert not {'torch', 'torchvision', 'timm', 'open_clip'} & set(sys.modules), 'torch was imported'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_partial_run_grows_into_a_larger_one(tmp_path: Path, saved: Path) -> None:
    out = tmp_path / "run"
    run(request(out=out, videos=1))
    first = (out / "records/test-000.json").stat()
    assert json.loads((out / "summary.json").read_text())["partial"].startswith("first 1 of 36")
    run(request(out=out))
    again = (out / "records/test-000.json").stat()
    assert (first.st_mtime_ns, first.st_ino) == (again.st_mtime_ns, again.st_ino)
    assert (out / "summary.json").read_bytes() == (saved / "summary.json").read_bytes()
    assert len(RunDir(out).manifest()["sessions"]) == 2


def test_default_folder_tells_limited_runs_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {run(request(videos=n, method="constant")).parent for n in (1, 2)}
    assert len(folders) == 2
    assert all(f.parent == Path("runs/world-27-9/constant") for f in folders)


def test_another_run_is_not_mixed_in(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(request(out=out, videos=1))
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="another run; what differs: options"):
        run(request(out=out, videos=1, settings={"seed": "1"}))
    with pytest.raises(UserError, match="what differs: frames"):
        run(request(out=out, videos=1, frames=9))
    before = RunDir(out).manifest()["run_key"]
    run(request(out=out, videos=1, settings={"seed": "1"}, fresh=True))
    assert RunDir(out).manifest()["run_key"] != before
    assert (out / "notes.txt").read_text() == "mine"


def test_fresh_leaves_strangers_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"holds other files: thesis\.tex"):
        run(request(out=tmp_path, videos=1, fresh=True))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_records_are_checked_before_they_are_believed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(request(out=out, videos=2))
    path = out / "records/test-001.json"
    good = path.read_text()
    for text, message in (
        (good.replace('"run_key": "', '"run_key": "0'), "another run"),
        (good[:200], "damaged"),
        (good.replace('"test-001"', '"test-000"'), "damaged"),
    ):
        path.write_text(text)
        with pytest.raises(IntegrityError, match=message):
            run(request(out=out, videos=2))
    path.unlink()
    run(request(out=out, videos=2))
    assert json.loads(path.read_text())["counts"] == json.loads(good)["counts"]


def test_a_video_that_changed_on_disk_is_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_vspw(tmp_path / "data", videos={"a": 10, "b": 10})
    mask = sorted((tmp_path / "data/data/b/mask").iterdir())[3]
    kept = mask.read_bytes()
    mask.unlink()
    wanted = request(
        protocol="vspw-80-44-gzs", data_root=tmp_path / "data", videos=None, frames=None, out=tmp_path / "run"
    )
    before = json.loads(run(wanted).read_text())
    mask.write_bytes(kept)
    after = json.loads(run(wanted).read_text())
    assert (before["counts"]["annotated_frames"], after["counts"]["annotated_frames"]) == (19, 20)
    assert "video 'b' has changed" in capsys.readouterr().err
    fresh = run(replace(wanted, out=tmp_path / "anew"))
    assert json.loads(fresh.read_text()) == after


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_another_data_root_never_replaces_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        make_vspw(tmp_path / name, videos={"a": 4, "b": 4})
    asked = request(protocol="vspw-80-44-gzs", data_root=Path("one"), videos=None, frames=None)
    folder = run(asked).parent
    before = _bytes(folder)
    other = replace(asked, data_root=Path("two"))
    with pytest.raises(UserError, match="another data root.*left as it is") as caught:
        run(other)
    assert "--out" in str(caught.value) and "--fresh" in str(caught.value)
    assert _bytes(folder) == before
    assert run(replace(other, out=Path("elsewhere"))).is_file()
    (tmp_path / "one").rename("moved")  # the same files: the run is taken up where it is
    assert run(replace(asked, data_root=Path("moved"))).parent == folder
    assert all(_bytes(folder)[name] == data for name, data in before.items() if name != "manifest.json")
    for mask in (tmp_path / "moved").rglob("*.png"):
        os.utime(mask, (1, 1))
    with pytest.raises(UserError, match="other files"):
        run(replace(asked, data_root=Path("moved")))
    assert (folder / "summary.json").read_bytes() == before["summary.json"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_redo_keeps_the_old_summary(
    jobs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_vspw(tmp_path / "data", videos={"a": 4, "b": 4, "c": 4})
    out = tmp_path / "run"
    asked = request(protocol="vspw-80-44-gzs", data_root=tmp_path / "data", videos=None, frames=None, out=out)
    before = run(asked).read_bytes()
    mask = sorted((tmp_path / "data/data/b/mask").iterdir())[2]
    good = mask.read_bytes()
    mask.write_bytes(good[:40])
    with pytest.raises(UserError, match="truncated"):
        run(replace(asked, jobs=jobs))
    assert (out / "summary.json").read_bytes() == before
    assert "2 of 3 videos are finished and kept" in capsys.readouterr().err
    mask.write_bytes(good)
    assert run(asked).read_bytes() == before


def test_label_maps_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    make_vspw(tmp_path / "data", videos={"a": 4})
    data = tmp_path / "data"
    run(
        request(
            protocol="vspw-80-44",
            data_root=data,
            videos=None,
            frames=None,
            out=tmp_path / "run",
            save_predictions=True,
        )
    )
    for folder in (tmp_path / "run", tmp_path / "run/predictions"):
        with pytest.raises(UserError, match="another vocabulary") as caught:
            score(folder, "vspw-80-44-gzs", data_root=data, out=tmp_path / "scored")
        assert "vspw-80-44" in str(caught.value)
    assert score(tmp_path / "run", "vspw-80-44", data_root=data, out=tmp_path / "scored").is_file()


def test_a_lost_manifest_is_made_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(request(out=out, videos=2))
    before = {p.name: p.stat().st_mtime_ns for p in (out / "records").iterdir()}
    (out / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="delete this file"):
        run(request(out=out, videos=2))
    (out / "manifest.json").unlink()
    with pytest.raises(UserError, match="2 records of another run, and no manifest"):
        run(request(out=out, videos=2, settings={"seed": "1"}))
    run(request(out=out))
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in (out / "records").iterdir()}.items()
    assert RunDir(out).manifest()["videos"] == ["test-000", "test-001", "test-002"]
    (out / "manifest.json").unlink()
    run(request(out=out))
    assert "random" in render([out], partial=True)


def test_save_predictions_can_be_asked_for_later(tmp_path: Path, saved: Path) -> None:
    out = tmp_path / "run"
    run(request(out=out))
    run(request(out=out, save_predictions=True))
    assert len(list((out / "predictions").glob("*/*.png"))) == 30
    assert (out / "summary.json").read_bytes() == (saved / "summary.json").read_bytes()


def _copy(saved: Path, target: Path) -> Path:
    for path in sorted((saved / "predictions").glob("*/*.png")):
        write_mask(target / path.parent.name / path.name, read_mask(path))
    return target


def test_missing_and_extra_predictions(saved: Path, tmp_path: Path) -> None:
    folder = _copy(saved, tmp_path / "p")
    out = tmp_path / "out"
    spare = folder / "test-001/00003.png"
    data = spare.read_bytes()
    spare.unlink()
    with pytest.raises(IncompleteError, match=r"1 label maps are missing.*test-001/00003\.png"):
        score(folder, "world-27-9", videos=3, frames=10, jobs=1, out=out)
    assert not out.exists()
    with pytest.raises(IncompleteError, match=r"in 3[46] videos"):
        score(folder, "world-27-9", jobs=1, out=out)
    spare.write_bytes(data)
    write_mask(folder / "test-001/99999.png", np.zeros((96, 160), np.uint8))
    with pytest.raises(UserError, match="no frames of video 'test-001': 99999"):
        score(folder, "world-27-9", videos=3, frames=10, jobs=1, out=out)
    (folder / "test-001/99999.png").unlink()
    (folder / "elsewhere").mkdir()
    (folder / ".DS_Store").write_bytes(b"")
    with pytest.raises(UserError, match="no videos of this protocol: elsewhere"):
        score(folder, "world-27-9", videos=3, frames=10, jobs=1, out=out)


def test_a_partial_runs_limits_are_suggested(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"partial run .*: --videos 3 --frames 10"):
        score(saved, "world-27-9", jobs=1, out=tmp_path / "out")
    with pytest.raises(IncompleteError, match="say which: --videos N"):
        score(_copy(saved, tmp_path / "p"), "world-27-9", jobs=1, out=tmp_path / "out")


def test_a_truncated_prediction_has_advice_of_its_own(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _copy(saved, tmp_path / "p")
    victim = folder / "test-001/00003.png"
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(UserError, match="a prediction cannot be used: truncated") as caught:
        score(folder, "world-27-9", videos=3, frames=10, jobs=1, out=tmp_path / "out")
    assert str(victim) in str(caught.value) and "--save-predictions" in str(caught.value)
    assert "data verify" not in str(caught.value)
    assert "check of the label maps: 3 videos done" in capsys.readouterr().err


def test_changed_predictions_are_never_scored_with_old_records(saved: Path, tmp_path: Path) -> None:
    folder, out = _copy(saved, tmp_path / "p"), tmp_path / "out"
    score(folder, "world-27-9", videos=3, frames=10, jobs=1, out=out)
    write_mask(folder / "test-001/00003.png", np.zeros((96, 160), np.uint8))
    with pytest.raises(UserError, match="what differs: source"):
        score(folder, "world-27-9", videos=3, frames=10, jobs=1, out=out)


def test_the_manifest_keeps_the_users_paths_private(saved: Path, tmp_path: Path) -> None:
    done = ovbench(
        *("run", "--method", "constant", "--protocol", "world-27-9", "--videos", 1, "--frames", 2),
        *("--jobs", 1, "--out", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == str(tmp_path / "run/summary.json")
    text = (tmp_path / "run/manifest.json").read_text()
    assert str(tmp_path) not in text
    assert os.path.expanduser("~") + "/" not in text
    manifest = json.loads(text)
    assert manifest["sessions"][0]["command"][:3] == ["ovbench", "run", "--method"]
    assert manifest["partial"].startswith("first 1 of 36 videos")


def test_timing_lies_outside_the_summary(saved: Path) -> None:
    timing = json.loads((saved / "timing.json").read_text())
    assert timing["totals"]["frames"] == 30
    assert timing["frames_per_second"] > 0
    assert set(timing["videos"]) == {"test-000", "test-001", "test-002"}
    assert "_s" not in "".join(json.loads((saved / "summary.json").read_text()))


@pytest.mark.parametrize("name", ["videos", "frames", "jobs", "threads"])
def test_numbers_start_at_one(name: str) -> None:
    with pytest.raises(UserError, match=f"--{name} must be at least 1"):
        run(request(**{name: 0}))


def test_sparse_truth_needs_only_the_labelled_frames(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path / "data", {"ulm": [(0, 19)]}, oddities=True)
    out = tmp_path / "run"
    asked = request(method="oracle-grid", protocol="cityscapes-19", data_root=root, frames=None, videos=None)
    run(replace(asked, out=out, save_predictions=True))
    files = sorted((out / "predictions").glob("*/*.png"))
    assert len(files) == 30
    for path in files:
        if "000019" not in path.stem.split("_")[-1]:
            path.unlink()
    for number, images in enumerate((True, False)):
        if not images:
            shutil.rmtree(root / "leftImg8bit_sequence")
        done = score(out / "predictions", "cityscapes-19", data_root=root, jobs=1, out=tmp_path / str(number))
        ours, theirs = json.loads(done.read_text()), json.loads((out / "summary.json").read_text())
        assert ours["scores"] == theirs["scores"]
    copied, stamps = tmp_path / "copied", []
    for _ in range(2):  # the second time all is there
        done = score(
            out / "predictions", "cityscapes-19", data_root=root, jobs=1, out=copied, save_predictions=True
        )
        assert json.loads(done.read_text())["scores"] == theirs["scores"]
        (kept,) = (copied / "predictions").rglob("*.png")
        stamps.append(kept.stat().st_mtime_ns)
    assert stamps[0] == stamps[1]


def test_scored_copies_are_not_scored_into_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(request(out=Path("run"), save_predictions=True))
    asked = request(method="predictions", settings={"folder": "run"}, save_predictions=True)
    copied = run(replace(asked, out=None)).parent
    with pytest.raises(UserError, match="cannot be written here"):
        run(replace(asked, settings={"folder": str(copied)}, out=None, fresh=True))
    assert list((copied / "predictions").rglob("*.png"))


def test_doctor_lists_the_small_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    version = check.package_version
    monkeypatch.setattr(check, "package_version", lambda name: None if name == "pyarrow" else version(name))
    found = {c.what.split("'")[1]: c for c in check._extras()}
    assert set(found) == {"flow", "export"}
    assert "no pyarrow" in found["export"].what and "pycocotools" not in found["export"].what.split("(")[0]
    assert found["export"].hint.startswith(sys.executable) and "[export]" in found["export"].hint
