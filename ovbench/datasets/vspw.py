"""VSPW (Miao et al., CVPR 2021): `data/<video>/{origin,mask}` and list files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from ovbench.core.errors import UserError

from .files import FileDataset, VideoFiles, find_root, pair
from .howto import layout
from .scan import IMAGE_SUFFIXES, MASK_SUFFIXES, Finding, read_list, scan


class VspwDataset(FileDataset):
    """A split of VSPW. Masks keep their raw ids: 0 others, 1..124 classes, 255 void.

    `root` may be the folder with the lists, the one above it, or the folder `data` itself.
    """

    name = "vspw"
    released_videos = MappingProxyType({"train": 2806, "val": 343, "test": 387})

    def _find_root(self, given: Path) -> Path:
        def fits(folder: Path) -> bool:
            return (folder / "data").is_dir()

        if given.name == "data" and fits(given.parent) and not fits(given):
            return given.parent
        return find_root(self.name, given, ("VSPW_480p", "VSPW"), fits)

    def _list(self) -> tuple[Sequence[str], Sequence[Finding]]:
        path = self.root / f"{self.split}.txt"
        if not path.is_file():
            raise UserError(
                f"no list of videos for the split '{self.split}'",
                where=path,
                hint=f"the layout expected is\n{layout(self.name)}",
            )
        return read_list(path)

    def _present(self, video_id: str) -> bool:
        return (self.root / "data" / video_id).is_dir()

    def files(self, video_id: str) -> VideoFiles:
        folder = self.root / "data" / video_id
        images = scan(folder / "origin", IMAGE_SUFFIXES)
        masks = scan(folder / "mask", MASK_SUFFIXES)
        found = pair(video_id, images, masks, self.need_images)
        if masks.by_stem or self.split == "test":  # the test masks were never published
            return found
        finding = Finding(
            "error", f"video '{video_id}' has no masks", str(masks.path), "fetch this video again"
        )
        return replace(found, findings=(finding, *found.findings))
