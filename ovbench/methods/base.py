"""The contract every method fulfils, and what a method is built from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import UserError
from ovbench.core.types import OTHER8, Image, LabelMap
from ovbench.datasets.base import Dataset, Video
from ovbench.protocol.schema import Protocol
from ovbench.protocol.vocabulary import Vocabulary


@dataclass(frozen=True)
class Setup:
    """All that decides what a method computes.

    `options` are resolved: the card's defaults, then the variant's, then `--set`.
    `weights` is None for methods without any, and for untrained ones (`untrained` is then True).
    `protocol` and `open_split` are None when a method is built from Python without a protocol;
    only methods that read the training split or the truth (control rows) may need them.
    """

    method: str
    variant: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    untrained: bool = False
    device: str = "cpu"
    protocol: Protocol | None = None
    open_split: Callable[[str], Dataset] | None = None  # "train" or "test" -> data set
    folder: Path = field(default_factory=Path)  # the method's folder under baselines/


class Segmenter(ABC):
    """A method. `prepare` once per vocabulary, then `segment` any number of videos."""

    untrained: bool = False  # name-seeded weights: what comes out means nothing
    prepared: Vocabulary | None = None

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Take the vocabulary. Subclasses that encode text extend this."""
        self.prepared = vocabulary

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary taken; raises `UserError` before there is one."""
        if self.prepared is None:
            raise UserError("no vocabulary yet", hint="call prepare(vocabulary) before segment or scores")
        return self.prepared

    @abstractmethod
    def segment(self, video: Video) -> Iterator[LabelMap]:
        """One (H, W) uint8/uint16 label map per frame, in frame order, at the frame's own size.

        For a frame that is not `video.wanted`, `unused()` will do.
        No state may pass from one video to the next.
        """

    def absent(self, video: Video) -> frozenset[int]:
        """Frames that it has no label map for at all (label maps on disk may leave out some without truth)."""
        return frozenset()

    def facts(self) -> dict[str, Any]:
        """What a manifest should know beyond the setup (parameter count, text hashes, ...)."""
        return {}


def check_image(image: Image) -> Image:
    """The image; raises `UserError` unless it is (H, W, 3) uint8."""
    shape = tuple(getattr(image, "shape", ()))
    dtype = str(getattr(image, "dtype", type(image).__name__))
    if len(shape) != 3 or shape[-1] != 3 or dtype != "uint8":
        raise UserError(f"an image must be (H, W, 3) uint8 RGB, not {shape} {dtype}")
    return image


def unused() -> LabelMap:
    """What stands for the label map of a frame that nobody looks at."""
    return np.full((1, 1), OTHER8, np.uint8)


class FrameSegmenter(Segmenter):
    """A method that looks at one frame at a time."""

    @abstractmethod
    def segment_frame(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 RGB -> (H, W) label map."""

    def segment(self, video: Video) -> Iterator[LabelMap]:
        if all(video.wanted(i) for i in range(len(video))):
            for image in video.images():
                yield self.segment_frame(image)
            return
        for index in range(len(video)):
            yield self.segment_frame(video.image(index)) if video.wanted(index) else unused()
