from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from make_trees import CAMVID_IDS, make_camvid, make_protocol, paint, save_image, scene

from ovbench.core.errors import UserError
from ovbench.datasets.open import open_dataset

PROTOCOL = make_protocol("camvid", CAMVID_IDS, train_split="train", ignore_ids=(11,))


def test_videos_by_prefix_in_numeric_order(tmp_path: Path) -> None:
    make_camvid(tmp_path, {"0016E5": [7959, 10001, 990], "0006R0": [930, 1860]}, oddities=True)
    data = open_dataset(PROTOCOL, tmp_path)
    assert list(data.video_ids) == ["0006R0", "0016E5"]
    assert data.open("0006R0").frame_names == ("0006R0_f00930", "0006R0_f01860")
    assert data.open("0016E5").frame_names == ("0016E5_00990", "0016E5_07959", "0016E5_10001")
    assert data.open("0016E5").listed_files == 3
    assert 11 in data.open("0016E5").truth(0)


def test_jpeg_photographs_and_the_folder_above(tmp_path: Path) -> None:
    make_camvid(tmp_path / "CamVid", split="train", suffix="jpg")
    data = open_dataset(PROTOCOL, tmp_path, train=True)
    assert data.open("0016E5").dense and data.open("0016E5").image(0).dtype == np.uint8


def test_scoring_without_photographs(tmp_path: Path) -> None:
    make_camvid(tmp_path, images=False)
    assert len(open_dataset(PROTOCOL, tmp_path, need_images=False).open("0016E5")) == 10
    with pytest.raises(UserError, match="no image"):
        open_dataset(PROTOCOL, tmp_path).open("0016E5")


def test_missing_mask_is_an_unannotated_frame(tmp_path: Path) -> None:
    make_camvid(tmp_path)
    (tmp_path / "valannot" / "0016E5_07961.png").unlink()
    video = open_dataset(PROTOCOL, tmp_path).open("0016E5")
    assert not video.annotated(1) and video.annotated(2)


def test_a_foreign_name(tmp_path: Path) -> None:
    make_camvid(tmp_path)
    save_image(tmp_path / "val" / "cover.png", paint(scene([1], 1)[0]))
    with pytest.raises(UserError, match="'cover' is no CamVid frame name"):
        open_dataset(PROTOCOL, tmp_path)


def test_the_real_camvid(camvid_root: Path) -> None:
    val = open_dataset(PROTOCOL, camvid_root)
    assert list(val.video_ids) == ["0016E5"]
    video = val.open("0016E5")
    assert len(video) == 101 and video.dense
    assert video.frame_names[0] == "0016E5_07959" and video.frame_names[-1] == "0016E5_08159"
    assert video.image(0).shape == (360, 480, 3) and video.truth(0).shape == (360, 480)
    assert set(np.unique(video.truth(0)).tolist()) <= set(range(12))
    train = open_dataset(PROTOCOL, camvid_root, train=True)
    counts = {v: train.frame_count(v) for v in train.video_ids}
    assert counts == {"0001TP": 62, "0006R0": 101, "0016E5": 204}
