"""IoU class by class with its interval, and the rows that per-class figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ovbench.core.errors import IntegrityError
from ovbench.metrics.groups import Classes
from ovbench.metrics.iou import class_scores
from ovbench.metrics.sample import ClassSums, sums_of
from ovbench.protocol.schema import Protocol
from ovbench.report.model import Run
from ovbench.report.values import mean_sample
from ovbench.stats.bootstrap import Floats, Sample

from .style import LINE, PAD, SMALL, Sheet, shortened, widest

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

TALL = 8.3
"""Inches: rows above this height go to a second column (a page of a paper is about 9 in high)."""
LEAST = LINE * 1.02
"""Inches between rows below which their labels would touch."""
AXIS = 0.37
"""Inches below an axis: ticks, their labels and a title."""


def class_sums_of(run: Run, protocol: Protocol) -> list[ClassSums]:
    """The pixel sums of each video, under the protocol's convention."""
    return sums_of(protocol, [r.counts for r in run.records])


def class_sample(runs: Sequence[Run], protocol: Protocol, classes: Classes) -> Sample:
    """IoU of single classes as a sample over videos, named by class index; of several runs the mean.

    A class is undefined (NaN) where no pixel of the truth shows it, so also in resamples that miss its videos.
    """
    samples = []
    for run in runs:
        sums = class_sums_of(run, protocol)
        rows = [
            np.concatenate([s.intersection[classes], s.truth[classes], s.prediction[classes]]) for s in sums
        ]
        samples.append(
            Sample(
                units=tuple(r.video_id for r in run.records),
                sums=np.array(rows, np.float64).reshape(len(rows), 3 * len(classes)),
                names=tuple(map(str, classes.tolist())),
                scores=partial(_ious, len(classes)),
            )
        )
    return mean_sample(samples)


def _ious(count: int, sums: Floats) -> Floats:
    hit, truth, guess = (sums[:, i * count : (i + 1) * count] for i in range(3))
    return np.where(truth > 0, class_scores(hit, truth, guess)[0], np.nan)


@dataclass(frozen=True)
class Support:
    """What the IoU of a class rests on: videos that hold it, its share (%) of all scored truth pixels."""

    videos: int
    share: float

    def __str__(self) -> str:
        return f"{self.videos} · {'<0.1' if self.share < 0.05 else f'{self.share:.1f}'}"


def supports(runs: Sequence[Run], protocol: Protocol) -> dict[int, Support]:
    """The support of each class that the truth shows.

    Raises:
        IntegrityError: the runs were scored against different truth.
    """
    sums = class_sums_of(runs[0], protocol)
    truth = np.array([s.all_truth for s in sums])
    for run in runs[1:]:
        by_id = dict(zip((r.video_id for r in run.records), class_sums_of(run, protocol), strict=True))
        other = np.array([by_id[r.video_id].all_truth for r in runs[0].records])
        if not np.array_equal(truth, other):
            raise IntegrityError(
                "the runs were scored against different truth",
                where=f"{runs[0].path} and {run.path}",
                hint="the data set has changed in between; run one of them again with --fresh",
            )
    total = truth.sum(axis=0)
    return {
        int(c): Support(int((truth[:, c] > 0).sum()), 100.0 * float(total[c]) / float(total.sum()))
        for c in np.flatnonzero(total)
    }


def labels_of(protocol: Protocol, classes: Sequence[int], mark_unseen: bool) -> list[str]:
    """Readable names; the table's own where two read alike; unseen ones with a star where asked."""
    clean = [protocol.classes[c].clean for c in classes]
    names = clean if len(set(clean)) == len(clean) else [protocol.classes[c].name for c in classes]
    return [
        n + (" *" if mark_unseen and not protocol.classes[c].seen else "")
        for n, c in zip(names, classes, strict=True)
    ]


class Rows:
    """Panels of one row per class: names on the left, support on the right, one column or two.

    Args:
        labels, support: of each row, from the top.
        pitch: inches a row would like to have.
        width: inches, or None for what the number of rows needs.
        title: of the value axis.
    """

    def __init__(
        self,
        labels: Sequence[str],
        support: Sequence[str],
        pitch: float,
        width: float | None,
        title: str,
        note: str,
        keys: Sequence[tuple[Artist, str]] = (),
    ) -> None:
        count = len(labels)
        panels = 1 if count * pitch <= TALL or (width or 9.0) < 6.0 else 2
        if panels == 1 and count * LEAST > TALL and width is None:
            panels = 2
        self.per_panel = -(-count // panels)
        self.pitch = max(LEAST, min(pitch, TALL / self.per_panel))
        sheet_width = width or (6.9 if panels == 2 else 3.3)
        top, bottom = LINE + 0.06, AXIS
        body = self.per_panel * self.pitch + top + bottom
        self.sheet = Sheet(sheet_width, body, note, keys)
        whole = sheet_width / panels
        head = "videos · % px"
        right = max(widest(support), widest([head])) + PAD + 0.05
        left = min(widest(labels) + 0.1 + PAD, 0.46 * whole)
        names = shortened(labels, left - 0.1 - PAD)
        self.panels: list[tuple[Axes, range]] = []
        for panel in range(panels):
            rows = range(panel * self.per_panel, min(count, (panel + 1) * self.per_panel))
            spare = (self.per_panel - len(rows)) * self.pitch
            axes = self.sheet.axes(
                panel * whole + left, (panels - 1 - panel) * whole + right, bottom + spare, top
            )
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_yticks(range(len(rows)), [names[r] for r in rows])
            axes.tick_params(axis="y", length=0, pad=3)
            axes.grid(axis="x")
            axes.set_xlabel(title)
            in_axes = whole - left - right
            for place, row in enumerate(rows):
                axes.text(
                    1 + (right - PAD) / in_axes, place, support[row], ha="right", va="center",
                    fontsize=SMALL, transform=axes.get_yaxis_transform(),
                )  # fmt: skip
            above = 1 + 0.045 / (len(rows) * self.pitch)
            axes.text(
                1 + (right - PAD) / in_axes, above, head, ha="right", va="bottom", fontsize=SMALL,
                transform=axes.transAxes,
            )  # fmt: skip
            self.panels.append((axes, rows))
