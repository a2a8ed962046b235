"""Reading ahead and writing behind change no record, no file and no error, and hold a fixed number of frames."""

from __future__ import annotations

import errno
import json
import signal
import sys
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_runs import counts, ovbench, request, start
from make_trees import make_cityscapes, make_vspw

from ovbench.core.errors import IncompleteError, OvbenchError, UserError
from ovbench.core.types import Image, LabelMap, RawMask
from ovbench.datasets.base import ArrayVideo
from ovbench.engine.evaluate import execute, run
from ovbench.engine.overlap import AHEAD, BEHIND, Choice, ReadAhead, WriteBehind
from ovbench.engine.plan import Plan, make_plan
from ovbench.store import predictions as stored
from ovbench.store.predictions import PredictionWriter
from ovbench.store.rundir import RunDir

NAMES = [f"{i:05d}" for i in range(40)]


def tree(out: Path) -> dict[str, bytes]:
    """All files of a run that hold no times."""
    kept = {p.relative_to(out).as_posix(): p for p in sorted(out.rglob("*")) if p.is_file()}
    return {n: p.read_bytes() for n, p in kept.items() if p.suffix == ".png" or p.name == "summary.json"}


def hashes(out: Path) -> list[tuple[str, str, str]]:
    return [(r.video_id, r.frames_sha256, r.predictions_sha256) for r in RunDir(out).records()]


def both(tmp_path: Path, **changes: Any) -> tuple[Path, Path]:
    """The same run without and with threads."""
    outs = []
    for choice in ("off", "on"):
        outs.append(tmp_path / choice)
        run(request(out=outs[-1], overlap=choice, **changes))
    return outs[0], outs[1]


# --- records and files


@pytest.mark.parametrize("method", ["random", "random+vote", "oracle-grid", "constant"])
def test_the_world_with_and_without(tmp_path: Path, method: str) -> None:
    off, on = both(tmp_path, method=method, frames=None, videos=2, save_predictions=True)
    assert tree(on) == tree(off) and len(tree(on)) == 41
    assert counts(on) == counts(off) and hashes(on) == hashes(off)
    timings = [json.loads((out / "timing.json").read_text()) for out in (off, on)]
    assert [t["overlapped_videos"] for t in timings] == [0, 2]
    assert timings[0]["totals"]["background_s"] == 0 < timings[1]["totals"]["background_s"]


def test_files_on_disk_sparse_truth_and_two_jobs(tmp_path: Path) -> None:
    root = make_vspw(tmp_path / "vspw", {"a": 30, "b": 7})
    vspw = {
        "protocol": "vspw-124",
        "data_root": root,
        "videos": None,
        "frames": None,
        "save_predictions": True,
    }
    off, on = both(tmp_path / "1", **vspw)
    assert tree(on) == tree(off) and counts(on) == counts(off)
    run(request(out=tmp_path / "two", overlap="on", **{**vspw, "jobs": 2}))
    assert tree(tmp_path / "two") == tree(off) and hashes(tmp_path / "two") == hashes(off)
    root = make_cityscapes(tmp_path / "cs", {"ulm": [(0, 19)]})
    for saved in (False, True):
        sparse = {"protocol": "cityscapes-19", "data_root": root, "videos": None, "frames": None}
        off, on = both(tmp_path / str(saved), **sparse, save_predictions=saved, method="oracle-grid")
        assert tree(on) == tree(off) and counts(on) == counts(off)


def test_a_run_goes_on_with_the_other_choice(tmp_path: Path) -> None:
    whole = both(tmp_path, save_predictions=True)[0]
    out = tmp_path / "run"
    run(request(out=out, overlap="on", save_predictions=True, videos=1))
    run(request(out=out, overlap="off", save_predictions=True))
    assert tree(out) == tree(whole)
    timing = json.loads((out / "timing.json").read_text())
    assert timing["overlapped_videos"] == 1


def test_flow_looks_at_the_same_pictures(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    off, on = both(tmp_path, flow=("dis-fb",), videos=1)
    assert tree(on) == tree(off) and counts(on) == counts(off)


# --- when


def _plan(**changes: Any) -> Plan:
    return make_plan(request(**changes))


def test_when_it_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovbench.engine.plan.usable_cores", lambda: 4)
    assert _plan(overlap="on").overlap == "always"
    assert _plan(overlap="off").overlap == "never"
    assert _plan().overlap == "measured"
    assert _plan(threads=4).overlap == "never"
    assert replace(_plan(), device="cuda").overlap == "always"
    assert _plan().run_key == _plan(overlap="on").run_key == _plan(overlap="off").run_key
    with pytest.raises(UserError, match="--overlap 'maybe' does not exist"):
        _plan(overlap="maybe")


def test_measured_means_after_a_video_that_would_have_gained() -> None:
    choice = Choice("measured")
    for reading, on in ((0.5, False), (0.9, False), (1.1, True)):
        choice.learn(reading, 10.0)
        assert choice.on is on
    never = Choice("never")
    never.learn(9.0, 10.0)
    assert not never.on and Choice("always").on


# --- errors


class Faulty(ArrayVideo):
    """Frame `bad` cannot be read; counts what is read and in which thread."""

    def __init__(self, frames: int, bad: int = -1, bad_mask: int = -1) -> None:
        super().__init__(np.zeros((frames, 4, 6, 3), np.uint8), np.full((frames, 4, 6), 3, np.uint8), "clip")
        self.bad, self.bad_mask = bad, bad_mask
        self.read: list[int] = []
        self.threads: set[int] = set()

    def _decode_image(self, index: int) -> Image:
        self.read.append(index)
        self.threads.add(threading.get_ident())
        if index == self.bad:
            raise UserError("unreadable picture", where=self.frame_names[index])
        return super()._decode_image(index)

    def _decode_truth(self, index: int) -> RawMask:
        self.threads.add(threading.get_ident())
        if index == self.bad_mask:
            raise UserError("unreadable mask", where=self.frame_names[index])
        return super()._decode_truth(index)


def test_a_frame_that_cannot_be_read_fails_where_it_is_asked_for() -> None:
    with ReadAhead(Faulty(40, bad=5, bad_mask=7)) as video:
        for index in range(5):
            video.image(index)
            video.truth(index)
        for _ in range(2):  # and again when it is asked for again
            with pytest.raises(UserError, match="unreadable picture") as caught:
                video.image(5)
            assert caught.value.where == "00005"
        for index in (6, 8):
            video.image(index)
            video.truth(index)
        with pytest.raises(UserError, match="unreadable mask"):
            video.truth(7)


def test_a_frame_that_nobody_asks_for_may_be_broken() -> None:
    inner = Faulty(40, bad=5)
    with ReadAhead(inner) as video:
        for index in [i for i in range(40) if i != 5]:
            video.image(index)
    assert 5 in inner.read


@pytest.mark.parametrize("kind", ["origin", "mask"])
def test_a_damaged_file_ends_both_runs_alike(tmp_path: Path, kind: str) -> None:
    root = make_vspw(tmp_path / "vspw", {"a": 3, "b": 12})
    path = sorted((root / "data" / "b" / kind).iterdir())[6]
    path.write_bytes(path.read_bytes()[:60])
    said = []
    for choice in ("off", "on"):
        out = tmp_path / choice
        with pytest.raises(UserError) as caught:
            vspw = request(protocol="vspw-124", data_root=root, videos=None, frames=None)
            run(replace(vspw, out=out, overlap=choice, save_predictions=True))
        said.append(str(caught.value))
        assert RunDir(out).finished() == {"a"}
        assert [p.name for p in (out / "predictions").iterdir()] == ["a"]
    assert said[0] == said[1] and path.name in said[0]


@pytest.mark.parametrize("last", [True, False])
def test_a_full_disk_ends_both_runs_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    """Also where it is met only when the last label maps are waited for."""
    real, room = stored.encode_mask, 19 if last else 12
    said = []
    for choice in ("off", "on"):
        written: list[int] = []

        def encode(label_map: LabelMap, written: list[int] = written) -> bytes:
            written.append(1)
            if len(written) > room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(label_map)

        out = tmp_path / choice
        with monkeypatch.context() as patch:
            patch.setattr(stored, "encode_mask", encode)
            with pytest.raises(IncompleteError, match="1 of 3 videos") as caught:
                run(request(out=out, save_predictions=True, overlap=choice))
        said.append(str(caught.value).replace(str(out), ""))
        assert len(written) == room + 1, "nothing is written after a frame that could not be"
        assert [p.name for p in (out / "predictions").iterdir()] == ["test-000"]
        run(request(out=out, save_predictions=True, overlap=choice))
        assert len(tree(out)) == 31
    assert said[0] == said[1]


class Slow:
    """A writer that takes its time, and fails at one frame."""

    def __init__(self, bad: str = "", seconds: float = 0.002) -> None:
        self.bad, self.seconds, self.done = bad, seconds, 0

    def write(self, frame_name: str, label_map: LabelMap) -> None:
        time.sleep(self.seconds)
        if frame_name == self.bad:
            raise OSError(errno.EIO, "bad block", frame_name)
        self.done += 1


def test_what_failed_first_is_what_is_raised() -> None:
    """Frame 3 could not be written, then the method failed at frame 6: without threads it is never asked."""
    with pytest.raises(OSError, match="bad block"), WriteBehind(Slow("00003")) as writer:
        for name in NAMES[:6]:
            writer.write(name, np.zeros((2, 2), np.uint8))
        raise UserError("the method failed at frame 6")
    slow = Slow()
    with pytest.raises(UserError, match="failed at frame 6"), WriteBehind(slow) as writer:
        for name in NAMES[:6]:
            writer.write(name, np.zeros((2, 2), np.uint8))
        raise UserError("the method failed at frame 6")
    assert slow.done == 6


def test_label_maps_are_written_as_they_were_given(tmp_path: Path) -> None:
    from ovbench.store.masks import read_mask

    canvas = np.zeros((4, 6), np.uint8)  # a method may draw the next frame into the same array
    with PredictionWriter(tmp_path, "v") as files, WriteBehind(files) as writer:
        for value, name in enumerate(NAMES):
            canvas[:] = value
            writer.write(name, canvas)
    assert [int(read_mask(tmp_path / "v" / f"{n}.png")[0, 0]) for n in NAMES] == list(range(40))


# --- interruption


def test_an_interrupt_drops_what_waits_and_leaves_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    slow = Slow(seconds=0.05)
    with pytest.raises(KeyboardInterrupt), WriteBehind(slow) as writer:
        for name in NAMES[:BEHIND]:
            writer.write(name, np.zeros((2, 2), np.uint8))
        raise KeyboardInterrupt
    assert slow.done < BEHIND and threading.active_count() == before
    with (
        pytest.raises(KeyboardInterrupt),
        PredictionWriter(tmp_path, "v") as files,
        WriteBehind(files) as behind,
    ):
        behind.write("00000", np.zeros((2, 2), np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_run_again(tmp_path: Path, sent: signal.Signals) -> None:
    arguments = ("run", "--method", "random+vote", "--protocol", "world-27-9", "--videos", 6, "--jobs", 1)
    asked = (*arguments, "--save-predictions", "--overlap")
    assert ovbench(*asked, "off", "--out", tmp_path / "whole").returncode == 0
    out = tmp_path / "run"
    process = start(*asked, "on", "--out", out)
    end = time.monotonic() + 60
    while len(RunDir(out).finished()) < 2:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.002)
    process.send_signal(sent)
    assert process.wait(timeout=30) == (130 if sent == signal.SIGINT else -signal.SIGKILL)
    finished = RunDir(out).finished()
    for video in finished:  # a record means that all label maps of its video are there
        assert len(list((out / "predictions" / video).glob("*.png"))) == 20
    assert not (out / "summary.json").exists()
    assert ovbench(*asked, "on", "--out", out).returncode == 0
    assert tree(out) == tree(tmp_path / "whole") and counts(out) == counts(tmp_path / "whole")
    assert not [p for p in (out / "predictions").iterdir() if p.name.startswith(".")]


def test_the_record_comes_after_the_last_label_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing is slowed down so much that the method is far ahead of it when the video ends."""
    real_write, real_record, seen = PredictionWriter.write, RunDir.write_record, []

    def slow(self: PredictionWriter, name: str, label_map: LabelMap) -> None:
        time.sleep(0.01)
        real_write(self, name, label_map)

    def look(self: RunDir, record: Any) -> None:
        seen.append(len(list((self.predictions_path / record.video_id).glob("*.png"))))
        real_record(self, record)

    monkeypatch.setattr(PredictionWriter, "write", slow)
    monkeypatch.setattr(RunDir, "write_record", look)
    run(request(out=tmp_path / "run", save_predictions=True, overlap="on"))
    assert seen == [10, 10, 10]
    timing = json.loads((tmp_path / "run/timing.json").read_text())
    assert timing["totals"]["background_s"] >= 0.3
    first = timing["videos"]["test-000"]
    waited = first["decode_s"] + first["truth_s"] + first["write_s"]
    assert 0 < waited < first["total_s"]


def test_a_bug_in_a_method_is_not_hidden(tmp_path: Path) -> None:
    asked = request(method="constant", videos=5, out=tmp_path / "run", overlap="on", save_predictions=True)
    plan = make_plan(asked)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "crash"))
    try:
        card = replace(plan.selection.card, segmenter="deadly_method:build_raising")
        with pytest.raises(RuntimeError, match="this method has a bug"):
            execute(replace(plan, selection=replace(plan.selection, card=card)))
    finally:
        sys.path.pop(0)
    assert RunDir(tmp_path / "run").finished() == {"test-000", "test-001"}


# --- bounds


class Watched(ArrayVideo):
    """Knows how many of its decoded frames are alive, and which was decoded last."""

    def __init__(self, frames: int) -> None:
        super().__init__(np.zeros((frames, 1, 1, 3), np.uint8), np.zeros((frames, 1, 1), np.uint8))
        self.alive = self.most = self.newest = 0

    def _decode_image(self, index: int) -> Image:
        image = np.full((8, 8, 3), index % 256, np.uint8)
        weakref.finalize(image, self._dropped)
        self.newest = index
        self.alive += 1
        self.most = max(self.most, self.alive)
        return image

    def _dropped(self) -> None:
        self.alive -= 1


@pytest.mark.parametrize("length", [100, 1000])
def test_frames_held_do_not_grow_with_the_video(length: int) -> None:
    inner = Watched(length)
    with ReadAhead(inner) as video:
        for index in range(length):
            assert video.image(index)[0, 0, 0] == index % 256
            video.truth(index)
            if index % 50 == 0:
                time.sleep(0.01)  # the thread could run far ahead now
                assert inner.newest <= index + AHEAD
        assert not video._pictures._pending and not video._masks._pending
    assert inner.most <= 24 + AHEAD + 1


def test_out_of_order_and_skipping_readers_get_the_right_frames() -> None:
    order = [39, 0, 0, 0, 1, 2, 0, 3, 39, 12, 30, 11, 4, 5, 6, *range(7, 40, 3), 8]
    inner = ArrayVideo(np.arange(40, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8))
    with ReadAhead(inner) as video:
        assert [int(video.image(i)[0, 0, 0]) for i in order] == order
        assert len(video._pictures._pending) <= AHEAD
    with pytest.raises(IndexError):
        video.image(40)


def test_who_asks_for_no_pictures_pays_for_none() -> None:
    inner = Faulty(40)
    with ReadAhead(inner) as video:
        for index in range(40):
            video.truth(index)
    assert inner.read == [] and inner.threads and threading.get_ident() not in inner.threads


def test_frames_nobody_wants_are_not_read_ahead() -> None:
    class Sparse(Faulty):
        def annotated(self, index: int) -> bool:
            return index % 10 == 9

    inner = Sparse(40)
    with ReadAhead(inner, 30, every=False) as video:
        for index in (9, 6, 19, 29):
            video.image(index)
    assert sorted(inner.read) == [6, 9, 19, 29]


def test_label_maps_that_wait_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, most = Slow(seconds=0.001), 0
    with WriteBehind(slow) as writer:
        for number in range(300):
            writer.write(f"{number:05d}", np.zeros((2, 2), np.uint8))
            most = max(most, number + 1 - slow.done)
    assert slow.done == 300 and most <= BEHIND + 1


def test_a_method_that_stops_early_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    inner = Faulty(40)
    with pytest.raises(OvbenchError, match="enough"), ReadAhead(inner) as video:
        for index, _ in enumerate(video.images()):
            if index == 3:
                raise OvbenchError("enough")
    assert threading.active_count() == before
    assert max(inner.read) <= 3 + AHEAD
