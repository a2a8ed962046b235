"""Labelled frames of the training split, drawn at random and varied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.datasets.base import Dataset

from .targets import SeenTargets

COLOURS = ("none", "light", "full")
"""How colours are varied: not at all; brightness and contrast; these and saturation, as strongly as SSD does."""

_LIGHT = {"none": 0.0, "light": 0.25, "full": 0.5}


@dataclass(frozen=True)
class Variation:
    """How a drawn frame is changed.

    `sides`: smallest and largest short side, None keeps the size; `crop`: (height, width) cut out at random,
    None keeps the whole; `flip`: mirrored half of the time; `colour`: one of `COLOURS`; `longest`: a short
    side is smaller than drawn where the long one would pass this, 0 for no limit.
    """

    sides: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    flip: bool = True
    colour: str = "none"
    longest: int = 0

    @classmethod
    def from_options(cls, options: Mapping[str, Any], part: str = "train") -> Variation:
        """From a card's `train_sides` ("320,960"), `train_crop` ("640x640"), `flip` and `colour`.

        `part` is how the first two begin: a training in two parts may vary frames differently in each. The
        longest side is `train_long` where a card has one that is not 0, otherwise the `long_side` of its use.

        Raises:
            UserError: texts that are not two numbers, or sides in the wrong order.
        """
        sides = _pair(options, f"{part}_sides", ",")
        if sides is not None and sides[0] > sides[1]:
            raise UserError(
                f"{part}_sides must be the smallest short side, then the largest; not '{sides[0]},{sides[1]}'",
                hint=f"--set {part}_sides={sides[1]},{sides[0]}",
            )
        return cls(
            sides,
            _pair(options, f"{part}_crop", "x"),
            bool(options["flip"]),
            str(options["colour"]),
            int(options.get("train_long", 0)) or int(options.get("long_side", 0)),
        )

    def __call__(
        self, rng: np.random.Generator, image: Image, labels: NDArray[np.uint8]
    ) -> tuple[Image, NDArray[np.uint8]]:
        """(H, W, 3) uint8 and (H, W) targets -> the same of another size, changed alike."""
        if self.sides is not None:
            short = int(rng.integers(self.sides[0], self.sides[1] + 1))
            image, labels = _resize(image, labels, short, self.longest)
        if self.crop is not None:
            y, x = (
                int(rng.integers(max(1, n - c + 1))) for n, c in zip(labels.shape, self.crop, strict=True)
            )
            part = (slice(y, y + self.crop[0]), slice(x, x + self.crop[1]))
            image, labels = image[part], labels[part]
        if self.flip and rng.integers(2):
            image, labels = image[:, ::-1], labels[:, ::-1]
        return _recolour(rng, image, self.colour), labels


class LabelledFrames:
    """The frames of a split that have a mask; masks can be read as seen classes only.

    Raises:
        UserError: a split without any.
    """

    def __init__(self, dataset: Dataset, targets: SeenTargets) -> None:
        self.targets = targets
        videos = [dataset.open(v) for v in dataset.video_ids]
        labelled = [(v, [i for i in range(len(v)) if v.annotated(i)]) for v in videos]
        self.videos = [(video, frames) for video, frames in labelled if frames]
        if not self.videos:
            raise UserError("the training split has no labelled frame", where=targets.protocol_id)
        self.ends = np.cumsum([len(frames) for _, frames in self.videos])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def draw(self, rng: np.random.Generator) -> tuple[Image, NDArray[np.uint8]]:
        """A frame, (H, W, 3) uint8, and its targets, (H, W) with `IGNORE` where there is none."""
        pick = int(rng.integers(len(self)))
        which = int(np.searchsorted(self.ends, pick, side="right"))
        video, frames = self.videos[which]
        frame = frames[pick - int(self.ends[which])]
        return video.image(frame), self.targets.read(video, frame)


def _pair(options: Mapping[str, Any], key: str, sign: str) -> tuple[int, int] | None:
    text = str(options[key])
    if not text:
        return None
    try:
        first, second = (int(part) for part in text.split(sign))
    except ValueError:
        first, second = 0, 0
    if first < 1 or second < 1:
        raise UserError(f"{key} must be two numbers with '{sign}' between, or empty; not '{text}'")
    return first, second


def _resize(
    image: Image, labels: NDArray[np.uint8], short: int, longest: int = 0
) -> tuple[Image, NDArray[np.uint8]]:
    scale = short / min(labels.shape)
    if longest:
        scale = min(scale, longest / max(labels.shape))
    size = (max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[0] * scale)))
    if size == (labels.shape[1], labels.shape[0]):
        return image, labels
    pixels = Pillow.fromarray(np.ascontiguousarray(image)).resize(size, Pillow.Resampling.BILINEAR)
    smaller = Pillow.fromarray(np.ascontiguousarray(labels)).resize(size, Pillow.Resampling.NEAREST)
    return np.asarray(pixels), np.asarray(smaller)


def _recolour(rng: np.random.Generator, image: Image, kind: str) -> Image:
    reach = _LIGHT[kind]
    if not reach:
        return image
    changed = Pillow.fromarray(np.ascontiguousarray(image))
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast]
    if kind == "full":
        enhancers.append(ImageEnhance.Color)
    for enhancer in enhancers:
        if rng.integers(2):
            changed = enhancer(changed).enhance(float(rng.uniform(1 - reach, 1 + reach)))
    return np.asarray(changed)
