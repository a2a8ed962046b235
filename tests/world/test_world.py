"""The world is a pure function of its seed, holds its classes, and never shows a held-out one in training."""

from __future__ import annotations

import numpy as np
import pytest

from ovbench.core.errors import UserError
from ovbench.datasets.world.classes import ALL, held_out, pretraining_classes, track_classes
from ovbench.datasets.world.corrupt import plan
from ovbench.datasets.world.dataset import CLIPS, FRAMES, WorldDataset, casts, clip_hash, make_clip
from ovbench.datasets.world.integers import ONE, TURN, Stream, cosine, noise, sine
from ovbench.datasets.world.scene import HEIGHT, WIDTH, hsv
from ovbench.datasets.world.shapes import outline, texture

TRACKS = ("attribute", "pairs")


def test_sines_are_those_of_mathematics() -> None:
    angles = np.arange(TURN)
    expected = np.round(ONE * np.sin(2 * np.pi * angles / TURN))
    assert [sine(int(a)) for a in angles] == expected.astype(int).tolist()
    assert cosine(0) == ONE and cosine(TURN // 2) == -ONE


def test_stream_is_fixed_for_ever() -> None:
    stream = Stream("a", 1)
    twin = Stream("a", 1)
    assert [stream.between(0, 9) for _ in range(8)] == [twin.between(0, 9) for _ in range(8)]
    assert sorted(Stream("b").shuffled(range(50))) == list(range(50))
    assert Stream("x").bits32() == 0x3F164C49


def test_noise_has_the_stated_moments() -> None:
    values = noise(12345, (200, 200)).astype(float)
    assert abs(values.mean()) < 2 and abs(values.std() - 147.8) < 2
    assert not np.array_equal(noise(1, (10,)), noise(2, (10,)))


@pytest.mark.parametrize(
    ("hue", "rgb"), [(0, (255, 0, 0)), (256, (255, 255, 0)), (512, (0, 255, 0)), (1024, (0, 0, 255))]
)
def test_pure_hues(hue: int, rgb: tuple[int, int, int]) -> None:
    assert hsv(hue, 255, 255) == rgb


def test_outlines_have_the_areas_of_geometry() -> None:
    y, x = np.mgrid[-1200:1201:10, -1200:1201:10].astype(np.int32)
    areas = [int(outline(kind, x, y, 1000).sum()) for kind in range(6)]
    radius = 100
    circle = np.pi * radius**2
    pentagram = 1.123 * radius**2
    expected = [circle, (2 * 85) ** 2, None, pentagram, circle * 0.72, 4 * 34 * 200 - 4 * 34**2]
    for area, wanted in zip(areas, expected, strict=True):
        assert wanted is None or area == pytest.approx(wanted, rel=0.03)
    assert 0.3 * circle < areas[2] < 0.6 * circle


def test_textures_cover_about_half() -> None:
    v, u = np.mgrid[0:512, 0:512].astype(np.int32)
    assert texture(0, u, v, 64) is None
    for index in (1, 2):
        assert np.mean(texture(index, u, v, 64)) == pytest.approx(0.5, abs=0.01)
    assert np.mean(texture(3, u, v, 64)) == pytest.approx(1 - np.pi * 0.095, abs=0.02)


@pytest.mark.parametrize("track", TRACKS)
def test_tracks_have_27_seen_and_9_unseen_classes(track: str) -> None:
    classes = track_classes(track)
    assert len(set(classes)) == 36
    assert sum(c in held_out() for c in classes) == 9
    if track == "attribute":
        looks = [c.look for c in classes if not c.is_stuff]
        assert len(set(looks)) == len(looks) == 24


def test_every_word_of_an_unseen_name_occurs_in_seen_ones() -> None:
    for track in TRACKS:
        seen = [c for c in track_classes(track) if c not in held_out()]
        for c in held_out():
            assert {c.color} <= {s.color for s in seen}
            assert {c.texture} <= {s.texture for s in seen}
            assert {c.kind} <= {s.kind for s in seen}


def test_held_out_compositions_are_in_no_pretraining_image_caption_or_training_clip() -> None:
    assert len(pretraining_classes()) == len(ALL) - 9
    assert not held_out() & set(pretraining_classes())
    held = {c.raw_id for c in held_out()}
    for track in TRACKS:
        for stuff, things in casts(track, "train"):
            assert not held & {c.raw_id for c in stuff + things}
    _, masks, _ = make_clip("attribute", "train", 0)
    assert not held & set(np.unique(masks).tolist())


@pytest.mark.parametrize("track", TRACKS)
def test_every_class_is_visible_in_at_least_six_test_clips(track: str) -> None:
    assert 36 <= CLIPS["test"] <= 48
    clips = {c.raw_id: 0 for c in track_classes(track)}
    data = WorldDataset("test", track)
    for video_id in data.video_ids:
        video = data.open(video_id)
        masks = np.stack([video.truth(i) for i in range(0, len(video), 4)])
        values, counts = np.unique(masks, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            assert value in clips
            clips[value] += count >= 40
    assert min(clips.values()) >= 6, clips


def test_no_thing_has_the_look_of_its_background() -> None:
    for track in TRACKS:
        for split in CLIPS:
            for stuff, things in casts(track, split):
                assert not {c.look for c in stuff} & {c.look for c in things}
                assert len(set(things)) == len(things)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        (("attribute", "test", 0), "3d33a70bb6bda34c7b4a3958bd585270e99ccb7341b052c2a9dd8540ab898421"),
        (("pairs", "test", 35), "b40a15b1b4cd45121ca04d689b85c21dda47f47fd96df822414e1b4bbad912fa"),
        (("attribute", "train", 59), "d20268392c7e08b653c90ade336b7bd8b0b6008c3d0eeb3612bf76ce19c3c22a"),
    ],
)
def test_bytes_are_the_published_ones(name: tuple[str, str, int], digest: str) -> None:
    assert clip_hash(*name) == digest


def test_a_video_is_lazy_cached_and_tagged() -> None:
    video = WorldDataset("test").open("test-003")
    frames, masks, faults = make_clip("attribute", "test", 3)
    assert len(video) == FRAMES and video.dense
    for i in (0, 7, 19):
        assert np.array_equal(video.image(i), frames[i]) and np.array_equal(video.truth(i), masks[i])
        assert video.image(i).shape == (HEIGHT, WIDTH, 3)
        fault = faults[i]
        assert video.tags(i)["corruption"] == ("clean" if fault is None else fault.kind)
    again = WorldDataset("test").open("test-003")
    assert np.array_equal(again.image(7), frames[7])


def test_corruption_comes_in_bursts() -> None:
    runs, bad, total = [], 0, 0
    for i in range(200):
        faults = plan(Stream("bursts", i), 40, HEIGHT, WIDTH)
        flags = [f is not None for f in faults]
        bad, total = bad + sum(flags), total + len(flags)
        text = "".join("x" if f else "." for f in flags).strip("x")
        runs += [len(run) for run in text.split(".") if run]
    assert 0.35 < bad / total < 0.6
    assert min(runs) >= 2


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="split"):
        WorldDataset("val")
    with pytest.raises(UserError, match="track"):
        WorldDataset("test", "easy")
    with pytest.raises(UserError, match="no video"):
        WorldDataset("test").open("test-999")
