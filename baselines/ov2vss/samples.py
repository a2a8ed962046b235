"""What OV2VSS trains on: a random target, its clip, and a random further frame of the same video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.datasets.base import Dataset, Video
from ovbench.engine.augment import MEAN_COLOUR, ClipVariation, Colours
from ovbench.engine.targets import SeenTargets

from .augment import Camera
from .clips import OFFSETS

Loaded = tuple[list[Tensor], list[Any]]
"""Frames (1, 3, H, W) float 0..255, the further one first; a name for each, None where it never comes again."""


@dataclass(frozen=True)
class Sample:
    """One clip. `masks`: labels (T, H, W) of its targets, the last frame's last; `load`: reads the frames."""

    masks: NDArray[np.uint8]
    load: Callable[[], Loaded]


class Samples:
    """Draws samples of a training split; a pure function of the generator's state.

    Options: `labels` ("target": the last frame's label alone; "every": each of the four frames is the target of
    its own clip), `clip_draw` ("any": any labelled target and any further frame; "release": the target is not
    among a video's first nine frames, the further frame not among its last nine nor in the clip), `reverse`
    (half of the videos run backwards), `still_clips`, `mask_images` ("unseen": unseen classes are painted over
    with the mean colour), and those of `ClipVariation`.
    """

    def __init__(
        self, dataset: Dataset, targets: SeenTargets, options: dict[str, Any], device: torch.device
    ) -> None:
        self.targets, self.options, self.device = targets, options, device
        self.variation = ClipVariation.from_options(options)
        self.every = options["labels"] == "every"
        self.released = options["clip_draw"] == "release"
        self.videos = [dataset.open(v) for v in dataset.video_ids]
        self.labelled = [[i for i in range(len(v)) if v.annotated(i)] for v in self.videos]
        if self.released:
            self.labelled = [
                [i for i in frames if any(self._may(i, len(v), b) for b in self._directions)]
                for v, frames in zip(self.videos, self.labelled, strict=True)
            ]
        self.usable = [i for i, frames in enumerate(self.labelled) if frames]
        if not self.usable:
            late = " with nine frames before it (clip_draw=release)" if self.released else ""
            raise UserError(f"the training split has no labelled frame{late}", where=targets.protocol_id)
        self.frames = np.cumsum([len(self.labelled[i]) for i in self.usable])
        self._check()

    @property
    def offsets(self) -> tuple[int, ...]:
        """How far before the target the frames of a sample lie, oldest first."""
        if not self.every:
            return OFFSETS
        return tuple(sorted({a + b for a in OFFSETS for b in OFFSETS}, reverse=True))

    def draw(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """A batch; photographs are not read yet."""
        return [self._one(rng) for _ in range(count)]

    def _one(self, rng: np.random.Generator) -> Sample:
        pick = int(rng.integers(self.frames[-1]))
        which = self.usable[int(np.searchsorted(self.frames, pick, side="right"))]
        video, labelled = self.videos[which], self.labelled[which]
        backwards = bool(self.options["reverse"] and rng.integers(2))
        if self.released:
            may = [i for i in labelled if self._may(i, len(video), backwards)]
            backwards = backwards if may else not backwards
            labelled = may or labelled
        target = labelled[int(rng.integers(len(labelled)))]
        if self.options["still_clips"]:
            return self._still(rng, video, target)
        places = self._places(target, len(video), backwards)
        mask = self.targets.read(video, target)
        indices = [self._further(rng, len(video), places, backwards), *places]
        asked = places[-len(OFFSETS) :] if self.every else places[-1:]
        masks = [mask if i == target else self.targets.read(video, i) for i in asked]
        if self.variation is None:
            return Sample(np.stack(masks), lambda: self._plain(which, indices))
        place = self.variation.place(rng, mask)
        colours = [Colours.draw(rng) for _ in indices]

        def load() -> Loaded:
            cut = [place.image(self._image(video, i), c) for i, c in zip(indices, colours, strict=True)]
            return [c.to(self.device) for c in cut], [None] * len(cut)

        return Sample(np.stack([place.labels(m) for m in masks]), load)

    @property
    def _directions(self) -> tuple[bool, ...]:
        """Whether videos may run forwards (False) and backwards (True)."""
        return (False, True) if self.options["reverse"] else (False,)

    def _may(self, target: int, length: int, backwards: bool) -> bool:
        """The official rule: nine frames before the target, and a further frame outside its clip."""
        return length > OFFSETS[0] + 1 and (length - 1 - target if backwards else target) >= OFFSETS[0]

    def _places(self, target: int, length: int, backwards: bool) -> list[int]:
        """Frames of a sample, oldest first; before the video's start its first frame is repeated."""
        if backwards:
            return [min(length - 1, target + o) for o in self.offsets]
        return [max(0, target - o) for o in self.offsets]

    def _further(self, rng: np.random.Generator, length: int, places: Sequence[int], backwards: bool) -> int:
        if not self.released:
            return int(rng.integers(length))
        early = np.arange(length - OFFSETS[0])
        free = np.setdiff1d(length - 1 - early if backwards else early, places)
        return int(free[rng.integers(len(free))])

    def _plain(self, which: int, indices: Sequence[int]) -> Loaded:
        frames = [self._tensor(self._image(self.videos[which], i)) for i in indices]
        return frames, [(which, i) for i in indices]

    def _still(self, rng: np.random.Generator, video: Video, target: int) -> Sample:
        """A clip made of one frame by an imagined camera."""
        camera = Camera.draw(rng)
        other = int(rng.integers(len(video)))
        mask = camera.labels(self.targets.read(video, target), self.device)

        def load() -> Loaded:
            clip = camera.clip(self._tensor(self._image(video, target)))
            frames = [self._tensor(self._image(video, other)), *clip]
            return [torch.clamp(f, 0, 255) for f in frames], [None] * len(frames)

        return Sample(mask[None], load)

    def _image(self, video: Video, index: int) -> Image:
        image = video.image(index)
        if self.options["mask_images"] == "none":
            return image
        image = image.copy()
        image[self.targets.hidden(video, index)] = np.round(MEAN_COLOUR).astype(np.uint8)
        return image

    def _tensor(self, image: Image) -> Tensor:
        return torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float()

    def _check(self) -> None:
        """Say before the training begins which truth it lacks."""
        if self.every and self.options["still_clips"]:
            raise UserError(
                "labels=every needs real clips, and still_clips makes them of one frame",
                hint="--set still_clips=off, or --set labels=target",
            )
        for i in self.usable:
            video = self.videos[i]
            there = {k for k in range(len(video)) if video.annotated(k)}
            needed, option, other = set(), "", ""
            if self.every:
                needed = {
                    place
                    for target in self.labelled[i]
                    for backwards in self._directions
                    for place in self._places(target, len(video), backwards)[-len(OFFSETS) :]
                }
                option, other = "labels=every", "labels=target"
            if self.options["mask_images"] == "unseen":
                needed = set(range(len(video)))
                option, other = "mask_images=unseen", "mask_images=none"
            if lacking := sorted(needed - there):
                raise UserError(
                    f"{option} needs a mask for each of these frames, and {len(lacking)} of "
                    f"{len(video)} have none (the first: {video.frame_names[lacking[0]]})",
                    where=f"{self.targets.protocol_id}, training video {video.id}",
                    hint=f"--set {other}, or a training split with a mask for every frame",
                )


def stacked(samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Labels of a batch: (T, B, H, W).

    Raises:
        UserError: videos of different sizes in one batch.
    """
    shapes = sorted({s.masks.shape[-2:] for s in samples})
    if len(shapes) > 1:
        raise UserError(
            f"one batch would hold frames of different sizes ({shapes[0]} and {shapes[-1]})",
            hint="--set augment=full (cuts of one size), or --set batch=1",
        )
    return np.stack([s.masks for s in samples], axis=1)
