"""The flow twin: what is carried where, what has no say, and that nothing but motion tells it from the vote."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ovbench
from ovbench.cli.main import _run
from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import ArrayVideo, Video, VideoView
from ovbench.engine.plan import Request, make_plan
from ovbench.flow.base import FlowBackend
from ovbench.methods.base import FrameSegmenter, Segmenter
from ovbench.methods.flow import FlowSegmenter, chained
from ovbench.methods.select import select
from ovbench.methods.vote import VoteSegmenter
from ovbench.metrics.flow import Flow

pytest.importorskip("cv2", reason="the flow twin needs the extra [flow]")

SIZE = (40, 56)
NAN = float("nan")


class Replay(Segmenter):
    """Gives out stored maps."""

    def __init__(self, maps: np.ndarray) -> None:
        self.maps, self.looked = maps, 0

    def segment(self, video: Video) -> Iterator[LabelMap]:
        for label_map in self.maps:
            self.looked += 1
            yield label_map


class Scored(FrameSegmenter):
    """Scores that are the picture's first two channels."""

    def scores(self, image: Image) -> np.ndarray:
        return np.moveaxis(image[..., :2].astype(np.float32), 2, 0)

    def segment_frame(self, image: Image) -> LabelMap:
        return self.scores(image).argmax(0).astype(np.uint8)


class Known(FlowBackend):
    """Every pixel moves by `by` = (dx, dy) a frame; `lost` pixels of frame 0 and on are contradicted."""

    def __init__(self, by: tuple[float, float], lost: np.ndarray | None = None) -> None:
        self.by, self.lost = by, lost

    def of(self, video: Video, source: int, target: int) -> Flow:
        flow = np.empty((*video.image(source).shape[:2], 2), np.float32)
        flow[:] = np.multiply(self.by, target - source)
        if self.lost is not None and target < source:
            flow[self.lost, 0] += 20
        return flow


def blank(frames: int) -> ArrayVideo:
    return ArrayVideo(np.zeros((frames, *SIZE, 3), np.uint8))


def twin(maps: np.ndarray, backend: FlowBackend, **options: Any) -> FlowSegmenter:
    segmenter = FlowSegmenter(Replay(maps), **options)
    segmenter._backend = backend
    return segmenter


def moving(frames: int, by: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A square of class 1 that moves, and the same with every pixel wrong in one frame of three."""
    clean = np.zeros((frames, *SIZE), np.uint8)
    for t in range(frames):
        clean[t, 8 + t * by[1] : 18 + t * by[1], 6 + t * by[0] : 16 + t * by[0]] = 1
    spoiled = clean.copy()
    spoiled[1::3] = 2
    return clean, spoiled


def test_what_moves_is_found_again() -> None:
    clean, spoiled = moving(9, (4, 2))
    along = np.stack(list(twin(spoiled, Known((4, 2)), unconfirmed="follow").segment(blank(9))))
    plain = np.stack(list(VoteSegmenter(Replay(spoiled), 4).segment(blank(9))))
    inner = (slice(1, -1), slice(8, -8), slice(10, -10))  # away from where flows leave the picture
    assert np.array_equal(along[inner], clean[inner])
    assert (plain[inner] != clean[inner]).mean() > 0.02


@pytest.mark.parametrize("unconfirmed", ["stay", "drop", "follow"])
@pytest.mark.parametrize("window", [1, 2, 4, 5])
def test_without_motion_it_is_the_vote(window: int, unconfirmed: str) -> None:
    maps = np.random.default_rng(window).integers(0, 4, (7, *SIZE)).astype(np.uint8)
    along = list(twin(maps, Known((0, 0)), window=window, unconfirmed=unconfirmed).segment(blank(7)))
    assert np.array_equal(along, list(VoteSegmenter(Replay(maps), window).segment(blank(7))))


def test_unconfirmed_pixels_stay_are_dropped_or_follow() -> None:
    lost = np.zeros(SIZE, bool)
    lost[:, :10] = True
    maps = np.zeros((3, *SIZE), np.uint8)
    maps[:, :, 20:] = 3
    maps[2] = 1
    last = {
        rule: list(twin(maps, Known((0, 0), lost), window=5, unconfirmed=rule).segment(blank(3)))[2]
        for rule in ("stay", "drop", "follow")
    }
    assert (last["stay"][:, :10] == 0).all()  # two neighbours outvote it, looked at in place
    assert (last["drop"][:, :10] == 1).all()  # nobody else has a say
    assert (last["follow"][:, :10] == 3).all()  # the wrong flow leads twenty pixels to the right
    for label_map in last.values():
        assert (label_map[:, 10:20] == 0).all()


def test_flows_are_added_up_before_they_are_rounded() -> None:
    half = np.zeros((*SIZE, 2), np.float32)
    half[..., 0] = 0.4
    assert np.allclose(chained(half, half)[:, :-1, 0], 0.8)
    out = half.copy()
    out[..., 0] = 100
    assert np.isnan(chained(out, half)).all()
    unknown = half.copy()
    unknown[3, 4] = NAN
    total = chained(half, unknown)
    assert np.isnan(total[3, 4]).all() and np.isfinite(total[3, 5]).all()


def test_decay_lets_the_present_win() -> None:
    maps = np.array([1, 1, 0, 0], np.uint8)[:, None, None] * np.ones(SIZE, np.uint8)
    even = list(twin(maps, Known((0, 0)), window=5).segment(blank(4)))
    steep = list(twin(maps, Known((0, 0)), window=5, decay=0.3).segment(blank(4)))
    assert (even[2] == 0).all() and (even[1] == 1).all()  # a tie is the current frame's
    assert np.array_equal(steep, maps)


def test_scores_are_summed_and_then_compared() -> None:
    frames = np.zeros((3, *SIZE, 3), np.uint8)
    frames[:, ..., 0], frames[:, ..., 1] = 10, 11  # class 1 by a hair
    frames[0, ..., 0] = 100  # but the first frame is sure of class 0
    segmenter = FlowSegmenter(Scored(), window=3, fuse="scores")
    segmenter._backend = Known((0, 0))
    segmenter.prepare(ovbench.Vocabulary(["a", "b"]))
    maps = list(segmenter.segment(ArrayVideo(frames)))
    assert [int(m[0, 0]) for m in maps] == [0, 0, 1]
    assert maps[0].dtype == np.uint8
    with pytest.raises(UserError, match="no scores of single frames"):
        FlowSegmenter(Replay(frames[..., 0]), fuse="scores")


class Some(VideoView):
    def wanted(self, index: int) -> bool:
        return index == 5


def test_only_the_windows_of_wanted_frames_cost_anything() -> None:
    maps = np.random.default_rng(0).integers(0, 3, (12, *SIZE)).astype(np.uint8)
    asked: list[tuple[int, int]] = []

    class Counting(Known):
        def of(self, video: Video, source: int, target: int) -> Flow:
            asked.append((source, target))
            return super().of(video, source, target)

    every = list(twin(maps, Known((0, 0))).segment(blank(12)))
    some = list(twin(maps, Counting((0, 0))).segment(Some(blank(12))))
    assert len(some) == 12 and np.array_equal(some[5], every[5])
    assert set(asked) == {(5, 4), (4, 5), (4, 3), (3, 4), (5, 6), (6, 5)} and len(asked) == 6


def test_frames_of_another_size_say_nothing() -> None:
    maps = [np.full(SIZE, t, np.uint8) for t in (1, 1, 2)] + [np.full((4, 4), 7, np.uint8)]
    segmenter = twin(np.array(maps, object), Known((0, 0)))
    assert [int(m[0, 0]) for m in segmenter.segment(blank(4))] == [1, 1, 1, 7]


def test_real_flow_on_a_real_shift() -> None:
    rng = np.random.default_rng(1)
    texture = np.kron(rng.integers(0, 256, (30, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    frames = np.stack([texture[10:74, 10 + 3 * t : 106 + 3 * t] for t in range(5)])
    labels = np.kron(rng.integers(0, 3, (30, 40)), np.ones((4, 4))).astype(np.uint8)
    clean = np.stack([labels[10:74, 10 + 3 * t : 106 + 3 * t] for t in range(5)])
    spoiled = clean.copy()
    spoiled[2] = 5
    middle = (slice(8, -8), slice(16, -16))
    wrong = {
        name: (list(s.segment(ArrayVideo(frames)))[2][middle] != clean[2][middle]).mean()
        for name, s in {
            "flow": FlowSegmenter(Replay(spoiled)),
            "vote": VoteSegmenter(Replay(spoiled), 4),
        }.items()
    }
    assert wrong["flow"] < 0.12 < 0.3 < wrong["vote"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow_window": 0}, "flow_window"),
        ({"flow_window": 256}, "flow_window"),
        ({"flow_decay": 0.0}, "flow_decay"),
        ({"flow_decay": 1.5}, "flow_decay"),
        ({"flow_decay": NAN}, "flow_decay"),
        ({"flow_fuse": "logits"}, "flow_fuse"),
        ({"flow_backend": "raft"}, "flow_backend"),
        ({"flow_unconfirmed": "guess"}, "flow_unconfirmed"),
        ({"vote_window": 3}, "unknown option"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ovbench.create("constant+flow", **options)


def test_near_names_of_wrappers() -> None:
    with pytest.raises(UserError, match="unknown wrapper 'flwo'") as caught:
        select("constant+flwo")
    assert "did you mean flow" in str(caught.value)
    assert select("maskclip+flow:world").id == "maskclip+flow"
    assert pickle.loads(pickle.dumps(select("maskclip+flow:world"))).wrapper.name == "flow"


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    request = Request("constant+flow", "world-27-9")
    for attempt in (lambda: ovbench.create("constant+flow"), lambda: make_plan(request)):
        with pytest.raises(UserError, match="opencv-python-headless") as caught:
            attempt()
        assert "[flow]" in str(caught.value)


@pytest.mark.parametrize("method", ["maskclip+vote", "ov2vss+vote"])
def test_a_flow_twin_beside_it_leaves_the_key_of_a_vote_alone(method: str) -> None:
    variant = {"maskclip+vote": "world", "ov2vss+vote": "image"}[method]
    kept = json.loads((room("results") / f"world/world-27-9/{method}-{variant}/manifest.json").read_text())
    now = make_plan(Request(method, "world-27-9", variant=variant, device="cpu")).key_parts
    assert set(now) == set(kept["key"])
    assert now["options"]["vote_window"] == kept["key"]["options"]["vote_window"]
    assert not [name for name in now["options"] if name.startswith("flow_")]


def test_opencv_and_the_flow_code_are_in_the_key_of_a_flow_twin() -> None:
    parts = make_plan(Request("constant+flow", "world-27-9")).key_parts
    assert parts["wrapper"]["preset"] == "MEDIUM" and parts["wrapper"]["opencv"]
    assert len(parts["wrapper_code"]) == 64


ARGUMENTS = ("--protocol", "world-27-9", "--videos", "2", "--frames", "8", "--jobs", "1")


def run(method: str, out: Path, *more: object) -> int:
    return _run(["run", "--method", method, "--out", str(out), *ARGUMENTS, *map(str, more)])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inner") / "run"
    assert run("random", out, "--save-predictions") == 0
    return out


@pytest.mark.parametrize("wrapper", ["vote", "flow"])
def test_label_maps_of_a_run_give_the_same_bytes(saved: Path, tmp_path: Path, wrapper: str) -> None:
    method = f"random+{wrapper}"
    options = ("--set", f"{wrapper}_window=5", "--set", "seed=0") if wrapper == "vote" else ()
    assert (
        run(method, tmp_path / "a", *options) == run(method, tmp_path / "b", *options, "--from", saved) == 0
    )
    assert (tmp_path / "a/summary.json").read_bytes() == (tmp_path / "b/summary.json").read_bytes()
    a, b = (json.loads((tmp_path / x / "manifest.json").read_text()) for x in "ab")
    assert (a["run_key"], a["facts"]) == (b["run_key"], b["facts"])
    inner = json.loads((saved / "manifest.json").read_text())
    assert b["sessions"][0]["label_maps_of"] == inner["run_key"]


def test_label_maps_of_another_run_are_refused(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method, more, code, message in (
        ("random", (), 2, "has none"),
        ("constant+vote", (), 2, "method"),
        ("random+vote", ("--set", "seed=3"), 2, "options"),
        ("random+flow", ("--set", "flow_fuse=scores"), 2, "label maps only"),
    ):
        assert run(method, tmp_path / "x", *more, "--from", saved) == code
        assert message in capsys.readouterr().err
        assert not (tmp_path / "x").exists()


def test_label_maps_that_were_changed_are_found_out(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    maps = sorted((copy / "predictions").rglob("*.png"))
    maps[3].write_bytes(maps[4].read_bytes())
    assert run("random+vote", tmp_path / "x", "--from", copy) == 4
    assert "not those that the run has counted" in capsys.readouterr().err
    maps[-1].unlink()
    assert run("random+vote", tmp_path / "x", "--from", copy) == 3
    assert "no complete label maps" in capsys.readouterr().err


def test_a_source_of_fewer_videos_says_how_many(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("random+vote", tmp_path / "x", "--videos", "3", "--from", saved) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "of the first 2 videos (--videos 2), and 3 are to be run" in said
        and "give --videos 2 here too" in said
    )
    assert run("random+vote", tmp_path / "x", "--videos", "1", "--from", saved) == 0
    said = capsys.readouterr().err
    assert "1 video done" in said and "1 videos" not in said
