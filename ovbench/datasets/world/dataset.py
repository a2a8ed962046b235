"""The world as a data set: splits, clips, a disk cache and its hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import cache_dir
from ovbench.core.types import Image, RawMask
from ovbench.datasets.base import Dataset, Video

from .classes import held_out, track_classes
from .corrupt import Corruption, apply, plan
from .integers import Stream
from .render import render
from .scene import HEIGHT, WIDTH, make_scene
from .schedule import Cast, deal

VERSION = 1
"""Raised whenever a pixel of any clip changes."""

FIRST_CLIP_SHA256 = "3d33a70bb6bda34c7b4a3958bd585270e99ccb7341b052c2a9dd8540ab898421"
"""`clip_hash("attribute", "test", 0)`: what every machine must make."""

FRAMES = 20
CLIPS = {"test": 36, "train": 60}
THINGS = {"test": 5, "train": 5}


@lru_cache(maxsize=8)
def casts(track: str, split: str) -> list[Cast]:
    """Which compositions stand in each clip; the train split never contains a held-out one."""
    classes = track_classes(track)
    if split == "train":
        held = held_out()
        classes = tuple(c for c in classes if c not in held)
    return deal(Stream("world", VERSION, track, split, "cast"), classes, CLIPS[split], THINGS[split])


def make_clip(
    track: str, split: str, index: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[Corruption | None]]:
    """Frames (T, H, W, 3), masks (T, H, W) of raw ids and the corruption of each frame."""
    name = ("world", VERSION, track, split, index)
    stuff, things = casts(track, split)[index]
    scene = make_scene(Stream(*name, "scene"), stuff, things)
    faults = plan(Stream(*name, "faults"), FRAMES, HEIGHT, WIDTH)
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    masks = np.empty((FRAMES, HEIGHT, WIDTH), np.uint8)
    for t, fault in enumerate(faults):
        image, masks[t] = render(scene, t)
        frames[t] = apply(fault, image, Stream(*name, "frame", t))
    return frames, masks, faults


class WorldVideo(Video):
    """One clip, made when a frame is first asked for."""

    def __init__(self, track: str, split: str, index: int) -> None:
        super().__init__(f"{split}-{index:03d}", [f"{t:05d}" for t in range(FRAMES)])
        self._name = (track, split, index)
        self._clip: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._faults: list[Corruption | None] | None = None

    def annotated(self, index: int) -> bool:
        return True

    def _load(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if self._clip is None:
            self._clip = _cached_clip(*self._name)
        return self._clip

    def _decode_image(self, index: int) -> Image:
        return np.asarray(self._load()[0][index])

    def _decode_truth(self, index: int) -> RawMask:
        return np.asarray(self._load()[1][index])

    def tags(self, index: int) -> Mapping[str, Any]:
        """{"corruption": kind or "clean", "regional": whether only part of the frame is hit}."""
        if self._faults is None:
            self._faults = plan(Stream("world", VERSION, *self._name, "faults"), FRAMES, HEIGHT, WIDTH)
        fault = self._faults[self._check(index)]
        if fault is None:
            return {"corruption": "clean", "regional": False}
        return {"corruption": fault.kind, "regional": fault.part is not None}


class WorldDataset(Dataset):
    """A split of the world.

    Args:
        split: "test" (36 clips, all 36 classes) or "train" (60 clips, the 27 seen classes only).
        track: "attribute" or "pairs".
    """

    name = "world"

    def __init__(self, split: str, track: str = "attribute") -> None:
        if split not in CLIPS:
            raise unknown("split of the world", split, CLIPS)
        if track not in ("attribute", "pairs"):
            raise unknown("track of the world", track, ("attribute", "pairs"))
        self.split, self.track = split, track
        self._ids = tuple(f"{split}-{i:03d}" for i in range(CLIPS[split]))

    @property
    def video_ids(self) -> Sequence[str]:
        return self._ids

    def open(self, video_id: str) -> Video:
        if video_id not in self._ids:
            raise UserError(f"the world's {self.split} split has no video '{video_id}'")
        return WorldVideo(self.track, self.split, self._ids.index(video_id))

    def frame_count(self, video_id: str) -> int:
        return FRAMES


def clip_hash(track: str, split: str, index: int) -> str:
    """SHA-256 over a clip's frames and masks."""
    frames, masks, _ = make_clip(track, split, index)
    digest = hashlib.sha256(frames.tobytes())
    digest.update(masks.tobytes())
    return digest.hexdigest()


def _cached_clip(track: str, split: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    folder = cache_dir("world", f"v{VERSION}")
    path = folder / f"{track}-{split}-{index:03d}.npy"
    shape = (FRAMES, HEIGHT, WIDTH, 4)
    try:
        stored = np.load(path, allow_pickle=False)
        if stored.shape == shape and stored.dtype == np.uint8:
            return stored[..., :3], stored[..., 3]
    except (OSError, ValueError):
        pass  # absent, or cut short by a killed process: it is made again
    frames, masks, _ = make_clip(track, split, index)
    _store(path, np.concatenate([frames, masks[..., None]], axis=-1))
    return frames, masks


def _store(path: Path, clip: NDArray[np.uint8]) -> None:
    # The cache only saves time: where it cannot be written, clips are made anew.
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            np.save(stream, clip, allow_pickle=False)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
