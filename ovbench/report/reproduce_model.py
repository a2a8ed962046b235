"""What a reproduced table is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Cell
from .published import Entry


@dataclass(frozen=True)
class Line:
    """One published row, and what was measured for it.

    Attributes:
        method: METHOD:VARIANT that stands for it here, or "".
        cells: "miou", ... -> measured mean with its interval (over videos, and seeds where there are several).
        differences: measured minus published; the interval is that of the measurement.
        gap: measured, this row minus the reference row, paired by video; `published_gap` the same as published.
        seeds: how many trainings stand behind the measurement; `runs`: their folders.
        weights: of each run, the weights' name and the first digits of their SHA-256; `trained_on`: what the card says.
        remark: what the method or its card says of these numbers, to stand below any table of them.
        missing: why nothing was measured, "" where something was; `command`: what would fill it.
        absent: nothing can stand for the row, by design; `missing` says why.
    """

    entry: Entry
    method: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    differences: Mapping[str, Cell] = field(default_factory=dict)
    gap: Cell = field(default_factory=Cell)
    published_gap: float | None = None
    seeds: int = 0
    runs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    trained_on: str = ""
    remark: str = ""
    missing: str = ""
    command: str = ""
    absent: bool = False

    @property
    def verdict(self) -> str:
        """Whether the measured gap has the published sign: "as published", "opposite", "open"; "" if unknown."""
        low, high = self.gap.low, self.gap.high
        if self.published_gap is None or low is None or high is None:
            return ""
        if low <= 0 <= high:
            return "open"
        return "as published" if (low > 0) == (self.published_gap > 0) else "opposite"


@dataclass(frozen=True)
class Reproduction:
    """A published table beside what was measured. `facts`: what identifies the measurement."""

    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    facts: Mapping[str, object]
    reference: str

    @property
    def missing(self) -> int:
        """How many rows could have a measurement and have none."""
        return sum(bool(line.missing) and not line.absent for line in self.lines)
