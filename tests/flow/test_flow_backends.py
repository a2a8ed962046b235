"""Backends: what they find, what decides their result, and what they say when they cannot."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ovbench.core.errors import IncompleteError, UserError
from ovbench.datasets.base import ArrayVideo
from ovbench.flow.compare import FlowSet
from ovbench.flow.files import FileFlow
from ovbench.flow.open import KINDS, FlowSpec, key_parts, open_backend, parse, parse_all


def picture(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Smooth random blobs, so that there is something to follow."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(float)
    fine = coarse.repeat(8, 0).repeat(8, 1)
    for axis in (0, 1):
        fine = sum(np.roll(fine, k, axis) for k in range(-4, 5)) / 9
    return fine[:height, :width].astype(np.uint8)


@pytest.fixture
def shifted() -> ArrayVideo:
    """Three frames, each three pixels to the right of and one below the one before."""
    whole = picture(128, 160)
    shots = [whole[16 - t : 112 - t, 16 - 3 * t : 144 - 3 * t] for t in range(3)]
    return ArrayVideo(np.stack(shots), video_id="shifted")


@pytest.mark.parametrize("kind", ["dis", "dis-fast", "dis-ultrafast", "farneback"])
def test_opencv_finds_a_shift_both_ways(kind, shifted):
    pytest.importorskip("cv2")
    backend = open_backend(parse(kind))
    for source, target, sign in ((0, 1, 1), (1, 0, -1), (1, 2, 1)):
        flow = backend.of(shifted, source, target)
        assert flow.shape == (96, 128, 2) and flow.dtype == np.float32
        middle = np.median(flow[24:-24, 24:-24].reshape(-1, 2), axis=0)
        assert np.abs(middle - [3 * sign, sign]).max() < 0.35


def test_every_frame_is_decoded_and_prepared_once(shifted):
    pytest.importorskip("cv2")
    looked: list[int] = []

    class Watched(ArrayVideo):
        def image(self, index):
            looked.append(index)
            return super().image(index)

    video = Watched(shifted._frames)
    comparison = FlowSet(parse_all(["dis", "dis-fb"])).video(video)
    for _ in range(3):
        comparison.update(np.zeros((96, 128), np.uint8))
    counts = comparison.finish()
    assert looked == [0, 1, 2]
    assert list(counts) == ["dis", "dis-fb"] and all(len(c.pairs) == 2 for c in counts.values())
    assert sum(counts["dis-fb"].excluded) >= sum(counts["dis"].excluded) > 0


def test_opencv_keeps_its_number_of_threads_and_the_result(shifted):
    cv2 = pytest.importorskip("cv2")
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        one = open_backend(parse("dis"), threads=1).of(shifted, 0, 1)
        assert cv2.getNumThreads() == 2
        cv2.setNumThreads(1)
        assert np.array_equal(one, open_backend(parse("dis"), threads=1).of(shifted, 0, 1))
    finally:
        cv2.setNumThreads(before)


def test_pictures_that_are_too_small_are_named():
    pytest.importorskip("cv2")
    for size in ((4, 4), (7, 30), (11, 11)):
        blank = ArrayVideo(np.zeros((2, *size, 3), np.uint8))
        with pytest.raises(UserError, match="{}x{}".format(*size)) as caught:
            open_backend(parse("dis")).of(blank, 0, 1)
        assert "--flow farneback" in str(caught.value)
        assert open_backend(parse("farneback")).of(blank, 0, 1).shape == (*size, 2)
    for size in ((20, 8), (8, 12)):
        blank = ArrayVideo(np.zeros((2, *size, 3), np.uint8))
        assert open_backend(parse("dis")).of(blank, 0, 1).shape == (*size, 2)


def test_pictures_of_two_sizes_are_named():
    pytest.importorskip("cv2")
    video = ArrayVideo([np.zeros((20, 20, 3), np.uint8), np.zeros((24, 20, 3), np.uint8)])
    for kind in ("dis", "farneback"):
        with pytest.raises(UserError, match="different sizes: 20x20 and 24x20") as caught:
            open_backend(parse(kind)).of(video, 0, 1)
        assert "farneback" not in str(caught.value)


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="opencv-python-headless") as caught:
        key_parts(parse("dis"), [], "cpu")
    assert "-m pip install" in str(caught.value.hint) and "[flow]" in str(caught.value.hint)


def test_names(tmp_path):
    assert parse("dis-fb") == FlowSpec("dis", None, True) and parse("dis-fb").name == "dis-fb"
    assert parse(f"raft-small-fb={tmp_path}").name == "raft-small-fb"
    assert [s.name for s in parse_all(["farneback", "dis-fb", "dis", "dis"])] == [
        "dis",
        "dis-fb",
        "farneback",
    ]
    for wrong, said in (
        ("diss", "did you mean dis"),
        ("dis=x", "takes no path"),
        ("files=", "empty path"),
        ("", "Known"),
    ):
        with pytest.raises(UserError) as caught:
            parse(wrong)
        assert said in str(caught.value)
    with pytest.raises(UserError, match="two flows named 'files'"):
        parse_all(["files=a", "files=b"])
    assert set(KINDS) >= {"dis", "farneback", "raft-small", "raft-large", "files"}


def save(folder, video, frame, array, back=False):
    place = folder / video / "back" if back else folder / video
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / f"{frame}.npy", array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_flow_from_files(tmp_path, dtype):
    video = ArrayVideo(np.zeros((3, 4, 5, 3), np.uint8), video_id="v")
    flow = np.full((4, 5, 2), (1, 0), dtype)
    flow[0, 0] = np.nan
    for frame in ("00000", "00001"):
        save(tmp_path, "v", frame, flow)
        save(tmp_path, "v", frame, -flow, back=True)
    labels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    comparison = FlowSet(parse_all([f"files={tmp_path}", f"files-fb={tmp_path}"])).video(video)
    for t in range(3):
        comparison.update(np.roll(labels, t, axis=1))
    counts = comparison.finish()
    assert counts["files"].excluded == (5, 5)  # the last column, and one pixel without flow
    assert all((a == b).all() for _, a, b, _ in counts["files"].pairs)
    # the backward flow of the pixel that others lead to is unknown at (0, 0) only, where nothing leads
    assert counts["files-fb"].excluded == (5, 5)


def test_bad_flow_files_are_named(tmp_path):
    video = ArrayVideo(np.zeros((2, 4, 5, 3), np.uint8), video_id="v")
    backend = FileFlow(tmp_path)
    with pytest.raises(IncompleteError, match="missing") as caught:
        backend.of(video, 0, 1)
    assert "00000.npy" in str(caught.value)
    with pytest.raises(IncompleteError, match="back"):
        backend.of(video, 1, 0)
    for array, said in (
        (np.zeros((4, 5), np.float32), "no flow"),
        (np.zeros((4, 5, 3), np.float32), "no flow"),
        (np.zeros((4, 5, 2), np.int32), "int32"),
        (np.full((4, 5, 2), np.nan, np.float32), "not finite anywhere"),
        (np.array([{"a": 1}], object), "no array"),
    ):
        save(tmp_path, "v", "00000", array)
        with pytest.raises(UserError, match=said) as caught:
            backend.of(video, 0, 1)
        assert "00000.npy" in str(caught.value)
    with open(tmp_path / "v" / "00000.npy", "wb") as stream:  # claims 80 GB
        claim = {"descr": "<f4", "fortran_order": False, "shape": (100_000, 100_000, 2)}
        np.lib.format.write_array_header_1_0(stream, claim)
    with pytest.raises(UserError, match="truncated or damaged"):
        backend.of(video, 0, 1)
    (tmp_path / "v" / "00000.npy").write_bytes(b"\x93NUMPY\x01\x00 not really")
    with pytest.raises(UserError, match="no array"):
        backend.of(video, 0, 1)
    save(tmp_path, "v", "00000", np.zeros((5, 4, 2), np.float32))
    comparison = FlowSet([parse(f"files={tmp_path}")]).video(video)
    comparison.update(np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match="5x4.*4x5") as caught:
        comparison.update(np.zeros((4, 5), np.uint8))
    assert "video 'v', frame '00000'" in str(caught.value)
    with pytest.raises(UserError, match="no folder"):
        FileFlow(tmp_path / "absent")


def test_the_key_of_flow_files_changes_with_the_files(tmp_path):
    save(tmp_path, "v", "00000", np.zeros((4, 5, 2), np.float32))
    spec = parse(f"files={tmp_path}")
    before = key_parts(spec, ["v"], "cpu")
    assert before == key_parts(spec, ["v"], "cpu")
    save(tmp_path, "v", "00001", np.zeros((4, 5, 2), np.float32))
    assert before != key_parts(spec, ["v"], "cpu")


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory):
    torch = pytest.importorskip("torch")
    optical_flow = pytest.importorskip("torchvision.models.optical_flow")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(optical_flow.raft_small(weights=None).state_dict(), path)
    return path


def test_raft_is_torchvisions_on_padded_pictures(raft_weights):
    import torch
    from torchvision.models.optical_flow import raft_small

    backend = open_backend(parse(f"raft-small={raft_weights}"))
    small, large = picture(96, 133), picture(128, 136, seed=3)
    found = backend.of(ArrayVideo(np.stack([small, np.roll(small, 2, 1)])), 0, 1)
    assert found.shape == (96, 133, 2) and found.dtype == np.float32 and np.isfinite(found).all()
    net = raft_small(weights=None).eval()
    net.load_state_dict(torch.load(raft_weights, weights_only=True))
    pair = torch.from_numpy(np.stack([large, np.roll(large, 3, 1)])).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        expected = net(pair[:1], pair[1:], num_flow_updates=20)[-1][0].permute(1, 2, 0).numpy()
    other = open_backend(parse(f"raft-small={raft_weights}"))
    again = other.flow(large, np.roll(large, 3, 1))
    assert np.abs(again - expected).max() < 1e-3
    assert np.array_equal(again, other.flow(large, np.roll(large, 3, 1)))


def test_raft_weights_are_local_and_checked(raft_weights, tmp_path):
    for text, file in (
        ("raft-small", "raft_small_C_T_V2"),
        ("raft-large=/no/such/file", "raft_large_C_T_SKHT_V2"),
    ):
        with pytest.raises(UserError) as caught:
            key_parts(parse(text), [], "cpu")
        assert file in str(caught.value.hint)
    with pytest.raises(UserError, match="do not fit"):
        open_backend(parse(f"raft-large={raft_weights}"))
    (tmp_path / "w.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match="refused|damaged"):
        open_backend(parse(f"raft-small={tmp_path / 'w.pth'}"))
    key = key_parts(parse(f"raft-small={raft_weights}"), [], "cpu")
    assert len(key["weights"]) == 64 and key["device"] == "cpu"
