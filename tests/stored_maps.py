"""Label maps of a small tree in every form that `ovbench score` reads; written without ovbench's own writers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LabelMaps = dict[str, dict[str, NDArray[Any]]]
"""video -> frame -> (H, W)."""

OTHER = 255


def random_maps(
    frames: Mapping[str, Iterable[str]], names: int, size: tuple[int, int], seed: int = 0
) -> LabelMaps:
    """Blocks of random labels, some of them "other"."""
    rng = np.random.default_rng(seed)
    found: LabelMaps = {}
    for video, stems in frames.items():
        found[video] = {}
        for stem in stems:
            blocks = rng.integers(0, names + 2, (size[0] // 4 + 1, size[1] // 4 + 1))
            blocks[blocks >= names] = OTHER
            found[video][stem] = np.kron(blocks, np.ones((4, 4), int))[: size[0], : size[1]].astype(np.uint8)
    return found


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Uncompressed COCO counts of a mask, by walking down its columns."""
    counts, current = [0], False
    for value in mask.T.reshape(-1).tolist():
        if value != current:
            counts.append(0)
            current = value
        counts[-1] += 1
    return counts


def masks_of(label_map: NDArray[Any], *, other: bool = False) -> list[dict[str, Any]]:
    """One uncompressed mask per label."""
    return [
        {
            "category_id": int(v),
            "segmentation": {"size": list(label_map.shape), "counts": runs_of(label_map == v)},
        }
        for v in np.unique(label_map)
        if other or v != OTHER
    ]


def write_png(maps: LabelMaps, folder: Path, convert: Callable[[Any], Image.Image] = Image.fromarray) -> Path:
    for video, frames in maps.items():
        (folder / video).mkdir(parents=True, exist_ok=True)
        for frame, label_map in frames.items():
            convert(label_map).save(folder / video / f"{frame}.png")
    return folder


def write_rle(
    maps: LabelMaps, path: Path, naming: Callable[[str, str], dict[str, Any]] | None = None
) -> Path:
    """A bare list of masks, each with its video and frame (or what `naming` says)."""
    entries = [
        {**({"video": v, "frame": f} if naming is None else naming(v, f)), **mask}
        for v, frames in maps.items()
        for f, label_map in frames.items()
        for mask in masks_of(label_map)
    ]
    path.write_text(json.dumps(entries))
    return path


def write_coco(maps: LabelMaps, path: Path, categories: list[dict[str, Any]] | None = None) -> Path:
    """images, annotations and, if wanted, categories; annotations before images."""
    images, annotations = [], []
    for video, frames in maps.items():
        for frame, label_map in frames.items():
            number = len(images) + 1
            height, width = label_map.shape
            images.append(
                {"id": number, "file_name": f"{video}/{frame}.png", "height": height, "width": width}
            )
            annotations += [{"image_id": number, **mask} for mask in masks_of(label_map)]
    content: dict[str, Any] = {"annotations": annotations, "images": images}
    if categories is not None:
        content["categories"] = categories
    path.write_text(json.dumps(content))
    return path


def write_npy(maps: LabelMaps, folder: Path, dtype: Any = np.uint8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for video, frames in maps.items():
        np.save(folder / f"{video}.npy", np.stack(list(frames.values())).astype(dtype))
    return folder


def write_npz(maps: LabelMaps, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for video, frames in maps.items():
        np.savez_compressed(folder / f"{video}.npz", **frames)
    return folder
