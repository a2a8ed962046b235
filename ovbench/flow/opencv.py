"""Classical flow from OpenCV: DIS (Kroeger et al. 2016) and Farneback (2003). No weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ovbench.core.errors import UserError, missing_extra
from ovbench.core.types import Image
from ovbench.metrics.flow import Flow

from .base import ImageFlow

PRESETS = {"dis": "MEDIUM", "dis-fast": "FAST", "dis-ultrafast": "ULTRAFAST"}
"""OpenCV's own presets of DIS."""

FARNEBACK: dict[str, float] = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}
"""The values of OpenCV's dense-flow tutorial."""


class TooSmall(UserError):
    """Pictures that DIS finds no flow between."""


def opencv() -> Any:
    """The module `cv2`; raises `UserError` that names the extra where it is missing."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise missing_extra("opencv-python-headless", "flow") from error
    return cv2


def options(kind: str) -> dict[str, Any]:
    """What decides the flow of a backend besides the pictures, for the run key."""
    settings = {"preset": PRESETS[kind]} if kind in PRESETS else dict(FARNEBACK)
    return {"opencv": str(opencv().__version__), **settings}


class OpenCvFlow(ImageFlow):
    """DIS or Farneback on grey pictures.

    Args:
        kind: "dis", "dis-fast", "dis-ultrafast" or "farneback".
        threads: of OpenCV while it computes; its setting is put back afterwards.

    Raises:
        UserError: OpenCV is missing; two pictures differ in size, or are too small for DIS (`TooSmall`), which wants
            12 pixels on one side and 8 on the other.
    """

    def __init__(self, kind: str, threads: int = 1) -> None:
        super().__init__()
        self._cv2, self._threads = opencv(), threads
        self._dis = None
        if kind in PRESETS:
            preset = getattr(self._cv2, f"DISOPTICAL_FLOW_PRESET_{PRESETS[kind]}")
            self._dis = self._cv2.DISOpticalFlow_create(preset)

    def prepare(self, image: Image) -> Any:
        """(H, W, 3) uint8 RGB -> (H, W) uint8."""
        return self._cv2.cvtColor(np.ascontiguousarray(image), self._cv2.COLOR_RGB2GRAY)

    def between(self, first: Any, second: Any) -> Flow:
        if first.shape != second.shape:
            sizes = " and ".join(f"{height}x{width}" for height, width in (first.shape, second.shape))
            raise UserError(f"there is no flow between pictures of different sizes: {sizes}")
        with self._pinned():
            try:
                if self._dis is not None:
                    found = self._dis.calc(first, second, None)
                else:
                    found = self._cv2.calcOpticalFlowFarneback(first, second, None, **FARNEBACK)
            except self._cv2.error as error:
                height, width = first.shape
                what = f"OpenCV finds no flow between pictures of {height}x{width}: {error.err}"
                if self._dis is None or (max(height, width) >= 12 and min(height, width) >= 8):
                    raise UserError(what) from error
                raise TooSmall(
                    f"{what} (and the other one >= 8)", hint="--flow farneback takes any size"
                ) from error
        return np.asarray(found, np.float32)

    @contextmanager
    def _pinned(self) -> Iterator[None]:
        """DIS cuts the picture into one strip per thread, so the number of threads is part of the result."""
        before = self._cv2.getNumThreads()
        if before != self._threads:
            self._cv2.setNumThreads(self._threads)
        try:
            yield
        finally:
            if before != self._threads:
                self._cv2.setNumThreads(before)
