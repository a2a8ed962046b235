"""Label maps as COCO-style run-length JSON: one file for all videos, or one per video.

The file is gone through once and only positions are kept (16 bytes a mask); masks are decoded when their
frame is read.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import UserError
from ovbench.core.types import LabelMap, other_of
from ovbench.methods.labels import label_dtype
from ovbench.protocol.vocabulary import Vocabulary
from ovbench.store.jsonscan import Scanner
from ovbench.store.rle import Overlap, RunError, Runs, decode_runs, paint

from .categories import Categories
from .naming import Naming
from .source import Hash, Source, place


class RleFile(Source):
    """The masks of one JSON file.

    Args:
        vocabulary: what category ids or names mean.
        video_ids: the data set's videos, to find them in file names; () where nothing is known.
        video: the video that all entries belong to (a file per video), None where each says its own.

    Raises:
        UserError: not JSON, another vocabulary, an entry that names no frame.
    """

    layout = "a JSON file of masks: {images: [...], annotations: [...]}, or a list of masks"

    def __init__(
        self, path: Path, vocabulary: Vocabulary, video_ids: Collection[str] = (), video: str | None = None
    ) -> None:
        super().__init__(path)
        self._categories = Categories(path, vocabulary)
        self._dtype = label_dtype(len(vocabulary))
        self._naming = Naming(path, frozenset(video_ids), video)
        self._masks: dict[str, dict[str, array[int]]] = {}
        self._sizes: dict[tuple[str, str], tuple[int, int]] = {}
        self._index(video)

    def video_ids(self) -> Sequence[str]:
        return list(self._masks)

    def frames(self, video_id: str, expected: Sequence[str]) -> Collection[str]:
        return self._masks.get(video_id, {}).keys()

    def hash_video(self, video_id: str, names: Sequence[str], total: Hash) -> None:
        total.update(f"{video_id} {self.sha256}\n".encode())

    def read(self, video_id: str, frame: str) -> LabelMap:
        where = f"{place(video_id, frame)} in {self.path}"
        masks: list[Runs] = []
        labels: list[int] = []
        called: list[str] = []
        for mask in self._entries(self._masks[video_id][frame]):
            category = mask.get("category_id")
            labels.append(self._categories.label(category, where))
            called.append(f"category {category} ({self._categories.name(labels[-1])})")
            try:
                masks.append(decode_runs(mask.get("segmentation")))
            except RunError as error:
                raise _unusable(f"the mask of {called[-1]} cannot be used: {error}", where) from error
        size = self._size(masks, called, self._sizes.get((video_id, frame)), where)
        if not masks:
            return np.full(size, other_of(self._dtype), self._dtype)
        try:
            return paint(masks, labels, self._dtype)
        except Overlap as error:
            raise UserError(
                f"a pixel is covered twice: by {called[error.first]} and {called[error.second]}",
                where=where,
                hint="a label map gives each pixel one label: cut the masks apart before they are written",
            ) from error

    def _size(
        self, masks: Sequence[Runs], called: Sequence[str], said: tuple[int, int] | None, where: str
    ) -> tuple[int, int]:
        if not masks and said is None:
            raise _unusable("the frame has no mask, and its image no 'height' and 'width'", where)
        size = said or masks[0].size
        for runs, name in zip(masks, called, strict=True):
            if runs.size != size:
                raise _unusable(
                    f"the mask of {name} has the size {runs.size[0]}x{runs.size[1]}, the frame is "
                    f"{size[0]}x{size[1]} (height x width)",
                    where,
                )
        return size

    def _entries(self, places: Sequence[int]) -> list[Mapping[str, Any]]:
        try:
            with open(self.path, "rb") as stream:
                found: list[Mapping[str, Any]] = []
                for start, stop in zip(places[::2], places[1::2], strict=True):
                    stream.seek(start)
                    found.append(dict(json.loads(stream.read(stop - start))))
            return found
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"the file changed while it was read: {error}",
                where=self.path,
                hint="run the same command again",
            ) from error

    def _index(self, video: str | None) -> None:
        scanner = Scanner(self.path)
        waiting: dict[int | str, array[int]] = {}  # masks by the id of their image, wherever images come
        if video is not None:
            self._masks[video] = {}
        for key, value, start, stop in scanner.entries():
            if key in ("", "annotations"):
                name = self._naming.of_mask(value)
                found = (
                    self._frame(*name) if isinstance(name, tuple) else waiting.setdefault(name, array("q"))
                )
                found.extend((start, stop))
            elif key == "images":
                name, size = self._naming.add_image(value)
                self._frame(*name)
                if size is not None:
                    self._sizes[name] = size
            elif key == "categories":
                self._categories.add(value)
            elif key == "info":
                self._categories.check_info(value)
        for image, places in waiting.items():
            self._frame(*self._naming.of_image(image)).extend(places)
        self.sha256 = scanner.sha256

    def _frame(self, video: str, frame: str) -> array[int]:
        return self._masks.setdefault(video, {}).setdefault(frame, array("q"))


class RleFolder(Source):
    """`<video>.json` for each video, each a file that `RleFile` reads; one is open at a time."""

    layout = "<folder>/<video>.json"

    def __init__(self, path: Path, vocabulary: Vocabulary, video_ids: Collection[str] = ()) -> None:
        super().__init__(path)
        self._vocabulary, self._known = vocabulary, video_ids
        self._open: tuple[str, RleFile] | None = None

    def video_ids(self) -> Sequence[str]:
        return [
            e.stem if e.suffix == ".json" else e.name
            for e in sorted(self.path.iterdir())
            if not e.name.startswith(".")
        ]

    def frames(self, video_id: str, expected: Sequence[str]) -> Collection[str]:
        file = self._file(video_id)
        return () if file is None else file.frames(video_id, expected)

    def read(self, video_id: str, frame: str) -> LabelMap:
        file = self._file(video_id)
        assert file is not None, "ask for frames(video) first"
        return file.read(video_id, frame)

    def hash_video(self, video_id: str, names: Sequence[str], total: Hash) -> None:
        file = self._file(video_id)
        if file is not None:
            file.hash_video(video_id, names, total)

    def file(self, video_id: str, frame: str) -> Path:
        return self.path / f"{video_id}.json"

    def _file(self, video_id: str) -> RleFile | None:
        if self._open is None or self._open[0] != video_id:
            path = self.path / f"{video_id}.json"
            if not path.is_file():
                return None
            self._open = video_id, RleFile(path, self._vocabulary, self._known, video_id)
        return self._open[1]


def _unusable(what: str, where: str) -> UserError:
    return UserError(
        what,
        where=where,
        hint="write this mask again, as pycocotools.mask.encode gives it, at the frame's own height and width",
    )
