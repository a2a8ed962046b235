"""Control row `constant`: one name everywhere. Its temporal consistency is perfect, its labels are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ovbench.core.errors import UserError, unknown
from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video
from ovbench.methods.base import Segmenter, Setup
from ovbench.methods.labels import label_dtype
from ovbench.protocol.vocabulary import Vocabulary


def build(setup: Setup) -> Segmenter:
    return Constant(int(setup.options["index"]), str(setup.options["label"]))


class Constant(Segmenter):
    """The vocabulary's entry `index`, or the one called `label`, on every pixel."""

    def __init__(self, index: int = 0, label: str = "") -> None:
        self.index, self.label = index, label

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        if self.label:
            if self.label not in vocabulary.names:
                raise unknown("class name", self.label, vocabulary.names)
            self.index = vocabulary.names.index(self.label)
        if not 0 <= self.index < len(vocabulary):
            raise UserError(
                f"option 'index' cannot be {self.index}",
                hint=f"the vocabulary has the indices 0 to {len(vocabulary) - 1}",
            )

    def segment(self, video: Video) -> Iterator[LabelMap]:
        dtype = label_dtype(len(self.vocabulary))
        for image in video.images():
            yield np.full(image.shape[:2], self.index, dtype)
