"""Run folders: what is written, what is believed, and what is deleted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.store.manifest import public_command, public_path
from ovbench.store.masks import read_mask
from ovbench.store.predictions import PredictionWriter, frames_on_disk
from ovbench.store.record import Record
from ovbench.store.rundir import RunDir


def record(video_id: str = "v1") -> Record:
    return Record(video_id, "key", {"frames": 3}, "f", "p", {"total_s": 0.5})


def test_records_go_and_come_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_record(record("b"))
    run.write_record(record("a"))
    assert run.finished() == {"a", "b"}
    assert run.record("a") == record("a")
    assert run.record("c") is None
    assert [r.video_id for r in run.records(["b", "c", "a"])] == ["b", "a"]
    run.write_manifest({"videos": ["b", "a"]})
    assert [r.video_id for r in run.records()] == ["b", "a"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", ""])
def test_a_video_id_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        RunDir(tmp_path).write_record(record(name))
    with pytest.raises(UserError):
        PredictionWriter(tmp_path, name)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"video": "v1", "run_key": "k", "counts": 3}'])
def test_damaged_records_are_named(tmp_path: Path, text: str) -> None:
    run = RunDir(tmp_path)
    run.write_record(record())
    path = run.record_path("v1")
    path.write_text(text)
    with pytest.raises(IntegrityError) as caught:
        run.record("v1")
    assert str(path) in str(caught.value)
    assert "delete this file" in str(caught.value)


def test_a_renamed_record_is_not_believed(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_record(record("v1"))
    run.record_path("v1").rename(run.record_path("v2"))
    with pytest.raises(IntegrityError, match="record of video 'v1'"):
        run.record("v2")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(UserError, match="not the folder of a run"):
        run.manifest()
    run.write_record(record())
    with pytest.raises(IncompleteError, match="not finished: 1 videos"):
        run.summary()
    assert run.timing() is None


def test_clear_deletes_only_what_a_run_wrote(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_manifest({"videos": ["v1", "v2"]})
    run.write_record(record("v1"))
    run.write_summary({})
    for video_id in ("v1", "v2", "mine"):  # v2 was killed before its record
        with PredictionWriter(run.predictions_path, video_id) as writer:
            writer.write("0", np.zeros((2, 2), np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    run.clear()
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["notes.txt", "predictions/mine/0.png"]


def test_sweep_removes_half_written_things(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_record(record())
    (run.records_path / ".v2.json.1-ab.tmp").write_text("{")
    (run.predictions_path / ".v2.1-ab.tmp").mkdir(parents=True)
    (run.predictions_path / ".v2.1-ab.tmp" / "0.png").write_text("")
    assert run.finished() == {"v1"}
    run.sweep()
    assert not list(tmp_path.rglob(".*"))
    assert run.finished() == {"v1"}


def test_label_maps_appear_all_at_once(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, "v") as writer:
        writer.write("0", np.full((2, 3), 4, np.uint8))
        assert frames_on_disk(tmp_path / "v") == {}
    assert list(frames_on_disk(tmp_path / "v")) == ["0"]
    with suppress(KeyboardInterrupt), PredictionWriter(tmp_path, "v") as writer:
        writer.write("1", np.full((2, 3), 5, np.uint8))
        raise KeyboardInterrupt
    assert list(frames_on_disk(tmp_path / "v")) == ["0"]
    with PredictionWriter(tmp_path, "v") as writer:
        writer.write("0", np.full((2, 3), 300, np.uint16))
    assert (read_mask(tmp_path / "v/0.png") == 300).all()
    assert [p.name for p in tmp_path.iterdir()] == ["v"]


def test_paths_are_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert public_path(tmp_path / "runs" / "a") == "runs/a"
    assert public_path("/home/someone/data/VSPW") == ".../VSPW"
    assert public_path("../shared/camvid") == "../shared/camvid"
    argv = [
        "/home/someone/bin/ovbench",
        "run",
        "--data-root",
        "/home/someone/VSPW",
        "--set",
        "clip=/home/x/w.pt",
    ]
    assert public_command(argv) == ["ovbench", "run", "--data-root", ".../VSPW", "--set", "clip=.../w.pt"]
