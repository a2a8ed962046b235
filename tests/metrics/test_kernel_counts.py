"""Both ways of counting, compiled and NumPy alone, against a slow direct statement of every integer."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_cases import (
    change_rows,
    make_protocol,
    random_video,
    slow_changes,
    slow_joint,
    slow_windows,
    window_rows,
)

from ovbench.core.errors import UserError
from ovbench.core.native import absent_because, kernel
from ovbench.metrics.counts import LabelError, VideoCounter, counter_for
from ovbench.metrics.framecounts import NumpyFrames

SHAPES = {
    "plain": {"seen": (True,) * 4 + (False,) * 3, "windows": (2, 3, 8)},
    "one window of one frame": {"seen": (True, False), "windows": (1,)},
    "no windows": {"seen": (True, False), "windows": ()},
    "scored in the middle": {"seen": (True,) * 6, "scored": (2, 3, 4), "windows": (2, 5)},
    "scored here and there": {"seen": (True,) * 6, "scored": (0, 2, 5), "windows": (2, 4)},
    "nothing scored": {"seen": (True, False), "scored": (), "windows": (2,)},
    "scrambled": {"seen": (True, False) * 4, "vocabulary": (5, 2, 7, 0, 1, 6, 3, 4), "windows": (2, 16)},
    "class without a name": {"seen": (True, True, False, False), "vocabulary": (0, 2), "windows": (2,)},
    "two names, one class": {"seen": (True, False), "vocabulary": (0, 1, 0), "windows": (2, 3)},
    "several raw ids": {
        "seen": (True, False, False),
        "raw": [(9, 4), (200,), (3, 250, 251)],
        "ignore": (0, 254, 255, 7),
        "windows": (2, 3),
    },
    "many patches": {
        "seen": (True,) * 12,
        "raw": [((37 * c + 11) % 256,) for c in range(12)],
        "ignore": (0, 255),
        "windows": (2, 3),
    },
    "raw ids of 16 bits": {
        "seen": (True,) * 5,
        "raw": [(1000 + c,) for c in range(5)],
        "ignore": (0, 255),
        "windows": (2, 3),
    },
    "many names": {"seen": (True,) * 253, "vocabulary": [*range(253), *range(40)], "windows": (2,)},
}


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setenv("OVBENCH_NATIVE", "0")
    elif kernel("metrics._count") is None:
        pytest.skip(f"no compiled kernel: {absent_because('metrics._count')}")
    return request.param


def feed(protocol, truths, predictions):
    counter = counter_for(protocol)
    for truth, prediction in zip(truths, predictions, strict=True):
        if prediction is None:
            counter.skip()
        else:
            counter.update(truth, prediction)
    return counter.finish()


def check(protocol, truths, predictions):
    counts = feed(protocol, truths, predictions)
    seen = [(t, p) for t, p in zip(truths, predictions, strict=True) if p is not None]
    assert list(counts.joint.entries()) == slow_joint([t for t, _ in seen], [p for _, p in seen])
    frames = {i: (t, p) for i, (t, p) in enumerate(zip(truths, predictions, strict=True)) if t is not None}
    assert counts.per_frame.index.tolist() == list(frames)
    for index, truth, prediction, pixels in counts.per_frame:
        rows = list(zip(truth.tolist(), prediction.tolist(), pixels.tolist(), strict=True))
        assert rows == slow_joint(*([m] for m in frames[index]))
    assert change_rows(counts) == slow_changes(protocol, truths, predictions)
    shown = [np.zeros((1, 1), np.uint8) if p is None else p for p in predictions]  # truth is None there, too
    for n in protocol.windows:
        assert window_rows(counts, n) == slow_windows(protocol, truths, shown, n)
    return counts


@pytest.mark.parametrize("name", SHAPES)
def test_random_videos(way, name):
    protocol = make_protocol(**SHAPES[name])
    wide = name == "raw ids of 16 bits"
    for seed in range(16):
        rng = np.random.default_rng(seed)
        dtypes = (np.uint16 if wide or seed % 4 == 1 else np.uint8, np.uint16 if seed % 4 == 2 else np.uint8)
        if name == "many names":
            dtypes = (dtypes[0], np.uint16)
        frames, size = int(rng.integers(0, 22)), (int(rng.integers(1, 9)), int(rng.integers(1, 40)))
        flip = float(rng.choice([0.0, 0.02, 0.15, 0.6]))
        truths, predictions = random_video(rng, protocol, frames=frames, size=size, flip=flip, dtypes=dtypes)
        for index in np.flatnonzero(rng.random(frames) < rng.choice([0, 0.1])):
            truths[index] = None  # not annotated; every second of them not segmented either
            predictions[index] = None if index % 2 else predictions[index]
        check(protocol, truths, predictions)


def test_the_ways_are_what_they_say(way):
    counter = counter_for(make_protocol())
    assert isinstance(counter._frame, NumpyFrames) == (way == "numpy")


@pytest.mark.parametrize("size", [(1, 1), (1, 31), (1, 32), (3, 33), (64, 64), (65, 127)])
def test_sizes_around_the_kernels_blocks(way, size):
    protocol = make_protocol(seen=(True,) * 5, windows=(2, 3))
    rng = np.random.default_rng(size[1])
    check(protocol, *random_video(rng, protocol, frames=6, size=size, flip=0.1))


def test_void_flips_begin_late_and_end(way):
    """0 and 255 stay apart in `raw`, from the frame on where both have been seen."""
    protocol = make_protocol(seen=(True, True), windows=(2, 3, 8))
    rng = np.random.default_rng(5)
    truths, predictions = random_video(rng, protocol, frames=60, size=(6, 7), flip=0.05)
    truths = [np.where(t == 255, 0, t).astype(np.uint8) for t in truths]
    for frame in (20, 21, 40):
        truths[frame] = np.where(truths[frame] == 0, 255, truths[frame]).astype(np.uint8)
    counts = check(protocol, truths, predictions)
    assert counts.windows[2].raw_num != counts.windows[2].script_num
    assert counts.windows[2].raw_num[:18] == counts.windows[2].script_num[:18]


def test_a_void_flip_in_one_corner_of_a_large_frame(way):
    """The kernel begins to tell ids from classes in the middle of a frame."""
    protocol = make_protocol(seen=(True, True), windows=(2, 4))
    rng = np.random.default_rng(6)
    truths, predictions = random_video(rng, protocol, frames=9, size=(130, 127), flip=0.01)
    truths = [np.where(t == 255, 0, t).astype(np.uint8) for t in truths]
    for frame in (4, 7):
        truths[frame][70, 5:90] = 255 * (truths[frame - 1][70, 5:90] == 0)
    truths[3][70, 20] = truths[4][70, 20] = 0
    truths[4][70, 20] = 255
    check(protocol, truths, predictions)


def test_ages_beyond_a_byte(way):
    protocol = make_protocol(windows=(2, 255))
    truth, prediction = np.ones((2, 3), np.uint8), np.zeros((2, 3), np.uint8)
    truths, predictions = [truth] * 600, [prediction] * 600
    truths[300] = truth * 2
    check(protocol, truths, predictions)


def test_size_changes_after_a_gap_and_without_windows(way):
    large, small = np.ones((4, 6), np.uint8), np.ones((3, 8), np.uint8)  # as many pixels, another shape
    check(make_protocol(windows=(2,)), [large, large, None, small, small], [large, large, None, small, small])
    check(make_protocol(windows=()), [large, small, large, large, None], [large, small, large, large, large])


@pytest.mark.parametrize("kind", ["noise", "flat"])
def test_noise_and_flat_maps(way, kind):
    protocol = make_protocol(seen=(True,) * 200, windows=(2,))
    rng = np.random.default_rng(2)
    top = 200 if kind == "noise" else 1
    truths = [rng.integers(0, top + 1, (90, 101)).astype(np.uint8) for _ in range(3)]
    check(protocol, truths, [rng.integers(0, top, (90, 101)).astype(np.uint8) for _ in range(3)])


def test_strided_and_read_only_maps(way):
    protocol = make_protocol(windows=(2,))
    wide = np.tile(np.arange(1, 4, dtype=np.uint8), (8, 6))
    truth, prediction = wide[::2, ::3], np.asfortranarray(wide[::2, ::3] - 1)
    truth.setflags(write=False)
    check(protocol, [truth] * 3, [prediction] * 3)


@pytest.mark.parametrize("dtype", [">u2", "int64", "float32", "bool"])
def test_other_dtypes_are_refused(way, dtype):
    good = np.zeros((2, 2), np.uint8)
    with pytest.raises(UserError, match="uint8 or uint16"):
        counter_for(make_protocol()).update(good, good.astype(dtype))
    with pytest.raises(UserError, match="uint8 or uint16"):
        counter_for(make_protocol()).update(good.astype(dtype), good)


def test_an_undeclared_id_past_eight_bits_is_named(way):
    counter = counter_for(make_protocol(windows=(2,)))
    good = np.ones((3, 4), np.uint16)
    counter.update(good, np.zeros((3, 4), np.uint8))
    bad = good.copy()
    bad[1, 1], bad[2, 2] = 300, 500
    with pytest.raises(LabelError) as caught:
        counter.update(bad, np.zeros((3, 4), np.uint8))
    assert (caught.value.value, caught.value.kind) == (300, "truth")


def test_both_ways_agree_on_a_large_video(monkeypatch):
    if kernel("metrics._count") is None:
        pytest.skip("no compiled kernel")
    protocol = make_protocol(seen=(True,) * 100 + (False,) * 24, windows=(8, 16, 100))
    rng = np.random.default_rng(9)
    truths, predictions = random_video(rng, protocol, frames=110, size=(40, 61), flip=0.01)
    found = feed(protocol, truths, predictions)
    monkeypatch.setenv("OVBENCH_NATIVE", "0")
    assert feed(protocol, truths, predictions) == found
    assert VideoCounter is type(counter_for(protocol))
