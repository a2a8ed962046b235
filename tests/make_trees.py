"""Small trees in the real layouts of VSPW, Cityscapes and CamVid, oddities on request.

Frames are a background with a few moving rectangles; every rectangle has a real id, and over the
videos of a split the ids go round, so that all classes of a protocol can occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovbench.protocol.schema import ClassInfo, DatasetSpec, Protocol

SIZE = (24, 40)  # height, width
OBJECTS = 5

VSPW_IDS = tuple(range(1, 125))
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CAMVID_IDS = tuple(range(11))


def scene(ids: Sequence[int], frames: int, seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """(frames, H, W) uint8 masks: ids[0] behind, one moving rectangle for each further id."""
    height, width = size
    rng = np.random.default_rng(seed)
    masks = np.full((frames, height, width), ids[0], np.uint8)
    for k, raw in enumerate(ids[1:]):
        h, w = int(rng.integers(4, 9)), int(rng.integers(5, 12))
        top = k * (height - h) // max(1, len(ids) - 2)
        left, speed = int(rng.integers(0, width)), int(rng.integers(-2, 3))
        for t in range(frames):
            columns = (left + speed * t + np.arange(w)) % width
            masks[t, top : top + h, columns] = raw
    return masks


def paint(mask: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 photograph of a mask: a colour for each id, and some grain."""
    colours = np.random.default_rng(7).integers(30, 226, (256, 3))
    grain = np.random.default_rng(seed).integers(-8, 9, (*mask.shape, 1))
    return np.clip(colours[mask] + grain, 0, 255).astype(np.uint8)


def save_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


def save_palette(path: Path, mask: NDArray[np.uint8]) -> None:
    """A palette PNG like VSPW's and CamVid's: indices with colours attached."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask)
    picture.putpalette(np.random.default_rng(3).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(path)


def ids_of(pool: Sequence[int], number: int, count: int = OBJECTS + 1) -> list[int]:
    """The ids of video `number`: the pool goes round from video to video."""
    return [pool[(number * count + k) % len(pool)] for k in range(count)]


def make_vspw(
    root: Path,
    videos: Mapping[str, int] | None = None,
    *,
    split: str = "val",
    ids: Sequence[int] = VSPW_IDS,
    oddities: bool = False,
    size: tuple[int, int] = SIZE,
    images: bool = True,
) -> Path:
    """A tree of VSPW: `videos` maps each name to its number of frames.

    Frame stems start at 1 and grow by 1, eight digits, as in the release. With `oddities`:
    ids 252..255 and 0 in every video, hidden files (`.DS_Store`, `._00000001.png`) in the first
    video's folders, the second video's second frame unannotated, and a list with CRLF, a blank
    line, a repeated line and no final newline.
    """
    videos = {"101_aB-c": 20, "7_short": 5, "1001_mid_d": 12} if videos is None else videos
    for number, (name, frames) in enumerate(videos.items()):
        folder = root / "data" / name
        for t, mask in enumerate(scene(ids_of(ids, number), frames, seed=number, size=size)):
            if oddities:
                mask[0, :5] = (0, 252, 253, 254, 255)
            if images:
                save_image(folder / "origin" / f"{t + 1:08d}.jpg", paint(mask, t))
            if not (oddities and number == 1 and t == 1):
                save_palette(folder / "mask" / f"{t + 1:08d}.png", mask)
        if oddities and number == 0:
            (folder / "mask" / ".DS_Store").write_bytes(b"\0")
            (folder / "mask" / "._00000001.png").write_bytes(b"\0")
            if images:
                (folder / "origin" / "._00000001.jpg").write_bytes(b"\0")
    names = list(videos)
    if oddities:
        text = "\r\n".join([names[0], "", *names[1:], names[0], names[-1]])
    else:
        text = "".join(f"{n}\n" for n in names)
    (root / f"{split}.txt").write_bytes(text.encode())
    return root


def make_cityscapes(
    root: Path,
    snippets: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    *,
    split: str = "val",
    sequence: bool = True,
    label: str = "labelIds",
    oddities: bool = False,
    size: tuple[int, int] = SIZE,
    images: bool = True,
) -> Path:
    """A tree of Cityscapes: `snippets` maps a city to (sequence, labelled frame) pairs.

    `sequence=False` makes plain `leftImg8bit` (labelled frames alone); `label` is "labelIds" or
    "labelTrainIds". With `oddities`: void label ids 0..6 and 255, a hidden file, and the other
    files of gtFine (colour, instance ids, polygons) beside the masks.
    """
    if snippets is None:
        snippets = {"frankfurt": [(0, 294), (0, 576)], "munster": [(3, 19)]}
    pool = CITYSCAPES_LABEL_IDS if label == "labelIds" else tuple(range(19))
    photos = root / ("leftImg8bit_sequence" if sequence else "leftImg8bit") / split
    number = 0
    for city, pairs in snippets.items():
        for seq, labelled in pairs:
            masks = scene(ids_of(pool, number), 30, seed=number, size=size)
            for t in range(30):
                stem = f"{city}_{seq:06d}_{labelled - 19 + t:06d}"
                if images and (sequence or t == 19):
                    save_image(photos / city / f"{stem}_leftImg8bit.png", paint(masks[t], t))
            if oddities:
                masks[19, 0, :8] = (0, 1, 2, 3, 4, 5, 6, 255) if label == "labelIds" else 255
            truth = root / "gtFine" / split / city
            stem = f"{city}_{seq:06d}_{labelled:06d}_gtFine"
            truth.mkdir(parents=True, exist_ok=True)
            Image.fromarray(masks[19]).save(truth / f"{stem}_{label}.png")
            if oddities:
                save_image(truth / f"{stem}_color.png", paint(masks[19]))
                Image.fromarray(masks[19].astype(np.uint16) * 1000).save(truth / f"{stem}_instanceIds.png")
                (truth / f"{stem}_polygons.json").write_text("{}")
                (truth / f"._{stem}_{label}.png").write_bytes(b"\0")
            number += 1
    return root


def make_camvid(
    root: Path,
    videos: Mapping[str, Sequence[int]] | None = None,
    *,
    split: str = "val",
    suffix: str = "png",
    oddities: bool = False,
    size: tuple[int, int] = SIZE,
    images: bool = True,
) -> Path:
    """A tree of CamVid in the SegNet layout: `videos` maps a prefix to its frame numbers.

    The prefix 0006R0 writes its numbers with an 'f', as the release does. With `oddities`:
    void (11) in every mask and hidden files in both folders.
    """
    if videos is None:
        videos = {"0016E5": range(7959, 7979, 2), "0006R0": range(930, 1170, 30)}
    for number, (prefix, numbers) in enumerate(videos.items()):
        masks = scene(ids_of(CAMVID_IDS, number), len(numbers), seed=number, size=size)
        for t, frame in enumerate(numbers):
            stem = f"{prefix}_f{frame:05d}" if prefix == "0006R0" else f"{prefix}_{frame:05d}"
            if oddities:
                masks[t, 0, :4] = 11
            if images:
                save_image(root / split / f"{stem}.{suffix}", paint(masks[t], t))
            save_palette(root / f"{split}annot" / f"{stem}.png", masks[t])
    if oddities:
        for folder in (root / split, root / f"{split}annot"):
            if folder.is_dir():
                (folder / ".DS_Store").write_bytes(b"\0")
    return root


def make_protocol(
    dataset_name: str,
    raw_ids: Sequence[int],
    *,
    split: str = "val",
    train_split: str | None = None,
    ignore_ids: Sequence[int] = (255,),
    unseen: Sequence[int] = (),
    windows: Sequence[int] = (8, 16),
    **changes: Any,
) -> Protocol:
    """A protocol by hand: one class per raw id, all scored, all in the vocabulary."""
    rows = tuple(
        ClassInfo((i,), f"class-{i}", f"class {i}", (), i not in unseen, "", (i, i, i)) for i in raw_ids
    )
    every = tuple(range(len(rows)))
    fields: dict[str, Any] = {
        "id": f"test-{dataset_name}",
        "version": 1,
        "title": "test",
        "description": "",
        "dataset": DatasetSpec(dataset_name, split, train_split),
        "classes": rows,
        "ignore_ids": tuple(ignore_ids),
        "groups": {
            "all": every,
            "seen": tuple(c for c in every if rows[c].seen),
            "unseen": tuple(c for c in every if not rows[c].seen),
        },
        "vocabulary_mode": "all",
        "vocabulary_classes": every,
        "scored": "all",
        "scored_classes": every,
        "name_variant": "clean",
        "template_set": "plain",
        "templates": ("a photo of a {}.",),
        "resize": "native",
        "convention": "gt-present",
        "windows": tuple(windows),
        "temporal_modes": ("script", "clean", "correct"),
        "headline_group": "all",
        "notes": (),
        "hash": "0" * 64,
    }
    return Protocol(**{**fields, **changes})
