"""Label maps as PNG files, `<folder>/<video>/<frame>.png`: what runs save, and the fast way."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ovbench.core.errors import UserError
from ovbench.core.paths import check_id, inside
from ovbench.core.types import LabelMap
from ovbench.store.masks import read_mask
from ovbench.store.predictions import frames_on_disk

from .source import Hash, Source, as_label_map, place

_JPEG = (".jpg", ".jpeg")


class PngFolder(Source):
    """One grey or palette PNG of vocabulary indices per frame."""

    layout = "<folder>/<video>/<frame>.png"
    suffix = ".png"

    def __init__(self, path: Path, names: int) -> None:
        super().__init__(path)
        self._names = names
        self._video: str | None = None
        self._files: dict[str, Path] = {}

    def video_ids(self) -> Sequence[str]:
        return sorted(e.name for e in self.path.iterdir() if not e.name.startswith("."))

    def frames(self, video_id: str, expected: Sequence[str]) -> Collection[str]:
        if video_id != self._video:
            self._files = frames_on_disk(inside(self.path, check_id("video", video_id)))
            self._video = video_id
        return self._files.keys()

    def read(self, video_id: str, frame: str) -> LabelMap:
        self.frames(video_id, ())
        try:
            values = read_mask(self._files[frame])
        except UserError as error:  # its advice is about data sets
            raise UserError(
                f"a prediction cannot be used: {error.what}",
                where=error.where,
                hint="write this label map again, as a grey or palette PNG with one vocabulary index per pixel; if "
                "a run saved it: delete it and give the same `ovbench run ... --save-predictions` again",
            ) from error
        return (
            values
            if values.dtype == np.uint8
            else as_label_map(values, self._names, f"{place(video_id, frame)} ({self._files[frame]})")
        )

    def file(self, video_id: str, frame: str) -> Path:
        return self.path / video_id / f"{frame}.png"

    def remark(self, video_id: str, expected: Sequence[str]) -> str:
        folder = self.path / video_id
        if folder.is_dir() and any(e.suffix.lower() in _JPEG for e in folder.iterdir()):
            return "there are .jpg files, but JPEG is lossy, changes the indices and is not read: write PNG"
        return ""

    def hash_video(self, video_id: str, names: Sequence[str], total: Hash) -> None:
        self.frames(video_id, ())
        for name in names:
            total.update(f"{video_id}/{name}\n".encode())
            total.update(hashlib.sha256(self._files[name].read_bytes()).digest())
