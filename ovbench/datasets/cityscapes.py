"""Cityscapes (Cordts et al., CVPR 2016): 30-frame snippets whose 20th frame is labelled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import RawMask
from ovbench.store.masks import read_mask

from .files import FileDataset, Frame, VideoFiles, find_root
from .howto import layout
from .scan import Finding, natural

BEFORE, AFTER = 19, 10
"""Frames of a snippet before and after the labelled one."""

VOID = 255

# label id -> train id, one row per id 0..33, from the label definitions of the Cityscapes scripts
# (cityscapesscripts/helpers/labels.py); the licence plate (-1, stored as 255) is void as well.
TRAIN_IDS = (
    (0, VOID), (1, VOID), (2, VOID), (3, VOID), (4, VOID), (5, VOID), (6, VOID),
    (7, 0),  # road
    (8, 1),  # sidewalk
    (9, VOID), (10, VOID),
    (11, 2),  # building
    (12, 3),  # wall
    (13, 4),  # fence
    (14, VOID), (15, VOID), (16, VOID),
    (17, 5),  # pole
    (18, VOID),
    (19, 6),  # traffic light
    (20, 7),  # traffic sign
    (21, 8),  # vegetation
    (22, 9),  # terrain
    (23, 10),  # sky
    (24, 11),  # person
    (25, 12),  # rider
    (26, 13),  # car
    (27, 14),  # truck
    (28, 15),  # bus
    (29, VOID), (30, VOID),
    (31, 16),  # train
    (32, 17),  # motorcycle
    (33, 18),  # bicycle
)  # fmt: skip

_NAME = re.compile(r"(?P<city>[A-Za-z-]+)_(?P<seq>[0-9]+)_(?P<frame>[0-9]+)")
_LABEL_IDS = "_gtFine_labelIds"
_TRAIN_IDS = "_gtFine_labelTrainIds"
_IMAGE = "_leftImg8bit"


def train_id_table() -> NDArray[np.uint8]:
    """(256,) uint8: label id -> train id; VOID for 255 and for ids that do not exist."""
    table = np.full(256, VOID, np.uint8)
    for label, train in TRAIN_IDS:
        table[label] = train
    return table


class CityscapesDataset(FileDataset):
    """A split of Cityscapes; a video is one snippet, named after its labelled frame.

    Truth is train ids 0..18, everything else 255. `labelIds` files are converted, `labelTrainIds`
    files taken as they are; `ids` names the sort to read, "auto" prefers `labelIds`.
    With `leftImg8bit` in place of `leftImg8bit_sequence` each video has its labelled frame alone.
    Some recordings have several snippets under one sequence number (frankfurt_000000), so a
    snippet is the frames from 19 before to 10 after the labelled one.
    """

    name = "cityscapes"
    sparse = True
    options: Mapping[str, tuple[str, ...]] = {"ids": ("auto", "labelIds", "labelTrainIds")}

    def __init__(
        self,
        root: Path,
        split: str,
        need_images: bool = True,
        only: Sequence[str] = (),
        ids: str = "auto",
    ) -> None:
        super().__init__(root, split, need_images, only)
        self.ids = ids

    def _find_root(self, given: Path) -> Path:
        return find_root(self.name, given, ("cityscapes", "Cityscapes"), lambda f: (f / "gtFine").is_dir())

    @cached_property
    def _images(self) -> Path:
        sequence = self.root / "leftImg8bit_sequence" / self.split
        return sequence if sequence.is_dir() else self.root / "leftImg8bit" / self.split

    @cached_property
    def _masks(self) -> tuple[dict[str, Path], list[Finding]]:
        """Mask file of each video, and oddities of the folders."""
        masks: dict[str, Path] = {}
        findings: list[Finding] = []
        top = self.root / "gtFine" / self.split
        if not top.is_dir():
            raise UserError(
                f"Cityscapes has no split '{self.split}' here",
                where=top,
                hint=f"the layout expected is\n{layout(self.name)}",
            )
        for path in sorted(top.glob("*/*.png"), key=lambda p: natural(p.name)):
            if path.name.startswith("."):
                findings.append(_hidden(path))
            elif path.stem.endswith(_LABEL_IDS) and self.ids != "labelTrainIds":
                masks[path.stem.removesuffix(_LABEL_IDS)] = path
            elif path.stem.endswith(_TRAIN_IDS) and self.ids != "labelIds":
                masks.setdefault(path.stem.removesuffix(_TRAIN_IDS), path)
        return masks, findings

    def _list(self) -> tuple[Sequence[str], Sequence[Finding]]:
        masks, findings = self._masks
        strange = [v for v in masks if not _NAME.fullmatch(v)]
        findings = findings + [
            Finding(
                "error",
                f"'{v}' is no Cityscapes frame name (<city>_<sequence>_<frame>)",
                str(masks[v]),
                "move the file elsewhere",
            )
            for v in strange
        ]
        if self.need_images and not self._images.is_dir():
            findings.append(
                Finding(
                    "error",
                    f"no photographs for the split '{self.split}'",
                    str(self.root / "leftImg8bit_sequence" / self.split),
                    "unpack leftImg8bit_sequence_trainvaltest.zip (or leftImg8bit_trainvaltest.zip) here",
                )
            )
        return [v for v in masks if v not in strange], findings

    def files(self, video_id: str) -> VideoFiles:
        mask = self._masks[0][video_id]
        match = _NAME.fullmatch(video_id)
        assert match is not None
        number, width = int(match["frame"]), len(match["frame"])
        frames = []
        for n in range(max(0, number - BEFORE), number + AFTER + 1):
            stem = f"{match['city']}_{match['seq']}_{n:0{width}d}"
            image = self._photograph(mask.parent.name, stem)
            if image is not None or n == number:
                frames.append(Frame(stem, image, mask if n == number else None))
        findings = self._snippet_findings(video_id, frames) if self.need_images else []
        return VideoFiles(video_id, tuple(frames), 1, tuple(findings))

    def decode_truth(self, path: Path) -> RawMask:
        mask = read_mask(path)
        if path.stem.endswith(_TRAIN_IDS):
            return mask
        strange = np.setdiff1d(mask, [*(label for label, _ in TRAIN_IDS), VOID])
        if strange.size:
            raise UserError(
                f"ids {', '.join(map(str, strange[:6]))} are no Cityscapes label ids (0..33)",
                where=path,
                hint="fetch gtFine again; a file with train ids must be named ..._labelTrainIds.png",
            )
        return train_id_table()[mask]

    def _photograph(self, city: str, stem: str) -> Path | None:
        for suffix in (".png", ".jpg"):
            path = self._images / city / f"{stem}{_IMAGE}{suffix}"
            if path.is_file():
                return path
        return None

    def _snippet_findings(self, video_id: str, frames: Sequence[Frame]) -> list[Finding]:
        findings = []
        labelled = next(f for f in frames if f.mask is not None)
        if labelled.image is None:
            findings.append(
                Finding(
                    "error",
                    f"no image for the labelled frame '{labelled.name}'",
                    str(self._images),
                    "fetch the photographs again",
                )
            )
        expected = BEFORE + AFTER + 1
        if self._images.parent.name == "leftImg8bit_sequence" and len(frames) != expected:
            findings.append(
                Finding(
                    "warning",
                    f"snippet '{video_id}' has {len(frames)} of {expected} frames",
                    str(self._images),
                    "fetch the missing frames; temporal methods see less context without them",
                )
            )
        return findings


def _hidden(path: Path) -> Finding:
    return Finding("warning", f"hidden file {path.name}", str(path.parent), "delete it; readers skip it")
