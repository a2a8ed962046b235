"""Control row `random`: every pixel an independent draw from the vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video
from ovbench.methods.base import Segmenter, Setup
from ovbench.methods.labels import label_dtype


def build(setup: Setup) -> Segmenter:
    return RandomLabels(int(setup.options["seed"]))


class RandomLabels(Segmenter):
    """Uniform labels, a pure function of seed, video id and frame number.

    Drawn from raw bits of Philox, whose stream NumPy keeps the same in every version.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def segment(self, video: Video) -> Iterator[LabelMap]:
        names = np.uint64(len(self.vocabulary))
        for index, image in enumerate(video.images()):
            height, width = image.shape[:2]
            name = f"{self.seed}/{video.id}/{index}".encode()
            key = int.from_bytes(hashlib.sha256(name).digest()[:16], "big")
            raw = np.random.Philox(key=key).random_raw(height * width) >> np.uint64(32)
            drawn = (raw * names) >> np.uint64(32)
            yield drawn.astype(label_dtype(len(self.vocabulary))).reshape(height, width)
