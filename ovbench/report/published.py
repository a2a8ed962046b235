"""Published numbers as data (`results/paper/*.csv`), and what mathematics says about them.

A file of a results table has one row per method with the columns of `Entry`; an ablation table (Table III) has
columns of its own, read by `ablation_model.read_published`, and only a mIoU. Empty cells were not published.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ovbench.core.errors import IntegrityError, unknown
from ovbench.core.paths import room

METRICS = {"miou": "mIoU", "fwiou": "fwIoU", "macc": "mAcc", "pacc": "pAcc"}
"""Our key of a score -> its name in the files."""
FILES = {
    "table1": "ov2vss-table1.csv",
    "table2": "ov2vss-table2.csv",
    "table3": "ov2vss-table3.csv",
    "ov-dvis": "ov-dvis-vspw.csv",
}
"""Name -> file below `results/paper`; ov-dvis is context, under another protocol than the tables of OV2VSS."""
_NEEDED = ("row", "mIoU", "remark", "source")


@dataclass(frozen=True)
class Number:
    """A published score in percent, with as many decimals as it was given."""

    value: float
    digits: int

    @property
    def slack(self) -> float:
        """Half a unit of the last digit."""
        return 0.5 * 10.0**-self.digits


@dataclass(frozen=True)
class Entry:
    """One published row.

    Attributes:
        table: "table1", ...; row: its name, unique in the table.
        scores: "miou", "fwiou", "macc", "pacc" -> the number; one that was not published is absent.
        setting: what was asked, in words; `protocol` and `group`: ours that ask the same.
        entry: METHOD:VARIANT that stands for it here; `world`: the same on the embedded world ("": nothing does).
        remark: what does not fit together, or must be known; `source`: where it was published.
    """

    table: str
    row: str
    scores: Mapping[str, Number]
    method: str = ""
    backbone: str = ""
    trained_on: str = ""
    setting: str = ""
    protocol: str = ""
    group: str = ""
    entry: str = ""
    world: str = ""
    remark: str = ""
    source: str = ""


def read_table(name: str, path: Path | None = None) -> list[Entry]:
    """The rows of a published table.

    Args:
        name: one of `FILES`.
        path: another file with the same columns.

    Raises:
        UserError: there is no such table.
        IntegrityError: the file cannot be read as CSV in UTF-8, a column is missing, a number is none, or two
            rows have one name.
    """
    if path is None:
        if name not in FILES:
            raise unknown("published table", name, FILES)
        path = room("results") / "paper" / FILES[name]
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            absent = [column for column in _NEEDED if column not in (reader.fieldnames or ())]
            if absent:
                raise IntegrityError(f"columns are missing: {', '.join(absent)}", where=path)
            found = [_entry(name, line, path) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IntegrityError(f"the file cannot be read: {error}", where=path) from None
    names = [entry.row for entry in found]
    for row in names:
        if names.count(row) > 1 and name != "table3":  # which repeats its full model in every group
            raise IntegrityError(f"two rows are called '{row}'", where=path)
    return found


def _entry(table: str, line: Mapping[str, str | None], path: Path) -> Entry:
    texts = {
        key: line.get(key) or ""
        for key in ("method", "backbone", "trained_on", "setting", "protocol", "group", "entry", "world")
    }
    scores = {
        key: _number(str(line[title]), f"{path}, row '{line['row']}', {title}")
        for key, title in METRICS.items()
        if line.get(title)
    }
    about = {key: line[key] or "" for key in ("row", "remark", "source")}
    return Entry(table=table, scores=scores, **texts, **about)


def _number(text: str, where: str) -> Number:
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        raise IntegrityError(f"'{text}' is no number", where=where)
    return Number(float(text), len(text.partition(".")[2]))


@dataclass(frozen=True)
class Violation:
    """A bound that a published row breaks, by more than rounding explains."""

    table: str
    row: str
    bound: str
    text: str


def violations(entry: Entry) -> Iterator[Violation]:
    """What cannot be in one row, whatever the confusion matrix (integer counts, no pixel without a prediction counted).

    - Every score lies in 0..100.
    - mIoU <= mAcc and fwIoU <= pAcc: a union is never smaller than the truth.
    - fwIoU >= pAcc^2. With f, p, t the shares of a class in truth, prediction and both, f * t / (f + p - t) >= t^2 / p
      since f >= t; by Cauchy-Schwarz the sum over classes is at least (sum of t)^2 / (sum of p) >= pAcc^2.
    """
    for key, number in entry.scores.items():
        if not -number.slack <= number.value <= 100 + number.slack:
            yield _broken(entry, "range", f"{METRICS[key]} {number.value} is not between 0 and 100")
    for low, high in (("miou", "macc"), ("fwiou", "pacc")):
        a, b = entry.scores.get(low), entry.scores.get(high)
        if a is not None and b is not None and a.value - a.slack > b.value + b.slack:
            bound = f"{METRICS[low]} <= {METRICS[high]}"
            yield _broken(entry, bound, f"{METRICS[low]} {a.value} is above {METRICS[high]} {b.value}")
    fw, acc = entry.scores.get("fwiou"), entry.scores.get("pacc")
    if fw is not None and acc is not None and fw.value + fw.slack < (acc.value - acc.slack) ** 2 / 100:
        square = f"{acc.value**2 / 100:.2f}"
        text = f"fwIoU {fw.value} is below {square}, the square of pAcc {acc.value} %"
        yield _broken(entry, "fwIoU >= pAcc^2", text)


def _broken(entry: Entry, bound: str, text: str) -> Violation:
    return Violation(entry.table, entry.row, bound, text)


def impossible() -> list[Violation]:
    """The violations of all published tables."""
    return [v for name in FILES for entry in read_table(name) for v in violations(entry)]


def repeated(entries: list[Entry]) -> dict[tuple[str, float], tuple[str, ...]]:
    """Scores that several rows share to the last digit: {(metric, value): rows}."""
    found: dict[tuple[str, float], list[str]] = {}
    for entry in entries:
        for key, number in entry.scores.items():
            found.setdefault((key, number.value), []).append(entry.row)
    return {key: tuple(rows) for key, rows in found.items() if len(rows) > 1}
