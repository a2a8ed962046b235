from __future__ import annotations

import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from make_trees import VSPW_IDS, make_protocol, make_vspw, paint, save_image, save_palette, scene
from PIL import Image

from ovbench.core.errors import UserError
from ovbench.datasets.open import open_dataset

PROTOCOL = make_protocol("vspw", VSPW_IDS, train_split="train", ignore_ids=(0, 255))


def test_frames_masks_and_order(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_vspw(tmp_path, {"b_2": 4, "a_10": 12}))
    assert list(data.video_ids) == ["b_2", "a_10"]  # the order of the list, not of the folder
    video = data.open("b_2")
    assert video.frame_names == ("00000001", "00000002", "00000003", "00000004")
    assert len(video) == data.frame_count("b_2") == video.listed_files == 4 and video.dense
    for t in range(4):
        expected = np.asarray(Image.open(tmp_path / "data" / "b_2" / "mask" / f"0000000{t + 1}.png"))
        np.testing.assert_array_equal(video.truth(t), expected)
        assert video.image(t).shape == (*expected.shape, 3) and not video.image(t).flags.writeable


@pytest.mark.parametrize("below", ["", "VSPW_480p", "VSPW"])
def test_the_root_may_be_one_above_or_the_data_folder(tmp_path: Path, below: str) -> None:
    tree = make_vspw(tmp_path / below if below else tmp_path)
    assert len(open_dataset(PROTOCOL, tmp_path).video_ids) == 3
    assert len(open_dataset(PROTOCOL, tree / "data").video_ids) == 3


@pytest.mark.parametrize("text", ["a\nb\n", "a\nb", "a\r\nb\r\n", "\n a \n\nb\n\n", "\ufeffa\nb\na\n"])
def test_list_files_as_people_save_them(tmp_path: Path, text: str) -> None:
    make_vspw(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "val.txt").write_bytes(text.encode())
    assert list(open_dataset(PROTOCOL, tmp_path).video_ids) == ["a", "b"]


def test_oddities(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_vspw(tmp_path, {"a": 16, "b": 5, "c": 3}, oddities=True))
    assert list(data.video_ids) == ["a", "b", "c"]
    first, second = data.open("a"), data.open("b")
    assert len(first) == 16 and first.listed_files == 18  # .DS_Store and ._00000001.png
    assert {0, 252, 253, 254, 255} <= set(np.unique(first.truth(0)).tolist())
    assert [second.annotated(t) for t in range(5)] == [True, False, True, True, True]
    assert not second.dense and second.listed_files == 4
    with pytest.raises(UserError, match="no mask"):
        second.truth(1)


def test_frames_without_leading_zeros_go_by_number(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 11})
    for kind, suffix in (("origin", "jpg"), ("mask", "png")):
        for t in range(1, 12):
            folder = tmp_path / "data" / "a" / kind
            (folder / f"{t:08d}.{suffix}").rename(folder / f"{t}.{suffix}")
    assert open_dataset(PROTOCOL, tmp_path).open("a").frame_names == tuple(str(t) for t in range(1, 12))


def test_scoring_without_photographs(tmp_path: Path) -> None:
    make_vspw(tmp_path / "with", {"a": 6})
    make_vspw(tmp_path / "without", {"a": 6}, images=False)
    a = open_dataset(PROTOCOL, tmp_path / "with", need_images=False).open("a")
    b = open_dataset(PROTOCOL, tmp_path / "without", need_images=False).open("a")
    assert a.frame_names == b.frame_names and a.listed_files == b.listed_files
    for t in range(6):
        np.testing.assert_array_equal(a.truth(t), b.truth(t))
    with pytest.raises(UserError, match="no image"):
        b.image(0)
    with pytest.raises(UserError, match="no image for 6 masks"):
        open_dataset(PROTOCOL, tmp_path / "without").open("a")


def test_missing_image_of_one_frame(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 6})
    (tmp_path / "data" / "a" / "origin" / "00000003.jpg").unlink()
    with pytest.raises(UserError, match="'00000003'"):
        open_dataset(PROTOCOL, tmp_path).open("a")
    assert len(open_dataset(PROTOCOL, tmp_path, need_images=False).open("a")) == 6


def test_the_same_stem_twice(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 3})
    save_image(tmp_path / "data" / "a" / "origin" / "00000002.png", paint(scene([1], 1)[0]))
    with pytest.raises(UserError, match=r"exists 2 times: 00000002\.jpg, 00000002\.png"):
        open_dataset(PROTOCOL, tmp_path).open("a")


def test_masks_missing_altogether(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 3}, split="val")
    shutil.copy(tmp_path / "val.txt", tmp_path / "test.txt")
    shutil.rmtree(tmp_path / "data" / "a" / "mask")
    with pytest.raises(UserError, match="no masks"):
        open_dataset(PROTOCOL, tmp_path).open("a")
    hidden_truth = open_dataset(make_protocol("vspw", VSPW_IDS, split="test"), tmp_path).open("a")
    assert not any(hidden_truth.annotated(t) for t in range(3))


def test_train_split(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 2})
    make_vspw(tmp_path, {"t": 2}, split="train")
    assert list(open_dataset(PROTOCOL, tmp_path, train=True).video_ids) == ["t"]
    with pytest.raises(UserError, match="no training split"):
        open_dataset(make_protocol("vspw", VSPW_IDS), tmp_path, train=True)


def test_bad_lists(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 2})
    (tmp_path / "val.txt").write_text("a\ngone\n")
    with pytest.raises(UserError, match="1 of 2 listed videos are missing, first 'gone'"):
        open_dataset(PROTOCOL, tmp_path)
    (tmp_path / "val.txt").write_text("\n\n")
    with pytest.raises(UserError, match="empty"):
        open_dataset(PROTOCOL, tmp_path)
    (tmp_path / "val.txt").write_text("../../etc\n")
    with pytest.raises(UserError):
        open_dataset(PROTOCOL, tmp_path)
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file"):
        open_dataset(PROTOCOL, tmp_path)
    (tmp_path / "val.txt").unlink()
    with pytest.raises(UserError, match="no list of videos"):
        open_dataset(PROTOCOL, tmp_path)


def test_unknown_video_suggests_near_names(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_vspw(tmp_path))
    with pytest.raises(UserError, match="did you mean 7_short"):
        data.open("7_shorts")


def test_images_prefetches_the_same_frames_and_leaks_no_thread(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_vspw(tmp_path, {"a": 40}))
    before = threading.active_count()
    video, plain = data.open("a"), data.open("a")
    for t, image in enumerate(video.images()):
        np.testing.assert_array_equal(image, plain.image(t))
    stopped = iter(data.open("a").images())
    next(stopped)
    del stopped
    assert threading.active_count() == before


def test_a_truncated_frame_is_named_even_when_prefetched(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 4})
    path = tmp_path / "data" / "a" / "origin" / "00000003.jpg"
    path.write_bytes(path.read_bytes()[:300])
    video = open_dataset(PROTOCOL, tmp_path).open("a")
    seen = 0
    with pytest.raises(UserError, match=r"00000003\.jpg"):
        for _ in video.images():
            seen += 1
    assert seen == 2 and video.image(3).shape[2] == 3


def test_a_data_set_travels_to_workers(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_vspw(tmp_path, {"a": 2}))
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.open("a").image(1), data.open("a").image(1))


def test_sixteen_bit_and_palette_masks_mean_the_same(tmp_path: Path) -> None:
    make_vspw(tmp_path, {"a": 2})
    mask = scene([3, 9], 1)[0]
    folder = tmp_path / "data" / "a" / "mask"
    save_palette(folder / "00000001.png", mask)
    Image.fromarray(mask.astype(np.uint16)).save(folder / "00000002.png")
    video = open_dataset(PROTOCOL, tmp_path).open("a")
    assert video.truth(0).dtype == np.uint8 and video.truth(1).dtype == np.uint16
    np.testing.assert_array_equal(video.truth(0), video.truth(1))
