"""How many pixels change from frame to frame, in the prediction and in the truth: the counts behind flicker."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from .bits import Step, popcounts
from .videocounts import ChangeCounts

_COLUMNS = len(fields(ChangeCounts))


class ChangeCounter:
    """Counts each pair of neighbouring frames that were both segmented, from their steps."""

    def __init__(self) -> None:
        self._values = array("q")
        self._masks = np.empty((5, 0), np.uint64)

    def add(self, frame: int, step: Step) -> None:
        """Frame number `frame`."""
        same = step.same_prediction
        if same is None:
            return
        if self._masks.shape[1] != same.size:
            self._masks = np.empty((5, same.size), np.uint64)
        masks = self._masks
        masks[0], aba_pixels, pairs = same, 0, 1
        if step.scored is not None and step.scored_before is not None and step.same_truth is not None:
            np.bitwise_and(step.scored, step.scored_before, out=masks[1])
            np.bitwise_and(masks[1], same, out=masks[2])
            np.bitwise_and(masks[1], step.same_truth, out=masks[3])
            pairs = 4
        if step.back is not None:
            np.bitwise_and(step.back, same, out=masks[pairs])
            masks[pairs] ^= step.back
            aba_pixels = step.size
        counts = popcounts(masks[: pairs + (step.back is not None)])
        aba = counts.pop() if step.back is not None else 0
        kept, scored, scored_kept, truth_kept = counts if pairs == 4 else (*counts, 0, 0, 0)
        row = (frame, step.size, step.size - kept, aba_pixels, aba)
        self.append((*row, scored, scored - scored_kept, scored - truth_kept))

    def append(self, row: Sequence[int]) -> None:
        """A pair of neighbours, as in `ChangeCounts`."""
        self._values.extend(row)

    def finish(self) -> ChangeCounts:
        """All pairs of neighbours."""
        return ChangeCounts(*(tuple(self._values[i::_COLUMNS]) for i in range(_COLUMNS)))
