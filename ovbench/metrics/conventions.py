"""Named rules that turn the same counts into a mean; on one set of masks they give 50.9, 36.6 or 4.6 mIoU.

An id is "<class rule>[+abstain-shrinks][+base-ignored]":

class rule        which classes enter a mean, and over what it is taken (`CLASS_RULES`)
abstain-shrinks   truth pixels on which the method abstained are taken out of the truth; otherwise a
                  pixel without an answer is a miss
base-ignored      a pixel of a seen class is void for unseen classes and the other way round: a false
                  alarm across that border costs nothing; otherwise it does

One more, "ov2vss-released", is no composition: it restates a published evaluation, bugs included (`released`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import unknown
from ovbench.protocol.check import RELEASED

ABSTAIN_SHRINKS, BASE_IGNORED = "abstain-shrinks", "base-ignored"

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Convention:
    """How counts become a score.

    Attributes:
        id: printed with every number.
        text: what it means, for readers of a table.
        used_by: whose numbers follow it; "" where nobody's that we know of.
        unit: "run": classes are pooled over the run. "image": the mean over classes is taken in each
            image, then over images. "image-class": over all pairs of an image and a class in it.
        iou_over, acc_over: classes that enter mIoU and mAcc: "truth" (classes with truth pixels),
            "either" (in truth or prediction), "all" (every scored class; absent ones count 0).
        abstain_shrinks, base_ignored: see above.
        as_released: pixels are counted as in `released`, and fwIoU comes from its matrix.
    """

    id: str
    text: str
    used_by: str
    unit: str
    iou_over: str
    acc_over: str
    abstain_shrinks: bool = False
    base_ignored: bool = False
    as_released: bool = False

    @property
    def pooled(self) -> bool:
        """Whether scores follow from pixel sums per class; otherwise every image counts by itself."""
        return self.unit == "run"

    def enters_iou(self, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> Flags:
        """Which classes enter mIoU, from their truth and prediction pixels (arrays of one shape)."""
        return _enters(self.iou_over, truth, prediction)

    def enters_acc(self, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> Flags:
        """Which classes enter mAcc."""
        return _enters(self.acc_over, truth, prediction)


def _enters(over: str, truth: NDArray[np.float64], prediction: NDArray[np.float64]) -> Flags:
    if over == "truth":
        return truth > 0
    if over == "either":
        return (truth > 0) | (prediction > 0)
    return np.ones(truth.shape, np.bool_)


@dataclass(frozen=True)
class _ClassRule:
    unit: str
    iou_over: str
    acc_over: str
    text: str


CLASS_RULES: dict[str, _ClassRule] = {
    "gt-present": _ClassRule(
        "run",
        "truth",
        "truth",
        "Pixels are pooled over all videos; means run over the classes that occur in the truth.",
    ),
    "union-present": _ClassRule(
        "run",
        "either",
        "truth",
        "Pixels are pooled over all videos; mIoU runs over the classes that occur in truth or prediction, so a "
        "class that is only predicted counts 0; mAcc runs over the classes in the truth.",
    ),
    "all-classes": _ClassRule(
        "run",
        "all",
        "all",
        "Pixels are pooled over all videos; means run over every scored class; one absent from the truth counts 0.",
    ),
    "per-image": _ClassRule(
        "image",
        "either",
        "truth",
        "Every image is scored by itself (mIoU over the classes in its truth or prediction, mAcc over those in "
        "its truth), then the mean is taken over the images in which the score is defined.",
    ),
    "per-image-class": _ClassRule(
        "image-class",
        "either",
        "truth",
        "mIoU is the mean over all pairs of an image and a class that occurs in its truth or prediction, mAcc over "
        "the pairs whose class is in the truth; fwIoU and pAcc are pooled over all videos.",
    ),
}

_COUNTED = "Only pixels whose truth is a scored class are counted; "
_ABSTAIN = {
    False: "an abstention on such a pixel is a miss.",
    True: "those on which the method abstains are taken out of the truth.",
}
_BASE = {
    False: "",
    True: " Pixels of seen classes are void for unseen classes and the other way round: "
    "false alarms across that border cost nothing.",
}
_USED_BY = {
    "gt-present": "the VSPW script and its copies in MRCFA, OV2VSS and DVIS_Plus",
    "gt-present+abstain-shrinks": "detectron2's SemSegEvaluator",
    "gt-present+base-ignored": "evaluations on masks in which the other side's classes were made void",
    "union-present": "mmseg's IoUMetric (nan-mean), MESS, ZegFormer, torchmetrics' MulticlassJaccardIndex",
    "union-present+base-ignored": "nan-means over masks in which the other side's classes were made void",
    "all-classes": "scikit-learn's jaccard_score with all labels given; scripts that divide by the number of classes",
    "per-image": "torchmetrics.functional.segmentation.mean_iou (from 1.8), averaged over images",
    "per-image-class": "torchmetrics.segmentation.MeanIoU (from 1.8)",
}


def _compose(rule_id: str, shrinks: bool, ignored: bool) -> Convention:
    rule = CLASS_RULES[rule_id]
    name = "+".join([rule_id, *([ABSTAIN_SHRINKS] * shrinks), *([BASE_IGNORED] * ignored)])
    text = f"{rule.text} {_COUNTED}{_ABSTAIN[shrinks]}{_BASE[ignored]}"
    used_by = _USED_BY.get(name, "")
    return Convention(name, text, used_by, rule.unit, rule.iou_over, rule.acc_over, shrinks, ignored)


ALL_CONVENTIONS: dict[str, Convention] = {
    c.id: c for c in (_compose(*parts) for parts in product(CLASS_RULES, (False, True), (False, True)))
}
"""Every composition."""

CONVENTIONS: dict[str, Convention] = {name: ALL_CONVENTIONS[name] for name in _USED_BY}
"""Those that somebody's published numbers follow: what tables put side by side."""


PUBLISHED: dict[str, Convention] = {
    RELEASED: Convention(
        RELEASED,
        "As the evaluation released with OV2VSS counts, bugs included. Pixels are pooled over all videos. Its "
        "label map is off by one: the last scored class ('train' in VSPW) is in no truth, though its pixels stay "
        "in and what is predicted on them counts as a false alarm. The first extra name ('background') is counted "
        "as that class. mIoU runs over the classes in truth or prediction, one that is only predicted counts 0; "
        "mAcc over those in the truth. fwIoU comes from a second matrix, in which an extra name on a pixel of one "
        "class counts as truth of the next class, predicted as the first one.",
        "the default evaluation (val_unseen) of the code released with OV2VSS",
        "run",
        "either",
        "truth",
        as_released=True,
    )
}
"""Published evaluations that are no composition; asked for by name only, or by a protocol of their own."""


def convention(convention_id: str) -> Convention:
    """The convention of that id, its parts in any order; raises `UserError` with near names for an unknown one."""
    if convention_id in PUBLISHED:
        return PUBLISHED[convention_id]
    parts = convention_id.split("+")
    if len(set(parts)) == len(parts):  # the canonical order: class rule first, then by name
        convention_id = "+".join(sorted(parts, key=lambda part: (part not in CLASS_RULES, part)))
    if convention_id not in ALL_CONVENTIONS:
        raise unknown("convention", convention_id, [*ALL_CONVENTIONS, *PUBLISHED])
    return ALL_CONVENTIONS[convention_id]
