"""Control row `oracle-grid`: the truth on a coarse grid, the ceiling of any method that labels cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import LabelMap, other_of
from ovbench.datasets.base import Video
from ovbench.methods.base import Segmenter, Setup
from ovbench.methods.labels import label_dtype
from ovbench.protocol.schema import Protocol
from ovbench.protocol.vocabulary import Vocabulary


def build(setup: Setup) -> Segmenter:
    if setup.protocol is None:
        raise UserError(
            "'oracle-grid' reads the truth, so it needs a protocol",
            hint="ovbench run --method oracle-grid --protocol P",
        )
    stride = int(setup.options["stride"])
    if stride < 1:
        raise UserError(f"option 'stride' cannot be {stride}", hint="give a number of pixels from 1 on")
    return OracleGrid(setup.protocol, stride)


class OracleGrid(Segmenter):
    """Each `stride` x `stride` cell gets the true label of its centre pixel.

    Void and classes outside the vocabulary become "other", as do frames without truth.
    """

    def __init__(self, protocol: Protocol, stride: int) -> None:
        self.protocol, self.stride = protocol, stride

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        if len(vocabulary) != len(self.protocol.vocabulary_classes):
            raise UserError("'oracle-grid' works with the vocabulary of its protocol alone")
        dtype = label_dtype(len(vocabulary))
        self._table = np.full(65536, other_of(dtype), dtype)
        for index, c in enumerate(self.protocol.vocabulary_classes):
            if c >= 0:
                self._table[list(self.protocol.classes[c].raw_ids)] = index

    def segment(self, video: Video) -> Iterator[LabelMap]:
        for index in range(len(video)):
            if video.annotated(index):
                yield self._grid(self._table[video.truth(index)])
            else:
                shape = video.image(index).shape[:2]
                yield np.full(shape, other_of(self._table.dtype), self._table.dtype)

    def _grid(self, truth: LabelMap) -> LabelMap:
        rows, columns = (_centres(n, self.stride) for n in truth.shape)
        return truth[rows[:, None], columns[None, :]]


def _centres(size: int, stride: int) -> NDArray[np.int64]:
    """For each of `size` pixels the centre of its cell, inside the frame."""
    return np.minimum(np.arange(size) // stride * stride + stride // 2, size - 1)
