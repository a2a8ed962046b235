"""What counting does with each frame: its joint histogram, and where it stayed the same as those before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from ovbench.core.native import kernel

from .bits import Flat, Stepper
from .changes import ChangeCounter
from .codes import TruthCodes
from .joint import Columns, Pairs, Runs
from .videocounts import ChangeCounts, WindowCounts
from .windows import WindowCounter

Finished: TypeAlias = tuple[dict[int, WindowCounts], ChangeCounts]
Shape: TypeAlias = tuple[int, ...]


class FrameCounter(Protocol):
    """One of two ways to the same integers.

    `runs` are those of the last frame's prediction, where counting has come across them.
    """

    @property
    def runs(self) -> Runs | None: ...

    def update(self, frame: int, raw: Flat | None, prediction: Flat, shape: Shape) -> Columns | None:
        """Count frame number `frame`, both maps flat; returns its joint histogram, None without truth.

        Raises:
            LabelError: a label that is not declared.
        """

    def skip(self) -> None:
        """A frame that was not segmented."""

    def finish(self) -> Finished:
        """Windows by length, and changes."""


class NumpyFrames:
    """Counts with NumPy alone."""

    def __init__(self, pairs: Pairs, codes: TruthCodes, windows: Sequence[int]) -> None:
        self._pairs = pairs
        self._stepper = Stepper(codes)
        self._windows = WindowCounter(windows)
        self._changes = ChangeCounter()
        self._shape: Shape = ()
        self.runs: Runs | None = None

    def update(self, frame: int, raw: Flat | None, prediction: Flat, shape: Shape) -> Columns | None:
        if shape != self._shape:
            self.skip()  # frames of another size cannot be compared
            self._shape = shape
        if raw is None:
            columns = None
            step = self._stepper.step(None, (), prediction)
            self._windows.skip()
            self.runs = None
        else:
            columns = self._pairs.of(raw, prediction)
            self.runs = self._pairs.runs
            step = self._stepper.step(raw, set(columns[0].tolist()), prediction)
            if self._windows.lengths:
                self._windows.add(frame, step)
        self._changes.add(frame, step)
        return columns

    def skip(self) -> None:
        self._stepper.skip()
        self._windows.skip()

    def finish(self) -> Finished:
        return self._windows.finish(), self._changes.finish()


def frame_counter(pairs: Pairs, codes: TruthCodes, windows: Sequence[int]) -> FrameCounter:
    """The fastest counter that this installation has for these tables."""
    compiled = kernel("metrics._count")
    if compiled is not None:
        from .native import NativeFrames, fits

        if fits(pairs, codes, windows):
            return NativeFrames(compiled, pairs, codes, windows)
    return NumpyFrames(pairs, codes, windows)
