"""Variation of clips in training: all frames resized, cut and mirrored alike, colours varied frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image

from .targets import IGNORE

MEAN_COLOUR = (123.675, 116.28, 103.53)
"""ImageNet's mean: 0 after normalisation."""

_TRIES = 10


@dataclass(frozen=True)
class ClipVariation:
    """The variation that mmsegmentation-style codes train with (OV2VSS, `local_configs/`).

    `size`: the frame is scaled, keeping its ratio, to fit into this (height, width; either way round) times a
    factor from `ratios`; `crop`: (height, width) cut out; `cap`: a cut where one class has this share or more
    of the labelled pixels is drawn again, at most ten times; mirrored half of the time; brightness, contrast,
    saturation and hue as SSD varies them, drawn for each frame on its own.
    """

    size: tuple[int, int] = (1024, 1024)
    ratios: tuple[float, float] = (0.5, 2.0)
    crop: tuple[int, int] = (480, 480)
    cap: float = 0.75

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ClipVariation | None:
        """From a card's `augment` ("none" or "full"), `train_size` and `train_crop` ("480x480")."""
        if options["augment"] == "none":
            return None
        return cls(
            _size("train_size", options["train_size"]), crop=_size("train_crop", options["train_crop"])
        )

    def place(self, rng: np.random.Generator, labels: NDArray[np.uint8]) -> Place:
        """Where to cut, for a clip whose target has these labels (H, W)."""
        factor = float(rng.uniform(*self.ratios))
        height, width = labels.shape
        scale = factor * min(max(self.size) / max(height, width), min(self.size) / min(height, width))
        resized = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
        for _ in range(_TRIES):
            corner = [int(rng.integers(max(0, n - c) + 1)) for n, c in zip(resized, self.crop, strict=True)]
            place = Place((height, width), resized, (corner[0], corner[1]), self.crop, False)
            counts = np.bincount(place.labels(labels).ravel(), minlength=256)[:IGNORE]
            if np.count_nonzero(counts) > 1 and counts.max() < self.cap * counts.sum():
                break
        return Place(place.frame, resized, place.corner, self.crop, bool(rng.integers(2)))


@dataclass(frozen=True)
class Place:
    """A cut out of a resized frame; the same for every frame of a clip. Lengths in pixels, (height, width)."""

    frame: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    crop: tuple[int, int]
    flip: bool

    def labels(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) -> the cut, by nearest place; `IGNORE` where the resized frame ends."""
        rows, columns = (np.floor(self._positions(axis) + 0.5).astype(np.int64) for axis in (0, 1))
        out = np.full(self.crop, IGNORE, np.uint8)
        out[: len(rows), : len(columns)] = labels[rows[:, None], columns[None]]
        return np.ascontiguousarray(out[:, ::-1]) if self.flip else out

    def image(self, image: Image, colours: Colours | None = None) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, *crop) float32 0..255, bilinear; the mean colour where the frame ends.

        Only the cut is computed, at the positions that resizing the whole frame would read.
        """
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        height, width = self.frame
        if (
            image.shape[0],
            image.shape[1],
        ) != self.frame:  # another size than the target's: resized to it first
            pixels = F.interpolate(pixels, self.frame, mode="bilinear", align_corners=False)
        y = torch.from_numpy((2 * self._positions(0) + 1) / height - 1).float()
        x = torch.from_numpy((2 * self._positions(1) + 1) / width - 1).float()
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
        cut = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        cut = cut if colours is None else colours(cut)
        out = torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1).repeat(1, 1, *self.crop)
        out[..., : cut.shape[-2], : cut.shape[-1]] = cut
        return out.flip(-1) if self.flip else out

    def _positions(self, axis: int) -> NDArray[np.float64]:
        """Where the cut's rows (0) or columns (1) lie in the frame, pixel centres at whole numbers."""
        length = min(self.crop[axis], self.resized[axis] - self.corner[axis])
        there = self.corner[axis] + np.arange(length) + 0.5
        scale: float = self.frame[axis] / self.resized[axis]
        return np.clip(there * scale - 0.5, 0, self.frame[axis] - 1)


@dataclass(frozen=True)
class Colours:
    """A change of colours: numbers that do nothing are 0, 1, 1 and 0. `late`: contrast comes last."""

    brightness: float = 0.0  # added
    contrast: float = 1.0  # factor
    saturation: float = 1.0  # factor
    hue: float = 0.0  # degrees
    late: bool = False

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Colours:
        """Each of the four with probability 1/2, as far as SSD goes."""
        late = bool(rng.integers(2))
        neutral = (0.0, 1.0, 1.0, 0.0)
        drawn = [float(rng.uniform(*r)) for r in ((-32, 32), (0.5, 1.5), (0.5, 1.5), (-36, 36))]
        a, b, c, d = (new if rng.integers(2) else old for old, new in zip(neutral, drawn, strict=True))
        return cls(a, b, c, d, late)

    def __call__(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) float 0..255 -> the same."""
        image = (image + self.brightness).clamp(0, 255)
        if not self.late:
            image = (image * self.contrast).clamp(0, 255)
        if self.saturation != 1 or self.hue:
            image = self._turn(image)
        return (image * self.contrast).clamp(0, 255) if self.late else image

    def _turn(self, image: Tensor) -> Tensor:
        """Saturation and hue in the hexcone model (HSV)."""
        value, low = image.amax(1, keepdim=True), image.amin(1, keepdim=True)
        spread = value - low
        red, green, blue = (image[:, i : i + 1] for i in range(3))
        divisor = torch.where(spread > 0, spread, torch.ones_like(spread))
        sextant = torch.where(
            value == red,
            (green - blue) / divisor,
            torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
        )
        # Saturation is spread / value and at most 1, so the new spread is at most the value.
        spread = torch.minimum(spread * self.saturation, value)
        sextant = sextant + self.hue / 60
        shares = [(sextant + offset) % 6 for offset in (5, 3, 1)]
        return torch.cat([value - spread * torch.minimum(k, 4 - k).clamp(0, 1) for k in shares], dim=1)


def _size(key: str, text: object) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in str(text).split("x"))
    except ValueError:
        height, width = 0, 0
    if min(height, width) < 1:
        raise UserError(f"{key} must look like 480x480, not '{text}'")
    return height, width
