"""Which video to look at, by rule: from the records of runs, or from their label maps where it must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovbench.core.errors import UserError, unknown
from ovbench.datasets.base import Dataset
from ovbench.metrics.flicker import change_rates, change_sums
from ovbench.protocol.schema import Protocol

from ..model import Run
from .source import open_footage

LOOKED_AT = 8
"""Frames of a video that "disagreement" compares, spread evenly: enough to rank videos, whatever their length."""


@dataclass(frozen=True)
class Choice:
    """A video, why it was chosen, and the frame around which that shows; None where any frame does."""

    video_id: str
    why: str
    around: int | None = None


Runs = Sequence[Run | Path]
Rule = Callable[[Runs, Protocol, Dataset, Sequence[str]], Choice]


def pick(rule: str, runs: Runs, protocol: Protocol, dataset: Dataset) -> Choice:
    """The video that a rule of `RULES` picks among those that all runs have; of equals the first.

    Raises:
        UserError: no such rule, no common video, or a rule that cannot choose here (the message says why).
    """
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    common = _common(runs, dataset)
    return RULES[rule](runs, protocol, dataset, common)


def common_videos(runs: Runs, videos: Sequence[str]) -> list[str]:
    """Those of `videos` that every run has, in their order."""
    return [v for v in videos if all(v in run.videos for run in runs if isinstance(run, Run))]


def _common(runs: Runs, dataset: Dataset) -> list[str]:
    found = common_videos(runs, dataset.video_ids)
    if not found:
        raise UserError("no video is in all of these runs", hint="show runs over the same videos")
    return found


def _best(runs: Runs, protocol: Protocol, dataset: Dataset, videos: Sequence[str]) -> Choice:
    return _by_score(runs, protocol, videos, "best", 1)


def _worst(runs: Runs, protocol: Protocol, dataset: Dataset, videos: Sequence[str]) -> Choice:
    return _by_score(runs, protocol, videos, "worst", -1)


def _by_score(runs: Runs, protocol: Protocol, videos: Sequence[str], word: str, sign: int) -> Choice:
    """By the score that sorts the protocol's table, of each video alone, mean over runs.

    A video in which that score is undefined (no unseen class in it, say) is passed over; where that is so of all
    videos, the mIoU of all classes decides.
    """
    named = [run.sample(protocol).restrict(videos) for run in _with_records(runs, word)]
    for score in (f"{protocol.headline_group}.miou", "all.miou"):
        with np.errstate(invalid="ignore", divide="ignore"):
            values = [s.scores(s.sums)[:, s.names.index(score)] for s in named if score in s.names]
        if values and np.isfinite(means := np.mean(values, axis=0)).any():
            place = int(np.nanargmax(sign * means))
            why = f"{word} {score.replace('.miou', ' mIoU')} of {_many(videos)}, {means[place]:.1f}"
            return Choice(videos[place], why + _mean_of(runs))
    raise UserError("no video has a score: nothing in them is evaluated")


def _flicker(runs: Runs, protocol: Protocol, dataset: Dataset, videos: Sequence[str]) -> Choice:
    """By `excess_change` (how much more labels change than the truth does), else `change_rate`; mean over runs."""
    counts = [
        {r.video_id: r.counts for r in run.records if r.video_id in set(videos)}
        for run in _with_records(runs, "flicker")
    ]
    for column, name in ((3, "excess change"), (0, "change rate")):
        sums = [np.stack([change_sums(of[v]) for v in videos]).astype(np.float64) for of in counts]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.mean([change_rates(s)[:, column] for s in sums], axis=0)
        if np.isfinite(means).any():
            place = int(np.nanargmax(means))
            changed: dict[int, int] = {}
            for of in counts:
                series = of[videos[place]].changes
                extra = (
                    np.subtract(series.scored_changed, series.truth_changed)
                    if column == 3
                    else series.changed
                )
                for frame, pixels in zip(series.frame, extra, strict=True):
                    changed[frame] = changed.get(frame, 0) + int(pixels)
            why = f"most flicker of {_many(videos)}: {name} {means[place]:.1f} %" + _mean_of(runs)
            return Choice(videos[place], why, max(changed, key=lambda f: (changed[f], -f)))
    raise UserError("no run segmented two neighbouring frames, so nothing can flicker")


def _disagreement(runs: Runs, protocol: Protocol, dataset: Dataset, videos: Sequence[str]) -> Choice:
    """By the share of pixels to which not all runs give the same label."""
    if len(runs) < 2:
        raise UserError("disagreement needs two runs or more", hint="name more runs, or --pick worst")
    best, share = None, -1.0
    for video_id in videos:
        apart = _apart(runs, protocol, dataset, video_id)
        found = math.fsum(apart.values()) / len(apart) if apart else -1.0
        if found > share:
            best, share = Choice(video_id, "", max(apart, key=lambda f: (apart[f], -f))), found
    if best is None:
        raise UserError("no frame has label maps of all runs")
    why = f"largest disagreement of {_many(videos)}: the runs differ on {100 * share:.1f} % of the pixels"
    return Choice(best.video_id, why, best.around)


def _apart(runs: Runs, protocol: Protocol, dataset: Dataset, video_id: str) -> Mapping[int, float]:
    """Frame -> share of its pixels on which the runs differ, for the frames that are compared."""
    footage = open_footage(runs, protocol, None, video_id, dataset=dataset)
    apart = {}
    for index in spread(len(footage), LOOKED_AT):
        maps = [footage.label_map(r, index) for r in range(len(runs))]
        first, *rest = maps
        if first is not None and all(m is not None and m.shape == first.shape for m in rest):
            same = np.logical_and.reduce([first == m for m in rest])
            apart[index] = 1.0 - float(same.mean())
    return apart


def spread(length: int, number: int) -> list[int]:
    """`number` indices spread evenly over 0..length-1, ends included; all of them where there are no more."""
    if number >= length:
        return list(range(length))
    return [round(i) for i in np.linspace(0, length - 1, number).tolist()]


def _with_records(runs: Runs, rule: str) -> list[Run]:
    for run in runs:
        if not isinstance(run, Run):
            raise UserError(
                f"--pick {rule} reads the counts of runs, and these label maps belong to none",
                where=run,
                hint="name the video: --video ID; or make a run of them: "
                "ovbench score --predictions DIR --protocol P --save-predictions",
            )
    return [run for run in runs if isinstance(run, Run)]


def _many(videos: Sequence[str]) -> str:
    return f"{len(videos)} videos" if len(videos) != 1 else "the only video"


def _mean_of(runs: Runs) -> str:
    return f" (mean of {len(runs)} runs)" if len(runs) > 1 else ""


RULES: dict[str, Rule] = {"best": _best, "worst": _worst, "flicker": _flicker, "disagreement": _disagreement}
"""How `--pick` chooses."""
