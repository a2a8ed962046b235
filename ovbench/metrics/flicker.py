"""How much label maps change from frame to frame, as sums per video and as percent.

change_rate        pixels whose label differs from the frame before
aba_rate           pixels that differ from the frame before and have the label of the one before that
truth_change_rate  pixels whose truth differs from the frame before, where truth is scored in both frames
excess_change      change rate of the prediction minus that of the truth, on those pixels; below 0 for a
                   prediction that moves too little

And along an optical flow, whose backend is part of the name (`tc-dis`):

tc             mIoU between a label map and the next one warped back onto it, pairs of a video pooled,
               mean over videos
mtc            the same mIoU for each pair of frames, mean over all pairs
warped_change  pixels whose label differs from the warped next map

None of these asks whether a label is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .flow import step_ious, video_tc, warped_change
from .videocounts import FlowCounts, VideoCounts

Floats = NDArray[np.float64]
Sums = NDArray[np.int64]

FIXED = float(1 << 30)
# Sums of scores are kept as integers in this unit, so that resampled sums are exact whatever the
# order of addition.

RATES = ("change_rate", "aba_rate", "truth_change_rate", "excess_change")
FLOW_SCORES = ("tc", "mtc", "warped_change")
CHANGE_WIDTH, FLOW_WIDTH = 7, 6
PREDICTED_CHANGES = (0, 2, 4)
"""Places in `change_sums` that a prediction decides; the others are the video's own."""


def fixed_sum(values: Floats) -> list[int]:
    """Sum in fixed point, and number, of the values that are not NaN."""
    defined = values[~np.isnan(values)]
    return [int(np.rint(defined * FIXED).sum()), len(defined)]


def change_sums(counts: VideoCounts) -> Sums:
    """(7,) changed, pixels, A-B-A, their pixels, scored changed, truth changed, scored."""
    c = counts.changes
    columns = (c.changed, c.pixels, c.aba, c.aba_pixels, c.scored_changed, c.truth_changed, c.scored)
    return np.array([sum(column) for column in columns], np.int64)


def change_rates(sums: Floats) -> Floats:
    """(R, 7) sums -> (R, 4) percent, columns as `RATES`; NaN where there is no pixel."""
    changed, pixels, aba, aba_pixels, scored_changed, truth_changed, scored = sums.T
    parts = [changed, aba, truth_changed, scored_changed - truth_changed]
    wholes = [pixels, aba_pixels, scored, scored]
    with np.errstate(invalid="ignore", divide="ignore"):
        rates: Floats = 100.0 * (np.stack(parts, axis=1) / np.stack(wholes, axis=1))
    return rates


def flow_sums(counts: VideoCounts, backend: str) -> Sums:
    """(6,) fixed-point TC of the video, 1 if it has one; sum and number of pair IoUs; changed, pixels."""
    flow = counts.flow.get(backend)
    if flow is None:
        return np.zeros(FLOW_WIDTH, np.int64)
    tc = video_tc(flow)
    whole = fixed_sum(np.array([] if tc is None else [tc]))
    return np.array([*whole, *fixed_sum(step_ious(flow)), *warped_change(flow)], np.int64)


def flow_rates(sums: Floats) -> Floats:
    """(R, 6) sums -> (R, 3) percent, columns as `FLOW_SCORES`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums[:, 0::2] / sums[:, 1::2]
    shares[:, :2] /= FIXED
    return 100.0 * shares


def flicker_summary(videos: Sequence[VideoCounts]) -> dict[str, float | None]:
    """The rates of a run in percent; None where no pixel was compared."""
    total = np.zeros(CHANGE_WIDTH, np.int64) + sum(change_sums(v) for v in videos)
    row = change_rates(total[None].astype(np.float64))[0]
    return {n: None if np.isnan(v) else float(v) for n, v in zip(RATES, row, strict=True)}


def flow_summary(videos: Sequence[VideoCounts], backend: str) -> dict[str, Any]:
    """Scores along one flow in percent with their support; sums of IoUs are exactly rounded."""
    flows: list[FlowCounts] = [v.flow[backend] for v in videos if backend in v.flow]
    whole = [tc for f in flows if (tc := video_tc(f)) is not None]
    steps = [iou for f in flows for iou in step_ious(f).tolist() if not np.isnan(iou)]
    compared = [warped_change(f) for f in flows]
    changed, pixels = sum(c for c, _ in compared), sum(p for _, p in compared)
    return {
        "tc": 100.0 * (fsum(whole) / len(whole)) if whole else None,
        "mtc": 100.0 * (fsum(steps) / len(steps)) if steps else None,
        "warped_change": 100.0 * (changed / pixels) if pixels else None,
        "pairs": sum(len(f.pairs) for f in flows),
        "pixels": pixels,
        "excluded": sum(sum(f.excluded) for f in flows),
    }
