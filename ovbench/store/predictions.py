"""Label maps of a run on disk: `<folder>/<video>/<frame>.png`, a video at a time."""

from __future__ import annotations

import os
import secrets
import shutil
from operator import attrgetter
from pathlib import Path
from typing import Self

from ovbench.core.paths import check_id, inside
from ovbench.core.types import LabelMap

from .atomic import TEMPORARY_SUFFIX
from .masks import encode_mask


class PredictionWriter:
    """Writes the label maps of one video into a hidden folder that gets its name when complete.

    Use as a context manager: leaving it normally publishes the folder (replacing one of that name),
    leaving it by an error removes what was written.
    """

    def __init__(self, folder: Path, video_id: str) -> None:
        self._final = inside(folder, check_id("video", video_id))
        self._temporary = folder / f".{video_id}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"

    def __enter__(self) -> Self:
        self._temporary.mkdir(parents=True)
        return self

    def write(self, frame_name: str, label_map: LabelMap) -> None:
        """Store one frame: grey PNG of 8 bit for uint8, 16 bit for uint16."""
        path = inside(self._temporary, f"{frame_name}.png")
        with open(path, "xb") as stream:
            stream.write(encode_mask(label_map))
            stream.flush()
            os.fsync(stream.fileno())

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            return
        # Left by a run that died after this step and before its record: the same label maps.
        shutil.rmtree(self._final, ignore_errors=True)
        os.rename(self._temporary, self._final)


def frames_on_disk(folder: Path) -> dict[str, Path]:
    """Frame stem -> file for the PNG files of one video's folder; hidden files are skipped."""
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=attrgetter("name")):
        stem, suffix = os.path.splitext(path.name)
        if suffix.lower() == ".png" and not path.name.startswith("."):
            found[stem] = path
    return found
