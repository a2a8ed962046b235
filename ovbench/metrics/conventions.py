"""Named rules for which classes enter a mean. The same counts give 50.9, 36.6 or 22.5 mIoU under different ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import unknown

_COMMON = (
    "Pixels are pooled over all videos. Only pixels whose truth is a scored class are counted; "
    "an abstention on such a pixel is a miss."
)


@dataclass(frozen=True)
class Convention:
    """A convention: its id, a sentence for readers, and the two class rules.

    `iou_over` / `acc_over`: "truth" (classes with truth pixels), "either" (truth or prediction),
    "all" (every scored class; absent ones count 0).
    """

    id: str
    text: str
    iou_over: str
    acc_over: str

    def enters_iou(self, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(..., K) which classes enter mIoU, from their truth and prediction pixels."""
        return _enters(self.iou_over, truth, prediction)

    def enters_acc(self, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(..., K) which classes enter mAcc."""
        return _enters(self.acc_over, truth, prediction)


def _enters(rule: str, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> NDArray[np.bool_]:
    if rule == "truth":
        return truth > 0
    if rule == "either":
        return (truth > 0) | (prediction > 0)
    return np.ones(truth.shape, np.bool_)


CONVENTIONS: dict[str, Convention] = {
    c.id: c
    for c in (
        Convention(
            "gt-present",
            f"{_COMMON} Means run over the classes that occur in the truth (VSPW script, detectron2).",
            "truth",
            "truth",
        ),
        Convention(
            "union-present",
            f"{_COMMON} mIoU runs over the classes that occur in truth or prediction, so a class that is "
            "only predicted counts 0; mAcc over classes in the truth (mmseg's nan-mean).",
            "either",
            "truth",
        ),
        Convention(
            "all-classes",
            f"{_COMMON} Means run over every scored class; a class absent from the truth counts 0.",
            "all",
            "all",
        ),
    )
}


def convention(convention_id: str) -> Convention:
    """The convention of that id; raises `UserError` with near names for an unknown one."""
    if convention_id not in CONVENTIONS:
        raise unknown("convention", convention_id, CONVENTIONS)
    return CONVENTIONS[convention_id]
