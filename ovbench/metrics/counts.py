"""One pass over a video's frames: joint histogram and window counts, all exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import OTHER8, OTHER16, LabelMap, RawMask
from ovbench.protocol.schema import Protocol

from .codes import TruthCodes, declared_ids
from .joint import JointCounter, LabelError, Pairs
from .videocounts import OTHER, Joint, TagCounts, VideoCounts, WindowCounts
from .windows import WindowCounter

__all__ = [
    "OTHER",
    "Joint",
    "LabelError",
    "SizeError",
    "TagCounts",
    "VideoCounter",
    "VideoCounts",
    "WindowCounts",
    "counter_for",
]


class SizeError(ValueError):
    """Two maps that must have one size have two. Attributes: `first`, `second`, both (height, width)."""

    def __init__(self, what: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
        super().__init__(f"{what}: {_size(first)} and {_size(second)} (height x width)")
        self.what, self.first, self.second = what, first, second

    def __reduce__(self) -> tuple[object, ...]:
        return (SizeError, (self.what, self.first, self.second))


class VideoCounter:
    """Counts the frames of one video, in order; use a new one for each video.

    Args:
        truth_table: (65536,) uint8, raw id -> class index; 255 void, 254 undeclared. (uint16 for
            more than 254 classes; then 65535 and 65534.)
        class_of_vocabulary: (V,) int, class index of each vocabulary index; -1: a name without a class.
        scored_classes: class indices whose truth pixels are scored.
        windows: window lengths; () where consistency is not asked for.

    Memory does not depend on the number of frames, apart from six integers per window.
    """

    def __init__(
        self,
        truth_table: NDArray[Any],
        class_of_vocabulary: NDArray[np.int64],
        scored_classes: Sequence[int],
        windows: Sequence[int] = (),
    ) -> None:
        if any(n < 1 for n in windows):
            raise UserError(f"a window holds at least one frame, not {min(windows)}")
        names = np.asarray(class_of_vocabulary, np.int64)
        self._names = len(names)
        self._pairs = Pairs(declared_ids(truth_table), self._names)
        self._joint = JointCounter(self._pairs)
        self._tags: dict[str, JointCounter] = {}
        self._windows: WindowCounter | None = None
        if windows:
            self._windows = WindowCounter(TruthCodes(truth_table, names, scored_classes), windows)
        self._frames = 0
        self._first: tuple[int, ...] = (0, 0)
        self._last: tuple[int, ...] | None = None  # size of the frame before; None after a gap

    def update(self, truth: RawMask | None, prediction: LabelMap, tag: str | None = None) -> None:
        """Count the next frame.

        Args:
            truth: (H, W) uint8/uint16 raw ids; None for a frame without annotation, which is counted
                nowhere and interrupts windows.
            prediction: (H, W) uint8/uint16 vocabulary indices; 255 (65535) is "other".
            tag: frames with this tag are also counted apart.

        Raises:
            SizeError: truth and prediction differ in size, or (with windows) the size changed.
            LabelError: a raw id or vocabulary index that nobody declared.
            UserError: not (H, W) uint8/uint16, or empty.
        """
        _check_map("prediction", prediction)
        if truth is not None:
            self._check_sizes(truth, prediction)
        if truth is None:
            self._last = None
            if self._windows is not None:
                self._windows.skip()
        else:
            if self._joint.frames == 0:
                self._first = truth.shape
            self._count(truth, prediction, tag)
            self._last = truth.shape
        self._frames += 1

    def finish(self, listed_files: int | None = None) -> VideoCounts:
        """The counts; `listed_files` is the number of files in the mask folder, hidden ones included."""
        return VideoCounts(
            frames=self._frames,
            annotated=self._joint.frames,
            listed_files=self._frames if listed_files is None else listed_files,
            height=self._first[0],
            width=self._first[1],
            joint=self._joint.joint(),
            windows={} if self._windows is None else self._windows.finish(),
            tags={t: TagCounts(c.frames, c.joint()) for t, c in sorted(self._tags.items())},
        )

    def _count(self, truth: RawMask, prediction: LabelMap, tag: str | None) -> None:
        raw = np.ascontiguousarray(truth).reshape(-1)
        flat = self._fit(np.ascontiguousarray(prediction).reshape(-1))
        codes, weights = self._pairs.of(raw, flat)
        self._joint.add(codes, weights)
        if tag is not None:
            if tag not in self._tags:
                self._tags[tag] = JointCounter(self._pairs)
            self._tags[tag].add(codes, weights)
        if self._windows is not None:
            self._windows.update(raw, flat)

    def _fit(self, prediction: LabelMap) -> LabelMap:
        """The narrowest dtype that holds the vocabulary and "other", whatever the method yields."""
        if self._names > OTHER8 and prediction.dtype == np.uint8:
            wide = prediction.astype(np.uint16)
            wide[prediction == OTHER8] = OTHER16
            return wide
        if self._names <= OTHER8 and prediction.dtype == np.uint16:
            bad = (prediction >= self._names) & (prediction != OTHER16)
            if bad.any():
                raise LabelError(int(prediction[bad].min()), "prediction")
            return prediction.astype(np.uint8)  # 65535 becomes 255
        return prediction

    def _check_sizes(self, truth: RawMask, prediction: LabelMap) -> None:
        _check_map("truth", truth)
        if truth.shape != prediction.shape:
            raise SizeError("truth and prediction differ in size", truth.shape, prediction.shape)
        if self._windows is not None and self._last not in (None, truth.shape):
            assert self._last is not None
            raise SizeError(
                "the frame size changes inside a video, so windows cannot be counted", self._last, truth.shape
            )


def counter_for(protocol: Protocol) -> VideoCounter:
    """A new counter with the label map, scored classes and windows of a protocol."""
    return VideoCounter(
        protocol.truth_table, protocol.class_of_vocabulary, protocol.scored_classes, protocol.windows
    )


def _check_map(kind: str, array: NDArray[Any]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16) or array.ndim != 2:
        got = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UserError(
            f"a {kind} must be a (height, width) array of uint8 or uint16, got {got}",
            hint="convert label maps with .astype('uint8') (or 'uint16' for more than 255 names)",
        )
    if array.size == 0:
        raise UserError(f"a {kind} without pixels: {array.shape}")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
