"""CamVid in the SegNet layout: `<split>/*.png` beside `<split>annot/*.png`, videos by file name prefix.

Source: Brostow, Shotton, Fauqueur, Cipolla, "Segmentation and Recognition Using Structure from
Motion Point Clouds", ECCV 2008; the 11-class masks (11 = void) come with the SegNet tutorial.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from .files import FileDataset, VideoFiles, find_root, pair
from .scan import IMAGE_SUFFIXES, MASK_SUFFIXES, Finding, Folder, natural, scan

_FRAME = re.compile(r"(?P<video>.+)_f?(?P<number>[0-9]+)")  # 0001TP_006690, 0006R0_f00930


class CamvidDataset(FileDataset):
    """A split of CamVid; a video is every frame with the same prefix, by frame number."""

    name = "camvid"

    def _find_root(self, given: Path) -> Path:
        def fits(folder: Path) -> bool:
            return (folder / self.split).is_dir() or (folder / f"{self.split}annot").is_dir()

        return find_root(self.name, given, ("CamVid", "camvid"), fits)

    @cached_property
    def _folders(self) -> tuple[dict[str, Folder], dict[str, Folder], list[Finding]]:
        images = scan(self.root / self.split, IMAGE_SUFFIXES)
        masks = scan(self.root / f"{self.split}annot", MASK_SUFFIXES)
        findings = [*masks.clutter(), *(images.clutter() if self.need_images else ())]
        for stem in sorted({*images.by_stem, *masks.by_stem}, key=natural):
            if not _FRAME.fullmatch(stem):
                findings.append(
                    Finding(
                        "error",
                        f"'{stem}' is no CamVid frame name (like 0016E5_07959)",
                        str(self.root / self.split),
                        "move the file elsewhere",
                    )
                )
        return _by_video(images), _by_video(masks), findings

    def _list(self) -> tuple[Sequence[str], Sequence[Finding]]:
        images, masks, findings = self._folders
        return sorted({*images, *masks}, key=natural), findings

    def files(self, video_id: str) -> VideoFiles:
        images, masks, _ = self._folders
        nothing = Folder(self.root / self.split, {}, (), (), -1)
        of_masks = masks.get(video_id, replace(nothing, path=self.root / f"{self.split}annot"))
        found = pair(video_id, images.get(video_id, nothing), of_masks, self.need_images)
        if of_masks.exists:
            return found
        finding = Finding(
            "error", f"video '{video_id}' has no masks", str(of_masks.path), "fetch the masks again"
        )
        return replace(found, findings=(finding, *found.findings))


def _by_video(folder: Folder) -> dict[str, Folder]:
    groups: dict[str, dict[str, tuple[Path, ...]]] = {}
    for stem, paths in folder.by_stem.items():
        match = _FRAME.fullmatch(stem)
        if match:
            groups.setdefault(match["video"], {})[stem] = paths
    return {v: Folder(folder.path, stems, (), (), len(stems)) for v, stems in groups.items()}
