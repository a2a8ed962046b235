"""A method whose worker dies on one video, as when the system is out of memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np

from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video
from ovbench.methods.base import Segmenter, Setup

DEADLY = "test-002"


def build(setup: Setup) -> Segmenter:
    return Deadly()


def build_slow_first(setup: Setup) -> Segmenter:
    return Deadly("test-000")


def build_raising(setup: Setup) -> Segmenter:
    return Raising()


class Deadly(Segmenter):
    """Dies on one video; `slow` is a video that takes so long that the other worker gets there first."""

    def __init__(self, slow: str = "") -> None:
        self.slow = slow

    def segment(self, video: Video) -> Iterator[LabelMap]:
        if video.id == self.slow:
            time.sleep(1.0)
        if video.id == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        for image in video.images():
            yield np.zeros(image.shape[:2], np.uint8)


class Raising(Segmenter):
    def segment(self, video: Video) -> Iterator[LabelMap]:
        for image in video.images():
            if video.id == DEADLY:
                raise RuntimeError("this method has a bug")
            yield np.zeros(image.shape[:2], np.uint8)
