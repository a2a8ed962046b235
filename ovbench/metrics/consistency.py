"""Video consistency VC_n from window counts, in three named modes.

script   what the VSPW script computes (`VC_perclip.py`, also in OV2VSS and MRCFA): constant truth and
         constant prediction over constant truth. The prediction need not be right, void counts as
         truth, the last window of a video is left out, and videos of at most 16 files are skipped for
         every n.
clean    all windows, scored pixels only; a video shorter than n has none.
correct  like clean, and the prediction must be the truth.

Windows of all videos are pooled with equal weight, or, as "video mean", averaged within each video
first. A window without constant truth is undefined and drops out of either mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from .videocounts import VideoCounts, WindowCounts

MODES = ("script", "clean", "correct")
SCRIPT_SHORT = 16
"""The script skips videos with at most so many files in the mask folder."""


@dataclass(frozen=True)
class Consistency:
    """VC of one length and mode: percent (None: no defined window) and what it rests on."""

    value: float | None  # over windows
    video_mean: float | None  # over videos with a defined window
    windows: int  # in the mean
    undefined: int  # without constant truth
    videos: int  # with at least one window in the mean
    skipped_videos: int  # too short, or without dense truth

    def support(self) -> dict[str, int]:
        """The counts, for the summary."""
        return {
            "windows": self.windows,
            "undefined": self.undefined,
            "videos": self.videos,
            "skipped_videos": self.skipped_videos,
        }


def window_ratios(counts: VideoCounts, n: int, mode: str) -> NDArray[np.float64]:
    """(W,) score in 0..1 of each window of a video that this mode looks at; NaN where undefined."""
    windows = counts.windows.get(n, WindowCounts())
    if mode == "script" and counts.listed_files <= SCRIPT_SHORT:
        windows = WindowCounts()
    num, den = {
        "script": (windows.script_num, windows.script_den),
        "clean": (windows.clean_num, windows.clean_den),
        "correct": (windows.correct_num, windows.clean_den),
    }[mode]
    kept = without_last(counts, n, windows) if mode == "script" else np.ones(len(den), np.bool_)
    return ratios(num, den)[kept]


def without_last(counts: VideoCounts, n: int, windows: WindowCounts) -> NDArray[np.bool_]:
    """(W,) which windows start before the last frame that a window of n frames can start at."""
    kept: NDArray[np.bool_] = np.array(windows.start, np.int64) != counts.frames - n
    return kept


def ratios(part: tuple[int, ...], whole: tuple[int, ...]) -> NDArray[np.float64]:
    """(W,) quotients in float64; NaN for 0/0."""
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = np.array(part, np.float64) / np.array(whole, np.float64)
    return result


def consistency(videos: Iterable[VideoCounts], n: int, mode: str) -> Consistency:
    """VC_n of a run; sums are exactly rounded, so the order of videos does not matter."""
    kept: list[float] = []
    means: list[float] = []
    undefined = skipped = 0
    for counts in videos:
        found = window_ratios(counts, n, mode)
        defined = found[~np.isnan(found)].tolist()
        kept += defined
        if defined:
            means.append(fsum(defined) / len(defined))
        undefined += len(found) - len(defined)
        skipped += not len(found)
    return Consistency(_percent(kept), _percent(means), len(kept), undefined, len(means), skipped)


def _percent(values: list[float]) -> float | None:
    return 100.0 * (fsum(values) / len(values)) if values else None
