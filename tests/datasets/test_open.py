from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_trees import make_protocol, paint, save_image, save_palette, scene

from ovbench.core.errors import UserError
from ovbench.datasets.folder import FolderDataset, safe_id
from ovbench.datasets.open import open_dataset, open_video
from ovbench.datasets.scan import natural
from ovbench.protocol.schema import DatasetSpec

FOLDER = make_protocol("folder", range(1, 6), split="all")


def make_folder(root: Path, videos: dict[str, int]) -> Path:
    for name, frames in videos.items():
        for t, mask in enumerate(scene([1, 2, 3], frames)):
            save_image(root / "images" / name / f"f{t}.jpg", paint(mask))
            save_palette(root / "masks" / name / f"f{t}.png", mask)
    return root


@pytest.mark.parametrize("name", ["vspw", "cityscapes", "camvid", "folder"])
def test_no_data_root_says_how_to_get_the_data(name: str) -> None:
    with pytest.raises(UserError) as caught:
        open_dataset(make_protocol(name, range(5)), None)
    text = str(caught.value)
    assert "--data-root" in text and "DATA_ROOT/" in text and "--protocol world-27-9" in text
    assert "https://" in text or name == "folder"


@pytest.mark.parametrize("name", ["vspw", "cityscapes", "camvid", "folder"])
def test_a_root_that_is_something_else(tmp_path: Path, name: str) -> None:
    protocol = make_protocol(name, range(5))
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(protocol, tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a folder"):
        open_dataset(protocol, tmp_path / "file")
    with pytest.raises(UserError, match=f"not the layout of {name}; found file") as caught:
        open_dataset(protocol, tmp_path)
    assert "DATA_ROOT/" in str(caught.value)


def test_unknown_data_set_and_option(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean vspw"):
        open_dataset(make_protocol("vspv", range(5)), tmp_path)
    spec = DatasetSpec("folder", "all", None, {"flip": True})
    with pytest.raises(UserError, match="option of data set 'folder' 'flip'"):
        open_dataset(make_protocol("folder", range(5), dataset=spec), tmp_path)


def test_folder_of_videos(tmp_path: Path) -> None:
    make_folder(tmp_path, {"v10": 12, "v9": 3})
    data = open_dataset(FOLDER, tmp_path)
    assert list(data.video_ids) == ["v9", "v10"]
    assert data.open("v10").frame_names == tuple(f"f{t}" for t in range(12))
    np.testing.assert_array_equal(data.open("v9").truth(1), scene([1, 2, 3], 3)[1])
    (tmp_path / "mine.txt").write_text("v10")
    assert list(FolderDataset(tmp_path, "mine").video_ids) == ["v10"]
    with pytest.raises(UserError, match="no list of videos"):
        FolderDataset(tmp_path, "other").video_ids  # noqa: B018
    (tmp_path / "mine.txt").write_text("v11")
    with pytest.raises(UserError, match="first 'v11'"):
        open_dataset(make_protocol("folder", range(1, 6), split="mine"), tmp_path)


def test_flat_folder_is_one_video(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "my drive", {"": 4})
    data = open_dataset(FOLDER, root)
    assert list(data.video_ids) == ["my_drive"] and data.open("my_drive").dense


def test_folder_without_masks_is_unannotated(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a" / "1.png", paint(scene([1], 1)[0]))
    assert not open_dataset(FOLDER, tmp_path).open("a").annotated(0)


def test_open_video(tmp_path: Path) -> None:
    for t in (10, 9, 1):
        save_image(tmp_path / "clip" / f"{t}.jpg", paint(scene([t], 1)[0]))
    (tmp_path / "clip" / "notes.txt").write_text("x")
    video = open_video(str(tmp_path / "clip"))
    assert video.frame_names == ("1", "9", "10") and video.id == "clip"
    assert not video.annotated(0) and len(list(video.images())) == 3


def test_open_video_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_video(tmp_path / "none")
    (tmp_path / "origin").mkdir()
    with pytest.raises(UserError, match="no images") as caught:
        open_video(tmp_path)
    assert "origin/" in str(caught.value)


@given(st.lists(st.integers(0, 10**9), unique=True))
def test_natural_order_is_numeric(numbers: list[int]) -> None:
    for form in ("{}", "{:012d}", "a_{}_b"):
        names = [form.format(n) for n in numbers]
        assert sorted(names, key=natural) == [form.format(n) for n in sorted(numbers)]


@given(st.text(max_size=12), st.text(max_size=12))
def test_natural_order_is_total(a: str, b: str) -> None:
    assert (natural(a) == natural(b)) == (a == b)
    assert (natural(a) < natural(b)) != (natural(b) < natural(a)) or a == b


@given(st.text(max_size=20))
def test_safe_ids_are_ids(name: str) -> None:
    from ovbench.core.paths import check_id

    assert check_id("video", safe_id(name))


def test_readers_do_not_import_torch() -> None:
    code = (
        "import sys, ovbench.datasets.verify, ovbench.datasets.verify_world, ovbench.datasets.vspw, "
        "ovbench.datasets.camvid, ovbench.datasets.cityscapes, ovbench.datasets.folder, ovbench.cli.data;"
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_protocol_may_name_its_videos(tmp_path: Path) -> None:
    make_folder(tmp_path, {"a": 1, "b": 2, "c": 1})
    spec = DatasetSpec("folder", "all", None, {}, ("c", "a"))
    protocol = make_protocol("folder", range(1, 6), dataset=spec)
    assert list(open_dataset(protocol, tmp_path).video_ids) == ["c", "a"]
    with pytest.raises(UserError, match="unknown video"):
        open_dataset(protocol, tmp_path).open("b")
    spec = DatasetSpec("folder", "all", None, {}, ("c", "x"))
    with pytest.raises(UserError, match="1 of 2 listed videos are missing, first 'x'"):
        open_dataset(make_protocol("folder", range(1, 6), dataset=spec), tmp_path)


def test_world_needs_no_root_and_takes_a_subset() -> None:
    spec = DatasetSpec("world", "test", "train", {"track": "attribute"})
    world = open_dataset(make_protocol("world", range(1, 37), dataset=spec), None)
    assert 36 <= len(world.video_ids) <= 48
    one = DatasetSpec("world", "test", "train", {}, (world.video_ids[3],))
    few = open_dataset(make_protocol("world", range(1, 37), dataset=one), None)
    assert list(few.video_ids) == [world.video_ids[3]]
    assert few.frame_count(few.video_ids[0]) == world.frame_count(world.video_ids[3])
    with pytest.raises(UserError, match="unknown video"):
        few.open(world.video_ids[0])
    bad = DatasetSpec("world", "test", None, {"track": "pair"})
    with pytest.raises(UserError, match="did you mean pairs"):
        open_dataset(make_protocol("world", range(1, 37), dataset=bad), None)
