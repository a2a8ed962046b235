from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_cases import (
    count_video,
    image,
    make_protocol,
    random_video,
    slow_joint,
    slow_windows,
    window_rows,
)

from ovbench.core.errors import IntegrityError, UserError
from ovbench.metrics.counts import Joint, LabelError, SizeError, VideoCounter, VideoCounts

PROTOCOLS = {
    "plain": {"seen": (True,) * 4 + (False,) * 3, "windows": (2, 3, 8)},
    "scrambled vocabulary": {
        "seen": (True, False) * 4,
        "vocabulary": (5, 2, 7, 0, 1, 6, 3, 4),
        "windows": (2, 5),
    },
    "conventional": {
        "seen": (True,) * 3 + (False,) * 4,
        "vocabulary": (3, 4, 5, 6),
        "scored": (3, 4, 5, 6),
        "windows": (2, 3),
    },
    "scored class without a name": {
        "seen": (True, True, False, False),
        "vocabulary": (0, 2),
        "windows": (1, 2),
    },
    "several raw ids": {
        "seen": (True, False, False),
        "raw": [(9, 4), (200,), (3, 250, 251)],
        "ignore": (0, 254, 255, 7),
        "windows": (2, 3),
    },
    "scored is not a prefix": {"seen": (True, False, True, False), "scored": (1, 3), "windows": (2,)},
    "no void": {"seen": (True, False), "ignore": (), "windows": (2, 4)},
    "two names, one class": {"seen": (True, False), "vocabulary": (0, 1, 0), "windows": (2,)},
    "many patches": {
        "seen": (True,) * 12,
        "raw": [((37 * c + 11) % 256,) for c in range(12)],
        "ignore": (),
        "windows": (2, 3),
    },
}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("dtypes", [(np.uint8, np.uint8), (np.uint16, np.uint8), (np.uint8, np.uint16)])
def test_counts_equal_the_slow_version(name, dtypes):
    protocol = make_protocol(**PROTOCOLS[name])
    for seed in range(6):
        rng = np.random.default_rng(seed)
        frames = int(rng.integers(0, 24))
        flip, gaps = float(rng.choice([0.02, 0.15, 0.6])), float(rng.choice([0, 0, 0.1]))
        truths, predictions = random_video(
            rng, protocol, frames=frames, flip=flip, gaps=gaps, dtypes=dtypes, size=(4, 9 + seed)
        )
        counts = count_video(protocol, truths, predictions)
        assert list(counts.joint.entries()) == slow_joint(truths, predictions)
        for n in protocol.windows:
            assert window_rows(counts, n) == slow_windows(protocol, truths, predictions, n), (seed, n)


def test_large_vocabularies_count_in_sixteen_bits():
    classes = 253
    protocol = make_protocol(
        seen=(True,) * classes,
        raw=[(1000 + 3 * c,) for c in range(classes)],
        vocabulary=[*range(classes), *range(200)],
        windows=(2, 3),
    )
    rng = np.random.default_rng(1)
    truths, predictions = random_video(
        rng, protocol, frames=9, size=(20, 30), dtypes=(np.uint16, np.uint16), flip=0.05
    )
    for p in predictions:  # second names of the same classes, indices past 255
        p[:4] = np.where(p[:4] < 200, p[:4] + classes, p[:4])
    counts = count_video(protocol, truths, predictions)
    assert list(counts.joint.entries()) == slow_joint(truths, predictions)
    for n in (2, 3):
        assert window_rows(counts, n) == slow_windows(protocol, truths, predictions, n)


def test_eight_bit_predictions_of_a_large_vocabulary_keep_255_as_other():
    protocol = make_protocol(seen=(True,) * 253, vocabulary=[*range(253), *range(10)], windows=())
    counts = count_video(protocol, [image([[1, 1]])], [image([[255, 254]])])
    assert list(counts.joint.entries()) == [(1, -1, 1), (1, 254, 1)]


def test_tables_of_more_than_254_classes():
    table = np.full(65536, 65534, np.uint16)
    table[1:401] = np.arange(400)
    table[0] = 65535
    counter = VideoCounter(table, np.arange(400), range(400), (2,))
    truth = np.array([[0, 256, 300, 400]], np.uint16)
    prediction = np.array([[65535, 255, 299, 255]], np.uint16)
    for _ in range(2):
        counter.update(truth, prediction)
    counts = counter.finish()
    assert window_rows(counts, 2) == [(0, 4, 4, 4, 4, 3, 2, 3)]
    assert list(counts.joint.entries()) == [(0, -1, 2), (256, 255, 2), (300, 299, 2), (400, 255, 2)]
    with pytest.raises(LabelError, match="401"):
        VideoCounter(table, np.arange(400), range(400)).update(truth + 1, prediction)


def test_windows_longer_than_byte_counters_and_videos_longer_than_their_clip():
    protocol = make_protocol(windows=(2, 200, 230))
    rng = np.random.default_rng(3)
    truths, predictions = random_video(rng, protocol, frames=520, size=(2, 3), flip=0.002)
    counts = count_video(protocol, truths, predictions)
    for n in protocol.windows:
        assert window_rows(counts, n) == slow_windows(protocol, truths, predictions, n)
    short = make_protocol(windows=(8, 200))
    counts = count_video(short, truths, predictions)
    assert window_rows(counts, 200) == slow_windows(short, truths, predictions, 200)


def test_noise_and_flat_maps_take_different_paths_to_the_same_histogram():
    protocol = make_protocol(seen=(True,) * 100, windows=())
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 101, (64, 64)).astype(np.uint8), rng.integers(0, 100, (64, 64)).astype(np.uint8)
    ordered = np.lexsort((noise[1].ravel(), noise[0].ravel()))
    flat = tuple(m.ravel()[ordered].reshape(64, 64) for m in noise)
    frames = [noise, flat]
    each = [count_video(protocol, [t], [p]).joint for t, p in frames]
    assert each[0] == each[1]
    many = count_video(protocol, [t for t, _ in frames] * 20, [p for _, p in frames] * 20).joint
    assert sum(many.pixels) == 40 * 64 * 64 and many == Joint.of(
        e for _ in range(40) for e in each[0].entries()
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_merging_is_commutative_and_json_round_trips(seed):
    rng = np.random.default_rng(seed)
    protocol = make_protocol(windows=(2, 3))
    videos = [
        count_video(protocol, *random_video(rng, protocol, frames=int(rng.integers(0, 6)))) for _ in range(3)
    ]
    a, b, c = (v.joint for v in videos)
    assert (a + b) + c == c + (b + a) == a + (c + b)
    for v in videos:
        assert VideoCounts.from_json(v.to_json()) == v
        assert VideoCounts.from_json(v.to_json()).to_json() == v.to_json()


def test_buffers_of_the_caller_may_be_reused():
    protocol = make_protocol(windows=(2,))
    truth, prediction = np.full((2, 2), 1, np.uint8), np.zeros((2, 2), np.uint8)
    counter = VideoCounter(protocol.truth_table, protocol.class_of_vocabulary, (0, 1, 2), (2,))
    counter.update(truth, prediction)
    truth[:], prediction[:] = 2, 1
    counter.update(truth, prediction)
    assert window_rows(counter.finish(), 2) == [(0, 0, 0, 0, 0, 0, 0, 0)]


def test_inputs_are_left_as_they_were_and_may_be_read_only_or_strided():
    protocol = make_protocol(windows=(2,))
    truth = np.tile(np.arange(1, 4, dtype=np.uint8), (4, 2))[:, ::2]
    prediction = np.asfortranarray(np.tile(np.arange(3, dtype=np.uint8), (4, 1)))
    for array in (truth, prediction):
        array.setflags(write=False)
    before = truth.copy(), prediction.copy()
    counts = count_video(protocol, [truth] * 2, [prediction] * 2)
    assert (truth == before[0]).all() and (prediction == before[1]).all()
    assert list(counts.joint.entries()) == slow_joint([truth] * 2, [prediction] * 2)


def test_an_unannotated_frame_is_counted_nowhere_and_breaks_windows():
    protocol = make_protocol(windows=(2,))
    truth, prediction = image([[1, 2]]), image([[0, 1]])
    counts = count_video(protocol, [truth, None, truth, truth], [prediction] * 4)
    assert (counts.frames, counts.annotated, counts.dense) == (4, 3, False)
    assert sum(counts.joint.pixels) == 6
    assert counts.windows[2].start == (2,)


def test_tags_are_counted_apart_and_again_in_the_whole():
    protocol = make_protocol(windows=())
    truth = image([[1, 2]])
    counts = count_video(
        protocol, [truth, truth, None], [image([[0, 1]]), image([[1, 1]]), image([[0, 0]])],
        tags=["clean", "corrupted", "clean"],
    )  # fmt: skip
    assert {t: c.frames for t, c in counts.tags.items()} == {"clean": 1, "corrupted": 1}
    assert counts.tags["clean"].joint + counts.tags["corrupted"].joint == counts.joint


@pytest.mark.parametrize("noise", [False, True])
def test_undeclared_labels_are_named_on_their_frame(noise):
    protocol = make_protocol(windows=(2,))
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 4, (20, 20)).astype(np.uint8) if noise else np.ones((20, 20), np.uint8)
    good = np.zeros((20, 20), np.uint8)
    bad_truth, bad_guess = truth.copy(), good.copy()
    bad_truth[3, 3], bad_guess[0, 0] = 77, 3
    counter = VideoCounter(protocol.truth_table, protocol.class_of_vocabulary, (0, 1, 2), (2,))
    counter.update(truth, good)
    with pytest.raises(LabelError) as caught:
        counter.update(bad_truth, good)
    assert (caught.value.value, caught.value.kind) == (77, "truth")
    with pytest.raises(LabelError) as caught:
        counter.update(truth, bad_guess)
    assert (caught.value.value, caught.value.kind) == (3, "prediction")
    with pytest.raises(LabelError) as caught:
        counter.update(truth, good.astype(np.uint16) + 300)
    assert caught.value.value == 300
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_a_prediction_outside_the_vocabulary_is_refused_on_void_too():
    protocol = make_protocol(windows=())
    with pytest.raises(LabelError):
        count_video(protocol, [image([[0, 255]])], [image([[9, 0]])])


def test_sizes_that_differ():
    protocol = make_protocol(windows=(2,))
    small, large = np.ones((2, 3), np.uint8), np.ones((4, 6), np.uint8)
    with pytest.raises(SizeError, match=r"2 x 3 and 4 x 6") as caught:
        count_video(protocol, [small], [large])
    assert (caught.value.first, caught.value.second) == ((2, 3), (4, 6))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(SizeError, match="changes inside a video"):
        count_video(protocol, [small, large], [small, large])
    counts = count_video(make_protocol(windows=()), [small, large], [small, large])
    assert sum(counts.joint.pixels) == 30 and (counts.height, counts.width) == (2, 3)
    counts = count_video(protocol, [small, None, large, large], [small, large, large, large])
    assert counts.windows[2].start == (2,)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8), [[0]], np.zeros((0, 4), np.uint8)]
)
def test_other_arrays_are_refused(bad):
    protocol = make_protocol(windows=())
    with pytest.raises(UserError):
        count_video(protocol, [np.ones((2, 2), np.uint8)], [bad])
    with pytest.raises(UserError):
        count_video(protocol, [bad], [np.ones((2, 2), np.uint8)])


def test_an_empty_video():
    counts = count_video(make_protocol(windows=(8,)), [], [], listed=1)
    assert counts.frames == 0 and counts.listed_files == 1 and counts.joint == Joint()
    assert VideoCounts.from_json(counts.to_json()) == counts


@pytest.mark.parametrize(
    "damage",
    [
        lambda j: j.pop("frames"),
        lambda j: j.update(frames=-1),
        lambda j: j.update(annotated=99),
        lambda j: j["joint"]["pixels"].pop(),
        lambda j: j["joint"]["pixels"].__setitem__(0, 0),
        lambda j: j["joint"]["pixels"].__setitem__(0, 1.5),
        lambda j: j["joint"]["truth"].reverse(),
        lambda j: j["joint"]["truth"].__setitem__(-1, 70000),
        lambda j: j["windows"]["2"]["script_num"].__setitem__(0, 10**6),
        lambda j: j.update(windows=[]),
        lambda j: j.update(joint=None),
    ],
)
def test_damaged_counts_are_an_integrity_error(damage):
    truth = image([[1, 2]])
    value = count_video(make_protocol(windows=(2,)), [truth] * 3, [image([[0, 1]])] * 3).to_json()
    damage(value)
    with pytest.raises(IntegrityError):
        VideoCounts.from_json(value)


def test_a_name_without_a_class_is_never_right():
    table = np.full(65536, 254, np.uint8)
    table[[1, 2]], table[0] = (0, 1), 255
    counter = VideoCounter(table, np.array([-1, 1, -1, 0]), (0, 1), (2,))
    for _ in range(2):
        counter.update(image([[1, 1, 2, 2, 0]]), image([[3, 0, 1, 2, 0]]))
    assert window_rows(counter.finish(), 2) == [(0, 5, 5, 5, 5, 4, 2, 4)]


def test_memory_does_not_grow_with_the_video():
    protocol = make_protocol(windows=(8, 16))
    truth, prediction = np.ones((200, 300), np.uint8), np.zeros((200, 300), np.uint8)
    peaks = []
    for frames in (40, 400):
        tracemalloc.start()
        counter = VideoCounter(protocol.truth_table, protocol.class_of_vocabulary, (0, 1, 2), (8, 16))
        for _ in range(frames):
            counter.update(truth, prediction)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 400_000  # integers per window; one frame more would be 60 kB each
