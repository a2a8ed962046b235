"""Control row `majority`: the most frequent class of the training split, everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.datasets.base import Dataset
from ovbench.methods.base import Segmenter, Setup
from ovbench.protocol.schema import Protocol
from ovbench.protocol.vocabulary import Vocabulary

from .constant import Constant


def build(setup: Setup) -> Segmenter:
    if setup.protocol is None or setup.open_split is None:
        raise UserError(
            "'majority' reads the training split, so it needs a protocol",
            hint="ovbench run --method majority --protocol P",
        )
    dataset = setup.open_split("train")
    return Majority(setup.protocol, dataset, int(setup.options["videos"]), int(setup.options["frames"]))


class Majority(Constant):
    """Counts masks of the training split once, in `prepare`.

    Args:
        videos, frames: at most so many videos, evenly spread over the split, and so many annotated
            frames of each are counted: enough to know which class is the largest.

    Only pixels of seen classes are counted, as for any method that learns. Where the vocabulary holds
    no seen class, the row becomes an oracle that counts its unseen classes; `facts()` says so.
    """

    def __init__(self, protocol: Protocol, dataset: Dataset, videos: int, frames: int) -> None:
        super().__init__()
        self.protocol, self.dataset = protocol, dataset
        self.videos, self.frames = videos, frames
        self.counted = ""

    def prepare(self, vocabulary: Vocabulary) -> None:
        classes = self.protocol.vocabulary_classes
        rows = [self.protocol.classes[c] for c in classes if c >= 0]  # extra names come last
        if len(classes) != len(vocabulary):
            raise UserError("'majority' works with the vocabulary of its protocol alone")
        honest = any(r.seen for r in rows)
        self.counted = "seen classes" if honest else "unseen classes (oracle)"
        pixels = self._pixels()
        totals = [int(pixels[list(r.raw_ids)].sum()) if r.seen or not honest else -1 for r in rows]
        if max(totals) <= 0:
            raise UserError(
                "no pixel of the vocabulary's classes was found in the training split",
                hint="count more of it: --set videos=N --set frames=N",
            )
        self.index = totals.index(max(totals))
        super().prepare(vocabulary)

    def facts(self) -> dict[str, Any]:
        return {"majority_of": self.counted, "class": self.vocabulary.names[self.index]}

    def _pixels(self) -> NDArray[np.int64]:
        """(65536,) number of pixels of each raw id."""
        total = np.zeros(65536, np.int64)
        ids = self.dataset.video_ids
        for number in _spread(len(ids), self.videos):
            video = self.dataset.open(ids[number])
            annotated = [i for i in range(len(video)) if video.annotated(i)]
            for k in _spread(len(annotated), self.frames):
                total += np.bincount(video.truth(annotated[k]).ravel(), minlength=65536)
        return total


def _spread(total: int, wanted: int) -> list[int]:
    """At most `wanted` of 0..total-1, evenly spread."""
    count = min(total, max(wanted, 1))
    return [i * total // count for i in range(count)]
