"""Features of the frames around the target: each computed once, in memory that no video's length changes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.datasets.base import Video
from ovbench.methods.base import check_image, place

from .clips import REACH


@dataclass(frozen=True)
class Needs:
    """The frames of which a target takes backbone maps, and those of which it takes CLIP features."""

    maps: tuple[int, ...]
    clip: tuple[int, ...]


class Encoder(Protocol):
    """The two passes over frames."""

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Frames of one size -> what both passes take, the first axis counting frames."""

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The backbone's maps, one row per frame."""

    def clip(self, pixels: Tensor) -> Tensor:
        """Dense CLIP features, one row per frame."""


class FrameWindow:
    """Features of a video's frames, asked for by target.

    Kept: frames from `REACH` before the target on, and the video's two ends (one of them is the far frame).

    Args:
        needs: what a target takes.
        targets: the targets to come, in order; features may be computed for several of them at once.
        batch: frames of one pass.
        keep: off forgets everything at each target.
    """

    def __init__(
        self,
        video: Video,
        encoder: Encoder,
        needs: Callable[[int], Needs],
        targets: Sequence[int],
        batch: int = 1,
        keep: bool = True,
    ) -> None:
        self.video, self.encoder = video, encoder
        self._needs = needs
        self._targets, self._batch, self._keep = targets, batch, keep
        self._maps: dict[int, list[Tensor]] = {}
        self._clip: dict[int, Tensor] = {}
        self._far: tuple[int, Any] = (-1, None)
        self._first: tuple[int, tuple[int, int]] | None = None

    def size(self) -> tuple[int, int]:
        """(height, width) of the video's frames, known after the first `move`."""
        assert self._first is not None
        return self._first[1]

    def maps(self, index: int) -> list[Tensor]:
        """Backbone maps of a frame that the present target needs."""
        return self._maps[index]

    def clip(self, index: int) -> Tensor:
        """CLIP features of a frame that the present target needs."""
        return self._clip[index]

    def far(self, index: int, derive: Callable[[], Any]) -> Any:
        """What is derived from the far frame alone; kept while the far frame is the same."""
        if self._far[0] != index:
            self._far = (index, derive())
        return self._far[1]

    def move(self, target: int) -> None:
        """Make the next target the present one: compute what it lacks, drop what lies behind.

        Raises:
            UserError: a frame of another size than the video's earlier ones, or not (H, W, 3) uint8.
        """
        self._drop(target)
        pixels: dict[int, Tensor] = {}
        lacking = [i for i in self._needs(target).maps if i not in self._maps]
        if lacking:
            for chunk in _chunks(self._coming(target, len(lacking), "maps"), self._batch):
                rows = [m.float() for m in self.encoder.maps(self._pixels(chunk, pixels))]
                for n, index in enumerate(chunk):
                    self._maps[index] = [m[n : n + 1] for m in rows] if len(chunk) > 1 else rows
        lacking = [i for i in self._needs(target).clip if i not in self._clip]
        if lacking:
            for chunk in _chunks(self._coming(target, len(lacking), "clip"), self._batch):
                features = self.encoder.clip(self._pixels(chunk, pixels)).float()
                for n, index in enumerate(chunk):
                    self._clip[index] = features[n : n + 1]

    def _drop(self, target: int) -> None:
        if not self._keep:
            self._maps, self._clip, self._far = {}, {}, (-1, None)
            return
        ends = (0, len(self.video) - 1)
        self._maps = {i: m for i, m in self._maps.items() if i >= target - REACH or i in ends}
        self._clip = {i: c for i, c in self._clip.items() if i >= target - REACH}

    def _coming(self, target: int, lacking: int, kind: str) -> list[int]:
        """The frames to compute now: what the target lacks, filled up to whole batches from targets to come."""
        wanted = -(-lacking // self._batch) * self._batch
        known: dict[int, Any] = self._maps if kind == "maps" else self._clip
        return list(islice(self._missing(target, kind, known), wanted))

    def _missing(self, target: int, kind: str, known: dict[int, Any]) -> Iterator[int]:
        met: set[int] = set()
        start = bisect_right(self._targets, target)
        ahead = self._targets[start : start + self._batch] if self._keep else ()
        for coming in (target, *ahead):
            for index in getattr(self._needs(coming), kind):
                if index not in known and index not in met:
                    met.add(index)
                    yield index

    def _pixels(self, chunk: Sequence[int], ready: dict[int, Tensor]) -> Tensor:
        fresh = [i for i in chunk if i not in ready]
        if fresh:
            found = self.encoder.pixels([self._image(i) for i in fresh])
            ready.update((index, found[n : n + 1]) for n, index in enumerate(fresh))
        return torch.cat([ready[i] for i in chunk]) if len(chunk) > 1 else ready[chunk[0]]

    def _image(self, index: int) -> Image:
        image = check_image(self.video.image(index), place(self.video, index))
        size = (int(image.shape[0]), int(image.shape[1]))
        first, expected = self._first or (index, size)
        self._first = (first, expected)
        if size != expected:
            names = self.video.frame_names
            raise UserError(
                f"the frames of a video must have one size: frame '{names[index]}' is {size[0]}x{size[1]}, "
                f"frame '{names[first]}' {expected[0]}x{expected[1]}",
                where=place(self.video, index),
                hint="resize the frames, or split the video where its size changes",
            )
        return image


def _chunks(indices: list[int], size: int) -> Iterator[list[int]]:
    return (indices[i : i + size] for i in range(0, len(indices), size))
