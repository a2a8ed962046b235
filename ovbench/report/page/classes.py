"""IoU of each class, methods side by side."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol
from ovbench.report.emphasis import best_and_second
from ovbench.report.grids import BEST, SECOND
from ovbench.report.model import Run


@dataclass(frozen=True)
class ClassCell:
    """IoU of a class in percent, mean over training seeds; None where it is undefined.

    `acc` is the share of its truth that is right, `prediction` how many pixels the method gave to it (of the
    first seed).
    """

    iou: float | None
    acc: float | None
    prediction: int
    best: bool = False
    second: bool = False


@dataclass(frozen=True)
class ClassRow:
    """One class. `truth` counts pixels, `videos` the videos in which it has truth; `color` is "#rrggbb" or ""."""

    index: int
    name: str
    group: str
    kind: str
    color: str
    truth: int
    share: float  # of all truth pixels, in percent
    videos: int
    cells: tuple[ClassCell, ...]


def class_rows(
    entries: Sequence[Sequence[Run]],
    protocol: Protocol | None,
    colors: NDArray[np.uint8] | None,
    apart: frozenset[int] = frozenset(),
) -> list[ClassRow]:
    """A row per scored class, in the protocol's order.

    Args:
        entries: for each method its finished runs (several where training seeds are one row).
        protocol: for readable names; without it the names of the summaries stand.
        colors: (K, 3) uint8.
        apart: places in `entries` of rows that are no methods to be ranked (control rows and their like).
    """
    if not entries:
        return []
    tables = [
        [{row["index"]: row for row in (run.summary or {})["per_class"]} for run in runs] for runs in entries
    ]
    first = tables[0][0]
    total = sum(row["truth"] for row in first.values()) or 1
    rows = []
    for index, row in first.items():
        cells = [_cell([table[index] for table in seeds if index in table]) for seeds in tables]
        ranked = {i: round(c.iou, 1) for i, c in enumerate(cells) if c.iou is not None and i not in apart}
        marks = best_and_second(ranked)
        marked = tuple(
            ClassCell(c.iou, c.acc, c.prediction, marks.get(i) == BEST, marks.get(i) == SECOND)
            for i, c in enumerate(cells)
        )
        name = row["name"] if protocol is None else protocol.classes[index].clean
        color = "" if colors is None else f"#{bytes(colors[index]).hex()}"
        share = 100 * row["truth"] / total
        rows.append(
            ClassRow(
                index, name, row["group"], row["kind"], color, row["truth"], share, row["videos"], marked
            )
        )
    return rows


def _cell(rows: Sequence[dict[str, float | None]]) -> ClassCell:
    if not rows:
        return ClassCell(None, None, 0)
    return ClassCell(
        _mean([r["iou"] for r in rows]), _mean([r["acc"] for r in rows]), int(rows[0]["prediction"] or 0)
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None where one of the values is undefined."""
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if values and len(known) == len(values) else None
