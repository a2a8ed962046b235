"""Videos and data sets: lazily decoded frames that know their annotation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ovbench.core.hashing import hash_json
from ovbench.core.types import Image, RawMask

_WINDOW = 24  # decoded frames kept; enough for t-9..t plus the far frame, bounded for any length


class Video(ABC):
    """A sequence of frames, decoded when asked for.

    Subclasses give `_decode_image` and `_decode_truth`; this class keeps a bounded window of
    decoded images. Frames are numbered 0..len-1; `frame_names[i]` is the stem used for files.
    """

    def __init__(self, video_id: str, frame_names: Sequence[str]) -> None:
        self.id = video_id
        self.frame_names = tuple(frame_names)
        self._images: OrderedDict[int, Image] = OrderedDict()

    def __len__(self) -> int:
        return len(self.frame_names)

    @property
    def listed_files(self) -> int:
        """Number of files in the mask folder, hidden ones included (the VC script counts those)."""
        return len(self)

    @property
    def dense(self) -> bool:
        """True when every frame is annotated."""
        return all(self.annotated(i) for i in range(len(self)))

    @abstractmethod
    def annotated(self, index: int) -> bool:
        """Whether frame `index` has a truth mask."""

    @abstractmethod
    def _decode_image(self, index: int) -> Image: ...

    @abstractmethod
    def _decode_truth(self, index: int) -> RawMask: ...

    def image(self, index: int) -> Image:
        """(H, W, 3) uint8 RGB; raises `UserError` for an unreadable file, naming it."""
        if index in self._images:
            self._images.move_to_end(index)
            return self._images[index]
        image = self._decode_image(self._check(index))
        image.setflags(write=False)
        self._images[index] = image
        if len(self._images) > _WINDOW:
            self._images.popitem(last=False)
        return image

    def truth(self, index: int) -> RawMask:
        """(H, W) raw ids of an annotated frame; raises `UserError` for an unreadable or colour mask."""
        return self._decode_truth(self._check(index))

    def wanted(self, index: int) -> bool:
        """Whether anybody looks at frame `index`'s label map. For one that is not wanted, a method may give
        any label map, of any size, and save itself the work."""
        return True

    def tags(self, index: int) -> Mapping[str, Any]:
        """Facts about a frame (the world's corruption tags); empty for real data."""
        return {}

    def fingerprint(self, frames: int | None = None) -> str:
        """SHA-256 over what the first `frames` frames are made from; nothing is decoded.

        Covers names, which frames are annotated, and for files their sizes and times of change. A run takes
        up a finished video only while its fingerprint is the same.
        """
        count = len(self) if frames is None else min(frames, len(self))
        return hash_json([[self.frame_names[i], self.annotated(i), self._stamp(i)] for i in range(count)])

    def _stamp(self, index: int) -> list[int]:
        """Numbers that change when frame `index` changes on disk; empty where there are no files."""
        return []

    def images(self) -> Iterator[Image]:
        """All frames in order."""
        return (self.image(i) for i in range(len(self)))

    def _check(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of video '{self.id}' with {len(self)} frames")
        return index


class VideoView(Video):
    """Another video as somebody is to see it; subclasses change what they mean to change.

    Tags are not passed on.
    """

    def __init__(self, inner: Video, frames: int | None = None) -> None:
        super().__init__(inner.id, inner.frame_names[:frames])
        self._inner = inner

    def annotated(self, index: int) -> bool:
        return self._inner.annotated(self._check(index))

    def image(self, index: int) -> Image:
        return self._inner.image(self._check(index))

    def images(self) -> Iterator[Image]:
        return islice(self._inner.images(), len(self))

    def truth(self, index: int) -> RawMask:
        return self._inner.truth(self._check(index))

    def _decode_image(self, index: int) -> Image:
        return self._inner.image(index)

    def _decode_truth(self, index: int) -> RawMask:
        return self._inner.truth(index)


class ArrayVideo(Video):
    """A video held in memory: (T, H, W, 3) uint8 frames and optional (T, H, W) raw masks."""

    def __init__(
        self,
        frames: np.ndarray[Any, Any],
        masks: np.ndarray[Any, Any] | None = None,
        video_id: str = "array",
    ) -> None:
        super().__init__(video_id, [f"{i:05d}" for i in range(len(frames))])
        self._frames, self._masks = frames, masks

    def annotated(self, index: int) -> bool:
        return self._masks is not None

    def _decode_image(self, index: int) -> Image:
        return np.ascontiguousarray(self._frames[index])

    def _decode_truth(self, index: int) -> RawMask:
        assert self._masks is not None
        mask: RawMask = self._masks[index]
        return mask


class Dataset(ABC):
    """A split of a data set: video ids in protocol order, each opened lazily."""

    name: str
    split: str

    @property
    @abstractmethod
    def video_ids(self) -> Sequence[str]:
        """Video ids in the order of the split file."""

    @abstractmethod
    def open(self, video_id: str) -> Video:
        """A fresh `Video`; raises `UserError` when the video does not exist."""

    def frame_count(self, video_id: str) -> int:
        """Number of frames without decoding any (for progress and longest-first scheduling)."""
        return len(self.open(video_id))
