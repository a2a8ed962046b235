from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from make_trees import CITYSCAPES_LABEL_IDS, make_cityscapes, make_protocol
from PIL import Image

from ovbench.core.errors import UserError
from ovbench.datasets.cityscapes import TRAIN_IDS, train_id_table
from ovbench.datasets.open import open_dataset
from ovbench.protocol.schema import DatasetSpec

PROTOCOL = make_protocol("cityscapes", range(19), windows=())


def test_the_table_is_complete() -> None:
    assert [label for label, _ in TRAIN_IDS] == list(range(34))
    assert [label for label, train in TRAIN_IDS if train != 255] == list(CITYSCAPES_LABEL_IDS)
    assert [train for _, train in TRAIN_IDS if train != 255] == list(range(19))


def test_snippets(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_cityscapes(tmp_path))
    assert list(data.video_ids) == [
        "frankfurt_000000_000294",
        "frankfurt_000000_000576",
        "munster_000003_000019",
    ]
    for video_id in data.video_ids:
        video = data.open(video_id)
        assert len(video) == 30 and [t for t in range(30) if video.annotated(t)] == [19]
        assert video.frame_names[19] == video_id
        assert video.image(0).shape[:2] == video.truth(19).shape
    assert data.open("frankfurt_000000_000294").frame_names[0] == "frankfurt_000000_000275"


def test_snippets_of_one_recording_do_not_mix(tmp_path: Path) -> None:
    # hamburg and frankfurt count on within one sequence number; snippets may touch
    tree = make_cityscapes(tmp_path, {"hamburg": [(0, 42), (0, 72), (1, 42)]})
    data = open_dataset(PROTOCOL, tree)
    names = [set(data.open(v).frame_names) for v in data.video_ids]
    assert [len(n) for n in names] == [30, 30, 30]
    assert not names[0] & names[1] and not names[0] & names[2]


def test_label_ids_become_train_ids(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_cityscapes(tmp_path, oddities=True))
    assert len(data.video_ids) == 3
    for video_id in data.video_ids:
        city = video_id.split("_")[0]
        raw = np.asarray(Image.open(tmp_path / "gtFine" / "val" / city / f"{video_id}_gtFine_labelIds.png"))
        official = dict(TRAIN_IDS) | {255: 255}
        slow = np.vectorize(official.__getitem__)(raw)
        np.testing.assert_array_equal(data.open(video_id).truth(19), slow)
    assert train_id_table()[[7, 26, 0, 255]].tolist() == [0, 13, 255, 255]


def test_train_id_files_are_taken_as_they_are(tmp_path: Path) -> None:
    data = open_dataset(PROTOCOL, make_cityscapes(tmp_path, label="labelTrainIds"))
    truth = data.open("frankfurt_000000_000294").truth(19)
    assert set(np.unique(truth).tolist()) <= set(range(19))


def test_plain_left_images_keep_the_video_names(tmp_path: Path) -> None:
    sequence = open_dataset(PROTOCOL, make_cityscapes(tmp_path / "a"))
    plain = open_dataset(PROTOCOL, make_cityscapes(tmp_path / "b", sequence=False))
    assert plain.video_ids == sequence.video_ids
    for v in plain.video_ids:
        assert len(plain.open(v)) == 1 and plain.open(v).annotated(0)
        np.testing.assert_array_equal(plain.open(v).truth(0), sequence.open(v).truth(19))
        np.testing.assert_array_equal(plain.open(v).image(0), sequence.open(v).image(19))


def test_scoring_without_photographs(tmp_path: Path) -> None:
    tree = make_cityscapes(tmp_path, images=False)
    video = open_dataset(PROTOCOL, tree, need_images=False).open("munster_000003_000019")
    assert len(video) == 1 and video.annotated(0)
    with pytest.raises(UserError, match="no photographs"):
        open_dataset(PROTOCOL, tree)


def test_missing_frames(tmp_path: Path) -> None:
    tree = make_cityscapes(tmp_path, {"ulm": [(0, 19)]})
    photos = tree / "leftImg8bit_sequence" / "val" / "ulm"
    (photos / "ulm_000000_000007_leftImg8bit.png").unlink()
    video = open_dataset(PROTOCOL, tree).open("ulm_000000_000019")
    assert len(video) == 29 and video.annotated(18)
    (photos / "ulm_000000_000019_leftImg8bit.png").unlink()
    with pytest.raises(UserError, match="labelled frame 'ulm_000000_000019'"):
        open_dataset(PROTOCOL, tree).open("ulm_000000_000019")


def test_ids_that_do_not_exist(tmp_path: Path) -> None:
    tree = make_cityscapes(tmp_path, {"ulm": [(0, 19)]})
    path = tree / "gtFine" / "val" / "ulm" / "ulm_000000_000019_gtFine_labelIds.png"
    Image.fromarray(np.full((24, 40), 40, np.uint8)).save(path)
    with pytest.raises(UserError, match="ids 40") as caught:
        open_dataset(PROTOCOL, tree).open("ulm_000000_000019").truth(19)
    assert caught.value.where == str(path)


def test_no_such_split(tmp_path: Path) -> None:
    tree = make_cityscapes(tmp_path, split="train")
    with pytest.raises(UserError, match="no split 'val'"):
        open_dataset(PROTOCOL, tree)


def test_which_ids_are_read(tmp_path: Path) -> None:
    tree = make_cityscapes(tmp_path, {"ulm": [(0, 19)]})
    other = tree / "gtFine" / "val" / "ulm" / "ulm_000000_000019_gtFine_labelTrainIds.png"
    Image.fromarray(np.full((24, 40), 5, np.uint8)).save(other)

    def truth(ids: str) -> np.ndarray:
        spec = DatasetSpec("cityscapes", "val", None, {"ids": ids})
        protocol = make_protocol("cityscapes", range(19), dataset=spec)
        return open_dataset(protocol, tree).open("ulm_000000_000019").truth(19)

    assert (truth("labelTrainIds") == 5).all()
    np.testing.assert_array_equal(truth("auto"), truth("labelIds"))
    assert len(np.unique(truth("auto"))) > 1
