"""What an ablation table is made of, and the published numbers that stand in it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ovbench.core.errors import IntegrityError

from .model import Cell

_FIELDS = ("row", "group", "description", "mIoU", "variant", "remark")


@dataclass(frozen=True)
class Published:
    """One row of the published table.

    `variant` names the card's row that it is, `over` the one that it adds a component to ("": none).
    """

    row: str
    group: str
    description: str
    miou: float | None
    variant: str
    over: str = ""
    remark: str = ""
    source: str = ""


@dataclass(frozen=True)
class Gap:
    """A row minus another (the full model, or the row it adds to), in percentage points, paired by video and seed.

    `low`, `high`: 95 % interval over videos and seeds (over videos alone for one seed). `videos`: the interval
    over videos alone. `p`: sign-flip test over videos; `p_adjusted`: Holm, over all of a table.
    """

    effect: float
    low: float | None
    high: float | None
    videos: tuple[float | None, float | None]
    p: float | None
    seeds: int
    p_adjusted: float | None = None

    @property
    def verdict(self) -> str:
        """ "better", "worse", "open", or "open (seeds)" where only the seeds leave it open."""
        if not _excludes_zero(*self.videos):
            return "open"
        if not _excludes_zero(self.low, self.high):
            return "open (seeds)"
        return "better" if self.effect > 0 else "worse"


@dataclass(frozen=True)
class Line:
    """One row of the table.

    `cells`: score -> mean over `seeds` trainings. `gap`: against the full model. `step`: against the row `over`,
    to which this one adds a component. `missing`: what a seed lacks, in words.
    """

    group: str
    row: str
    description: str
    variant: str
    published: float | None
    published_gap: float | None
    remark: str = ""
    cells: Mapping[str, Cell] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    seeds: int = 0
    gap: Gap | None = None
    over: str = ""
    published_step: float | None = None
    step: Gap | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class AblationTable:
    """The whole table; `missing` counts the trainings of all rows that have no run."""

    title: str
    metric: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    facts: Mapping[str, object]
    missing: int


def read_published(path: Path) -> list[Published]:
    """The rows of a published table, a CSV file with the columns of `Published`.

    Raises:
        IntegrityError: a column is missing, or a number is none.
    """
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        absent = [name for name in _FIELDS if name not in (reader.fieldnames or ())]
        if absent:
            raise IntegrityError(f"columns are missing: {', '.join(absent)}", where=path)
        try:
            return [
                Published(
                    row=line["row"],
                    group=line["group"],
                    description=line["description"],
                    miou=float(line["mIoU"]) if line["mIoU"] else None,
                    variant=line["variant"],
                    over=line.get("over") or "",
                    remark=line["remark"],
                    source=line.get("source") or "",
                )
                for line in reader
            ]
        except ValueError as error:
            raise IntegrityError(f"an mIoU is not a number: {error}", where=path) from error


def _excludes_zero(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and not low <= 0.0 <= high
