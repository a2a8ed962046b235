"""Temporal scores of a run: video consistency, flicker, and consistency along an optical flow.

Only "correct" consistency compares labels with the truth. Every other score here is one that a
prediction without a single right pixel can win, so it is printed beside an accuracy and beside what
a constant prediction would get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol

from .consistency import MODES, SCRIPT_SHORT, Consistency, consistency, window_ratios
from .flicker import (
    CHANGE_WIDTH,
    FIXED,
    FLOW_SCORES,
    FLOW_WIDTH,
    PREDICTED_CHANGES,
    RATES,
    change_rates,
    change_sums,
    fixed_sum,
    flicker_summary,
    flow_rates,
    flow_summary,
    flow_sums,
)
from .videocounts import VideoCounts

__all__ = [
    "LABEL_FREE",
    "MODES",
    "SCRIPT_SHORT",
    "Consistency",
    "TemporalColumns",
    "backends_of",
    "consistency",
    "constant_reference",
    "label_free",
    "temporal_summary",
    "window_ratios",
]

Floats = NDArray[np.float64]

USUAL_LENGTHS = (8, 16)

LABEL_FREE = frozenset({"script", "clean", *RATES, *FLOW_SCORES})
"""Modes of VC and other scores that never ask whether a label is right."""

_SAMPLED_RATES = tuple(name for name in RATES if name != "truth_change_rate")
_SAMPLED_PLACES = [RATES.index(name) for name in _SAMPLED_RATES]


def label_free(name: str) -> bool:
    """Whether a score of `TemporalColumns.names` (or a bare mode) never asks if labels are right."""
    return name.rpartition(".")[2].partition("-")[0] in LABEL_FREE


def backends_of(videos: Sequence[VideoCounts]) -> tuple[str, ...]:
    """Names of the flow backends that any of the videos was counted with, sorted."""
    return tuple(sorted({name for v in videos for name in v.flow}))


@dataclass(frozen=True)
class TemporalColumns:
    """Temporal scores as a function of integers that add up over videos.

    Attributes:
        protocol: says which windows and modes are asked for.
        backends: flow backends with columns.

    Means over windows, pairs and videos are kept as fixed-point sums (unit 2**-30) with their
    number, hence a point value agrees with `temporal_summary` to about 1e-9.
    """

    protocol: Protocol
    backends: Sequence[str] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """ "vc<n>.<mode>" ..., "change_rate", "aba_rate", "excess_change", "tc-<backend>" ..."""
        windows = [f"vc{n}.{mode}" for n, mode in self._windows()]
        return (*windows, *_SAMPLED_RATES, *(f"{s}-{b}" for b in self.backends for s in FLOW_SCORES))

    @property
    def width(self) -> int:
        """F, the number of sums of a video."""
        return 2 * len(self._windows()) + CHANGE_WIDTH + FLOW_WIDTH * len(self.backends)

    def row(self, counts: VideoCounts) -> NDArray[np.int64]:
        """(F,) sums of one video."""
        windows = [x for n, mode in self._windows() for x in fixed_sum(window_ratios(counts, n, mode))]
        flows = [flow_sums(counts, b) for b in self.backends]
        return np.concatenate([np.array(windows, np.int64), change_sums(counts), *flows])

    def scores(self, sums: Floats) -> Floats:
        """(R, F) sums -> (R, len(names)) percent; NaN where a score is undefined."""
        count = 2 * len(self._windows())
        with np.errstate(invalid="ignore", divide="ignore"):
            windows = 100.0 * (sums[:, 0:count:2] / sums[:, 1:count:2] / FIXED)
        rest = sums[:, count + CHANGE_WIDTH :]
        rates = change_rates(sums[:, count : count + CHANGE_WIDTH])[:, _SAMPLED_PLACES]
        flows = np.split(rest, len(self.backends), axis=1) if self.backends else []
        return np.concatenate([windows, rates, *(flow_rates(f) for f in flows)], axis=1)

    def _windows(self) -> list[tuple[int, str]]:
        modes = [m for m in MODES if m in self.protocol.temporal_modes]
        return [(n, mode) for n in self.protocol.windows for mode in modes]


def temporal_summary(protocol: Protocol, videos: Sequence[VideoCounts]) -> dict[str, Any]:
    """The "temporal" part of a summary, in percent; a mode the protocol does not ask for is null.

    "vc<n>" holds the means over windows, "video_mean" those over videos, "windows" what both rest on.
    """
    pooled: dict[str, Any] = {}
    averaged: dict[str, Any] = {}
    support: dict[str, Any] = {}
    for n in protocol.windows or USUAL_LENGTHS:
        asked = [m for m in MODES if m in protocol.temporal_modes and n in protocol.windows]
        found = {m: consistency(videos, n, m) for m in asked}
        pooled[f"vc{n}"] = {m: found[m].value if m in found else None for m in MODES}
        averaged[f"vc{n}"] = {m: found[m].video_mean if m in found else None for m in MODES}
        support[f"vc{n}"] = {m: found[m].support() for m in found}
    return {
        **pooled,
        "windows": support,
        "video_mean": averaged,
        "flicker": flicker_summary(videos),
        "flow": {backend: flow_summary(videos, backend) for backend in backends_of(videos)},
        "note": _note(protocol, videos),
    }


def constant_reference(videos: Sequence[VideoCounts]) -> dict[str, float | None]:
    """What a constant prediction would get on these very videos in every label-free score.

    It is right about nothing in particular, so scores that look at labels are not here. Names as in
    `TemporalColumns.names`, with "truth_change_rate"; None where these videos define no value.
    """
    found: dict[str, float | None] = {}
    for n in sorted({n for v in videos for n in v.windows}):
        for mode in MODES:
            if label_free(mode):
                defined = any((~np.isnan(window_ratios(v, n, mode))).any() for v in videos)
                found[f"vc{n}.{mode}"] = 100.0 if defined else None
    still = np.zeros(CHANGE_WIDTH, np.int64) + sum(change_sums(v) for v in videos)
    still[list(PREDICTED_CHANGES)] = 0
    rates = change_rates(still[None].astype(np.float64))[0]
    found |= {n: None if np.isnan(r) else float(r) for n, r in zip(RATES, rates, strict=True)}
    for backend in backends_of(videos):
        compared = bool(flow_summary(videos, backend)["pixels"])
        for name, value in zip(FLOW_SCORES, (100.0, 100.0, 0.0), strict=True):
            found[f"{name}-{backend}"] = value if compared else None
    return found


def _note(protocol: Protocol, videos: Sequence[VideoCounts]) -> str | None:
    """Why a consistency is missing or rests on part of the videos; None where nothing needs saying."""
    if not protocol.windows:
        text = (
            "VC is not defined here: it needs a truth mask on every frame, and this protocol has sparse ones"
        )
        if any(v.changes.frame for v in videos):
            return text
        return f"{text}; change rates need neighbouring frames, all of which are segmented with --flow only"
    remarks = []
    sparse = sum(not v.dense for v in videos)
    if sparse:
        remarks.append(
            f"{sparse} of {len(videos)} videos lack truth masks on some frames; no window spans such a frame"
        )
    empty = [n for n in protocol.windows if videos and max(v.frames for v in videos) < n]
    if empty:
        lengths = " and ".join(str(n) for n in empty)
        remarks.append(f"no video is as long as a window of {lengths} frames")
    short = sum(v.frames < max(protocol.windows) for v in videos)
    if short and max(protocol.windows) not in empty:
        remarks.append(
            f"{short} of {len(videos)} videos are shorter than the longest window and add nothing to it"
        )
    return "; ".join(remarks) or None
