"""OV2VSS on a video as it comes: how often the networks run, that nothing else changes, and what is refused."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ovbench.baselines.ov2vss.clips import clip_indices, farthest  # noqa: E402
from ovbench.baselines.ov2vss.release.segmenter import ReleaseSegmenter  # noqa: E402
from ovbench.baselines.ov2vss.segmenter import OV2VSSSegmenter  # noqa: E402
from ovbench.baselines.ov2vss.speed import Speed  # noqa: E402
from ovbench.baselines.ov2vss.streaming import ClipSegmenter  # noqa: E402
from ovbench.baselines.ov2vss.window import FrameWindow, Needs  # noqa: E402

import ovbench  # noqa: E402
from ovbench.cli.main import _run  # noqa: E402
from ovbench.core.errors import UserError  # noqa: E402
from ovbench.datasets.base import ArrayVideo, Video  # noqa: E402

NAMES = ["red plain disc", "blue striped wall", "green dotted floor"]
BACKBONE, CLIP = "backbone", "clip"
SIZE = (48, 64)


def video(length: int, size: tuple[int, int] = SIZE, seed: int = 0) -> ArrayVideo:
    small = np.random.default_rng(seed).integers(0, 256, (length, size[0] // 8, size[1] // 8, 3), np.uint8)
    return ArrayVideo(small.repeat(8, axis=1).repeat(8, axis=2))


class EveryFifth(ArrayVideo):
    """A video of which somebody looks at every fifth frame."""

    def wanted(self, index: int) -> bool:
        return index % 5 == 4


def world(**options: Any) -> OV2VSSSegmenter:
    options = {"input_size": "48x64", "clip_size": "48x64", **options}
    made = ovbench.create("ov2vss", variant="world", untrained=True, **options)
    assert isinstance(made, OV2VSSSegmenter)
    made.prepare(ovbench.Vocabulary(NAMES))
    return made


@contextmanager
def counting(segmenter: ClipSegmenter) -> Iterator[dict[str, int]]:
    """Frames that go through the backbone and through CLIP's image tower."""
    if isinstance(segmenter, ReleaseSegmenter):
        modules = {BACKBONE: segmenter.network.backbone, CLIP: segmenter.network.pair.model.visual.conv1}
    else:
        assert isinstance(segmenter, OV2VSSSegmenter)
        network = segmenter.network
        modules = {BACKBONE: network.net.backbone, CLIP: network.pair.model.visual.conv1}
    passes = dict.fromkeys(modules, 0)

    def hook(key: str) -> Any:
        def count(module: Any, inputs: Any, output: Any) -> None:
            passes[key] += len(inputs[0])

        return count

    handles = [m.register_forward_hook(hook(key)) for key, m in modules.items()]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()


def live_bytes() -> int:
    return sum(x.numel() * x.element_size() for x in gc.get_objects() if type(x) is torch.Tensor)


def test_one_pass_per_frame_and_memory_that_does_not_grow() -> None:
    segmenter, held = world(), {}
    with counting(segmenter) as passes:
        for index, _ in enumerate(segmenter.segment(video(40))):
            if index in (15, 38):
                held[index] = live_bytes()
    assert passes == {BACKBONE: 40, CLIP: 40}
    assert held[15] == held[38]


def test_clip_wise_computes_every_clip_and_gives_the_same() -> None:
    plain = video(13)
    streamed, clip_wise = world(), world(streaming=False)
    with counting(clip_wise) as passes:
        maps = list(clip_wise.segment(plain))
    frames = [set(clip_indices(t)) for t in range(13)]
    assert passes[CLIP] == sum(len(f) for f in frames)
    assert passes[BACKBONE] == sum(len(f | {farthest(t, 13)}) for t, f in enumerate(frames))
    assert all(np.array_equal(a, b) for a, b in zip(maps, streamed.segment(plain), strict=True))
    for t in (0, 4, 12):
        assert np.abs(streamed.scores(plain, t) - clip_wise.scores(plain, t)).max() <= 1e-5


def test_a_full_clip_costs_five_and_four_passes_clip_wise() -> None:
    clip_wise, streamed = world(streaming=False), world()
    for segmenter in (clip_wise, streamed):
        with counting(segmenter) as passes:
            segmenter.scores(video(30), 12)
        assert passes == {BACKBONE: 5, CLIP: 4}


def test_frames_nobody_looks_at_are_not_computed_for_their_own_sake() -> None:
    frames = np.stack([video(30).image(i) for i in range(30)])
    segmenter = world()
    with counting(segmenter) as passes:
        maps = list(segmenter.segment(EveryFifth(frames)))
    looked_at = {i for t in range(4, 30, 5) for i in clip_indices(t)}
    assert passes == {BACKBONE: len(looked_at | {0, 29}), CLIP: len(looked_at)}
    whole = list(segmenter.segment(ArrayVideo(frames)))
    assert all(np.array_equal(maps[t], whole[t]) for t in range(4, 30, 5))


def test_without_what_looks_back_earlier_frames_are_left_alone() -> None:
    segmenter = world(fusion=False, carry=False, video_text=False, random_frame=False)
    with counting(segmenter) as passes:
        segmenter.scores(video(15), 9)
    assert passes == {BACKBONE: 1, CLIP: 1}


@pytest.mark.parametrize("batch", [3, 8])
def test_batches_of_frames_change_no_score_and_no_count(batch: int) -> None:
    plain = video(14)
    one, several = world(), world(frame_batch=batch)
    with counting(several) as passes:
        maps = list(several.segment(plain))
    assert passes == {BACKBONE: 14, CLIP: 14} and len(maps) == 14
    assert np.abs(one.scores(plain, 12) - several.scores(plain, 12)).max() <= 1e-5


class _Means:
    """A small encoder: the mean colour of the picture."""

    def pixels(self, images: Sequence[Any]) -> Any:
        return torch.from_numpy(np.stack(images)).float()

    def maps(self, pixels: Any) -> list[Any]:
        return [pixels.mean((1, 2))]

    def clip(self, pixels: Any) -> Any:
        return pixels.mean((1, 2))


@pytest.mark.parametrize("batch", [1, 8])
def test_the_window_is_bounded_and_holds_what_belongs_to_each_frame(batch: int) -> None:
    for length in (30, 300):
        frames = np.arange(length, dtype=np.uint16).astype(np.uint8)[:, None, None, None]
        plain = ArrayVideo(np.broadcast_to(frames, (length, 2, 2, 3)))
        seen = 0

        def needs(t: int, length: int = length) -> Needs:
            return Needs((*clip_indices(t), farthest(t, length)), tuple(clip_indices(t)))

        window = FrameWindow(plain, _Means(), needs, range(length), batch)
        for target in range(length):
            window.move(target)
            for index in clip_indices(target):
                assert float(window.maps(index)[0][0, 0]) == float(window.clip(index)[0, 0]) == index % 256
            seen = max(seen, len(window._maps), len(window._clip))
        assert seen <= 10 + 2 + batch


def test_half_precision_changes_little_and_is_asked_for() -> None:
    plain = video(10)
    full = world().scores(plain, 9)
    for precision in ("bf16", "fp16"):
        scores = world(precision=precision).scores(plain, 9)
        assert scores.dtype == np.float32
        difference = np.abs(scores - full).max()
        assert 0 < difference < 0.05 * np.abs(full).max()
    with pytest.raises(UserError, match="precision"):
        world(precision="fp8")
    with pytest.raises(UserError, match="frame_batch"):
        world(frame_batch=-1)


def test_compiling_is_off_by_default_and_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(x: Any) -> Any:
        return x + 1

    cpu = torch.device("cpu")
    assert Speed().compiled(call, cpu) is call
    from ovbench.baselines.ov2vss import speed

    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no C++ compiler was found")

    speed._probe.cache_clear()
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError, match="no C\\+\\+ compiler was found"):
        Speed(compile=True).compiled(call, cpu)


# -- bad input -------------------------------------------------------------------------------------------------


class Shrinking(Video):
    """A video whose frame 7 is smaller than the others."""

    def __init__(self) -> None:
        super().__init__("street", [f"f{i}" for i in range(9)])

    def annotated(self, index: int) -> bool:
        return False

    def _decode_image(self, index: int) -> Any:
        return np.zeros((40, 64, 3) if index == 7 else (*SIZE, 3), np.uint8)

    def _decode_truth(self, index: int) -> Any:
        raise AssertionError("nobody asks")


def test_frames_of_changing_size_are_refused_by_name() -> None:
    with pytest.raises(UserError) as caught:
        list(world().segment(Shrinking()))
    assert "'f7' is 40x64" in str(caught.value) and "video 'street'" in str(caught.value)


def test_a_video_of_one_frame() -> None:
    maps = list(world().segment(video(1)))
    assert len(maps) == 1 and maps[0].shape == SIZE


def test_bad_vocabularies_are_one_clear_message_and_leave_the_old_one() -> None:
    segmenter = world()
    for names, message in (
        ([], "at least one class name"),
        (["red disc", "red disc"], "appear twice: red disc"),
        ([" ".join(["red"] * 80)], "reads at most"),
    ):
        with pytest.raises(UserError, match=message):
            segmenter.prepare(ovbench.Vocabulary(names))
    assert segmenter.vocabulary.names == tuple(NAMES)
    assert segmenter.scores(video(1)).shape == (3, *SIZE)


def test_frame_numbers_and_sizes_that_are_none_are_refused() -> None:
    segmenter, twelve = world(), video(12)
    for index in (-1, 12, 9.0, None, "3"):
        with pytest.raises(UserError, match="frame number from 0 to 11"):
            segmenter.scores(twelve, index)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="from 0 to 0, not 3"):
        segmenter.scores(twelve.image(0), 3)
    for size in ((0, 5), (4, -1), (3,), 7, (4.0, 4.0)):
        with pytest.raises(UserError, match="out_size must be"):
            segmenter.scores(twelve, 0, out_size=size)  # type: ignore[arg-type]
    assert segmenter.scores(twelve, np.int64(11), out_size=(4, 6)).shape == (3, 4, 6)  # type: ignore[arg-type]


def test_frames_that_are_no_images_and_videos_without_any_are_refused() -> None:
    segmenter = world()
    for frames in (
        *(np.zeros((2, *SIZE), np.uint8), np.zeros((2, *SIZE, 3), np.float32)),
        *(np.zeros((2, *SIZE, 1), np.uint8), np.zeros((2, 0, 5, 3), np.uint8)),
    ):
        with pytest.raises(UserError, match="must be .* uint8 RGB") as caught:
            list(segmenter.segment(ArrayVideo(frames)))
        assert caught.value.where == "video 'array', frame '00000'"
        with pytest.raises(UserError, match="must be .* uint8 RGB"):
            segmenter.scores(ArrayVideo(frames), 1)
    empty = ArrayVideo(np.zeros((0, *SIZE, 3), np.uint8))
    for use in (lambda: list(segmenter.segment(empty)), lambda: segmenter.scores(empty, 0)):
        with pytest.raises(UserError, match="no frames"):
            use()


def test_precision_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["run", "--protocol", "world-27-9", "--out", str(tmp_path / "run"), "--precision", "bf16"]
    assert _run([*base, "--method", "majority"]) == 2
    assert "no option 'precision'" in capsys.readouterr().err
    assert _run([*base, "--method", "ov2vss", "--set", "precision=fp16"]) == 2
    assert "given twice" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# -- the released network --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_released_network_runs_once_per_frame() -> None:
    plain = video(40, (80, 96))
    segmenter = ovbench.create("ov2vss", variant="release", untrained=True, input_size="native")
    assert isinstance(segmenter, ReleaseSegmenter)
    segmenter.prepare(ovbench.Vocabulary(["road", "train"]))
    # Counted on the real modules; of CLIP's blocks the last is enough for that.
    tower = segmenter.network.pair.model.visual.transformer
    tower.resblocks = tower.resblocks[-1:]
    with counting(segmenter) as passes:
        assert len(list(segmenter.segment(plain))) == 40
    assert passes == {BACKBONE: 40, CLIP: 40}
    streamed = [segmenter.scores(plain, t) for t in (1, 5, 12)]
    segmenter.speed = Speed(streaming=False)
    for t, expected in zip((1, 5, 12), streamed, strict=True):
        with counting(segmenter) as passes:
            assert np.abs(segmenter.scores(plain, t) - expected).max() <= 1e-5
        assert passes == ({BACKBONE: 2, CLIP: 2} if t == 1 else {BACKBONE: 5, CLIP: 4})
    one = ArrayVideo(plain.image(0)[None])
    assert [m.shape for m in segmenter.segment(one)] == [(80, 96)]
    with pytest.raises(UserError, match="longer than the 77 tokens"):
        segmenter.prepare(ovbench.Vocabulary(["word " * 80]))
    assert segmenter.vocabulary.names == ("road", "train")
