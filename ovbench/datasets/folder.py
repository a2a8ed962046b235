"""Frames and masks of the user's own: `images/<video>/*`, `masks/<video>/*.png`, or one flat video."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from ovbench.core.errors import UserError

from .files import FileDataset, FileVideo, VideoFiles, find_root, pair
from .scan import IMAGE_SUFFIXES, MASK_SUFFIXES, Finding, Folder, natural, read_list, scan

ALL = "all"


class FolderDataset(FileDataset):
    """Videos in folders of the same name under `images` and `masks`.

    The split "all" is every video in natural order; any other split is read from `<split>.txt`.
    Pictures that lie in `images` and `masks` directly make one video, named after the root.
    """

    name = "folder"

    def _find_root(self, given: Path) -> Path:
        def fits(folder: Path) -> bool:
            return (folder / "images").is_dir() or (folder / "masks").is_dir()

        return find_root(self.name, given, (), fits)

    def _list(self) -> tuple[Sequence[str], Sequence[Finding]]:
        if self.split == ALL:
            return self._on_disk, ()
        path = self.root / f"{self.split}.txt"
        if not path.is_file():
            raise UserError(
                f"no list of videos for the split '{self.split}'",
                where=path,
                hint=f"write one video name a line into it, or use the split '{ALL}'",
            )
        return read_list(path)

    def _present(self, video_id: str) -> bool:
        return video_id in self._on_disk

    def files(self, video_id: str) -> VideoFiles:
        images, masks = self.root / "images", self.root / "masks"
        if not self._flat:
            images, masks = images / video_id, masks / video_id
        return pair(video_id, scan(images, IMAGE_SUFFIXES), scan(masks, MASK_SUFFIXES), self.need_images)

    @cached_property
    def _flat(self) -> bool:
        top: tuple[Folder, ...] = (
            scan(self.root / "images", IMAGE_SUFFIXES),
            scan(self.root / "masks", MASK_SUFFIXES),
        )
        return any(f.by_stem for f in top)

    @cached_property
    def _on_disk(self) -> list[str]:
        if self._flat:
            return [safe_id(self.root.resolve().name)]
        names = {
            entry.name
            for top in ("images", "masks")
            if (self.root / top).is_dir()
            for entry in (self.root / top).iterdir()
            if entry.is_dir() and not entry.name.startswith(".")
        }
        return sorted(names, key=natural)


def safe_id(name: str) -> str:
    """`name` with everything that may not stand in a video id replaced by '_'."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".-") or "video"


def open_folder(folder: str | Path) -> FileVideo:
    """The images of one folder, in natural order of their names, as a video without truth.

    Raises:
        UserError: no such folder, no images in it, or two images of the same name.
    """
    path = Path(folder)
    images = scan(path, IMAGE_SUFFIXES)
    if not images.exists:
        raise UserError("no such folder of images", where=path)
    if not images.by_stem:
        below = sorted(e.name + "/" for e in path.iterdir() if e.is_dir())
        raise UserError(
            "the folder holds no images",
            where=path,
            hint=f"give the folder with the frames; here lie {', '.join(below[:8])}" if below else None,
        )
    files = pair(safe_id(path.resolve().name), images, Folder(path, {}, (), (), 0), True)
    for finding in files.findings:
        if finding.severity == "error":
            raise finding.as_error()
    return FileVideo(files)
