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
from .framecounts import frame_counter
from .joint import LabelError, Pairs, Runs
from .series import JointSeries, SeriesBuilder
from .videocounts import OTHER, Joint, TagCounts, VideoCounts, WindowCounts

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

    Memory does not depend on the number of frames, apart from eight integers a window and the entries of
    each frame's joint histogram.
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
        self._names, self._windows = len(names), tuple(windows)
        self._pairs = Pairs(declared_ids(truth_table), self._names)
        self._frame = frame_counter(self._pairs, TruthCodes(truth_table, names, scored_classes), windows)
        self._series = SeriesBuilder()
        self._tags: list[str | None] = []  # of the annotated frames
        self._frames = 0
        self._first: tuple[int, ...] = (0, 0)
        self._last: tuple[int, ...] | None = None  # size of the frame before; None after a gap

    def update(self, truth: RawMask | None, prediction: LabelMap, tag: str | None = None) -> None:
        """Count the next frame.

        Args:
            truth: (H, W) uint8/uint16 raw ids; None for a frame without annotation, which interrupts
                windows and counts only for changes of the prediction.
            prediction: (H, W) uint8/uint16 vocabulary indices; 255 (65535) is "other".
            tag: frames with this tag are also counted apart.

        Raises:
            SizeError: truth and prediction differ in size, or (with windows) the size changed.
            LabelError: a raw id or vocabulary index that nobody declared.
            UserError: not (H, W) uint8/uint16, or empty.
        """
        _check_map("prediction", prediction)
        flat = self._fit(np.ascontiguousarray(prediction).reshape(-1))
        if truth is None:
            self._last = None
            self._frame.update(self._frames, None, flat, prediction.shape)
        else:
            self._check_sizes(truth, prediction)
            if not self._tags:
                self._first = truth.shape
            raw = np.ascontiguousarray(truth).reshape(-1)
            columns = self._frame.update(self._frames, raw, flat, prediction.shape)
            assert columns is not None
            self._series.add(self._frames, *columns)
            self._tags.append(tag)
            self._last = truth.shape
        self._frames += 1

    def skip(self) -> None:
        """The next frame was not segmented: it is counted nowhere and interrupts windows and changes."""
        self._last = None
        self._frame.skip()
        self._frames += 1

    @property
    def runs(self) -> Runs | None:
        """Runs of the last prediction that was counted with truth, where they are known; flat, in its dtype."""
        return self._frame.runs

    def finish(self, listed_files: int | None = None) -> VideoCounts:
        """The counts; `listed_files` is the number of files in the mask folder, hidden ones included."""
        windows, changes = self._frame.finish()
        series = self._series.series()
        return VideoCounts(
            frames=self._frames,
            annotated=len(series),
            listed_files=self._frames if listed_files is None else listed_files,
            height=self._first[0],
            width=self._first[1],
            joint=Joint(*series.total()),
            windows=windows,
            tags={t: self._tagged(t, series) for t in sorted({t for t in self._tags if t is not None})},
            per_frame=series,
            changes=changes,
        )

    def _tagged(self, tag: str, series: JointSeries) -> TagCounts:
        chosen = np.array([t == tag for t in self._tags])
        return TagCounts(int(chosen.sum()), Joint(*series.total(chosen)))

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
        if self._windows and self._last not in (None, truth.shape):
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
