"""The contract every method fulfils, and what a method is built from."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
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

    def __init_subclass__(cls, **options: Any) -> None:
        """Every method's own `prepare` refuses what is no vocabulary, before it does anything."""
        super().__init_subclass__(**options)
        if "prepare" in cls.__dict__:
            cls.prepare = _checked(cls.prepare)  # type: ignore[assignment, method-assign]

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Take the vocabulary. Subclasses that encode text extend this.

        Raises:
            UserError: no `Vocabulary`, but a list of names, say.
        """
        self.prepared = check_vocabulary(vocabulary)

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


def check_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """`out_size` of scores, (h, w), as whole numbers; None as it is. Raises `UserError`."""
    if size is None:
        return None
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise UserError(
            f"out_size must be height and width, whole numbers from 1 on, not {size!r}",
            hint="leave it out for the frame's own size",
        )
    return height, width


def check_vocabulary(vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary; raises `UserError` for anything else."""
    if not isinstance(vocabulary, Vocabulary):
        raise UserError(
            f"prepare takes a Vocabulary, not a {type(vocabulary).__name__}",
            hint='prepare(ovbench.Vocabulary(["cat", "dog"]))',
        )
    return vocabulary


def _checked(prepare: Callable[[Any, Vocabulary], None]) -> Callable[[Any, Vocabulary], None]:
    @wraps(prepare)
    def checked(self: Any, vocabulary: Vocabulary) -> None:
        prepare(self, check_vocabulary(vocabulary))

    return checked


def check_video(video: Video) -> Video:
    """The video; raises `UserError` when it has no frame."""
    if not len(video):
        raise UserError("the video has no frames", where=f"video '{video.id}'")
    return video


def check_image(image: Image, where: str | None = None) -> Image:
    """The image; raises `UserError` unless it is (H, W, 3) uint8 with a pixel in it."""
    shape = tuple(getattr(image, "shape", ()))
    dtype = str(getattr(image, "dtype", type(image).__name__))
    if len(shape) != 3 or shape[-1] != 3 or dtype != "uint8" or 0 in shape:
        raise UserError(f"an image must be (H, W, 3) uint8 RGB, not {shape} {dtype}", where=where)
    return image


def place(video: Video, index: int) -> str:
    """A frame as messages name it."""
    return f"video '{video.id}', frame '{video.frame_names[index]}'"


def unused() -> LabelMap:
    """What stands for the label map of a frame that nobody looks at."""
    return np.full((1, 1), OTHER8, np.uint8)


class FrameSegmenter(Segmenter):
    """A method that looks at one frame at a time."""

    @abstractmethod
    def segment_frame(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 RGB -> (H, W) label map."""

    def segment(self, video: Video) -> Iterator[LabelMap]:
        check_video(video)
        if all(video.wanted(i) for i in range(len(video))):
            for index, image in enumerate(video.images()):
                yield self.segment_frame(check_image(image, place(video, index)))
            return
        for index in range(len(video)):
            if not video.wanted(index):
                yield unused()
                continue
            yield self.segment_frame(check_image(video.image(index), place(video, index)))
