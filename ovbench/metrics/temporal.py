"""Video consistency VC_n from window counts, in three named modes.

script   what the VSPW script computes (`VC_perclip.py`, also in OV2VSS and MRCFA): constant truth and
         constant prediction over constant truth. The prediction need not be right, void counts as
         truth, the last window of a video is left out, and videos of at most 16 files are skipped for
         every n.
clean    all windows, scored pixels only; a video shorter than n has none.
correct  like clean, and the prediction must be the truth.

Windows of all videos are pooled with equal weight; a window without constant truth is undefined and
drops out of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol

from .videocounts import VideoCounts, WindowCounts

MODES = ("script", "clean", "correct")
SCRIPT_SHORT = 16
"""The script skips videos with at most so many files in the mask folder."""

USUAL_LENGTHS = (8, 16)


@dataclass(frozen=True)
class Consistency:
    """VC of one length and mode: percent (None: no defined window) and what it rests on."""

    value: float | None
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
    kept = np.ones(len(den), np.bool_)
    if mode == "script":
        kept = np.array(windows.start, np.int64) != counts.frames - n
    with np.errstate(invalid="ignore"):
        ratios: NDArray[np.float64] = np.array(num, np.float64)[kept] / np.array(den, np.float64)[kept]
    return ratios


def consistency(videos: Iterable[VideoCounts], n: int, mode: str) -> Consistency:
    """VC_n of a run; the sum is exactly rounded, so the order of videos does not matter."""
    kept: list[float] = []
    undefined = contributing = skipped = 0
    for counts in videos:
        ratios = window_ratios(counts, n, mode)
        defined = ratios[~np.isnan(ratios)]
        kept += defined.tolist()
        undefined += len(ratios) - len(defined)
        contributing += bool(len(defined))
        skipped += not len(ratios)
    value = 100.0 * (fsum(kept) / len(kept)) if kept else None
    return Consistency(value, len(kept), undefined, contributing, skipped)


def temporal_summary(protocol: Protocol, videos: Sequence[VideoCounts]) -> dict[str, Any]:
    """The "temporal" part of a summary; a mode the protocol does not ask for is null."""
    scores: dict[str, Any] = {}
    support: dict[str, Any] = {}
    for n in protocol.windows or USUAL_LENGTHS:
        asked = [m for m in MODES if m in protocol.temporal_modes and n in protocol.windows]
        found = {m: consistency(videos, n, m) for m in asked}
        scores[f"vc{n}"] = {m: found[m].value if m in found else None for m in MODES}
        support[f"vc{n}"] = {m: found[m].support() for m in found}
    return {**scores, "windows": support, "note": _note(protocol, videos)}


def _note(protocol: Protocol, videos: Sequence[VideoCounts]) -> str | None:
    if not protocol.windows:
        return "not defined here: consistency needs a truth mask on every frame, and this protocol has sparse ones"
    sparse = sum(not v.dense for v in videos)
    if sparse:
        return (
            f"{sparse} of {len(videos)} videos lack truth masks on some frames; no window spans such a frame"
        )
    short = sum(v.frames < max(protocol.windows) for v in videos)
    if short:
        return f"{short} of {len(videos)} videos are shorter than the longest window and add nothing to it"
    return None
