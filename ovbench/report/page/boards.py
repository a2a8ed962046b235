"""A table and its runs as the page shows them: every column, cells with all they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ovbench.report.emphasis import emphasis
from ovbench.report.grids import BEST, GAP, SECOND
from ovbench.report.model import Cell, Column, Row, Run, Table
from ovbench.report.names import labelled

from .words import about, less_first, set_of

OVERVIEW = "overview"


@dataclass(frozen=True)
class Head:
    """A column: `sets` names the choices of columns it belongs to."""

    key: str
    title: str
    about: str
    sets: tuple[str, ...]
    low: bool  # less is better


@dataclass(frozen=True)
class Shown:
    """A cell: `value` for sorting ("" where there is none), `text`, `spread` (over training seeds) and `beside` (the
    interval) for reading."""

    key: str
    value: str
    text: str
    spread: str = ""
    beside: str = ""
    best: bool = False
    second: bool = False


@dataclass(frozen=True)
class Line:
    """A row; `number` is its place in the table, `entry` its place among the methods with runs (None: a gap)."""

    row: Row
    number: int
    rank: str
    cells: tuple[Shown, ...]
    entry: int | None

    @property
    def idle(self) -> bool:
        """A reference row: it may have no value among the columns shown, and is then no row to show."""
        return self.entry is None and not self.row.note


@dataclass(frozen=True)
class Board:
    """A table as the page shows it, with the finished runs behind its rows."""

    table: Table
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    sets: tuple[str, ...]
    entries: tuple[tuple[str, tuple[Run, ...]], ...]  # what has runs, methods first
    apart: frozenset[int]  # entries that are no methods to be ranked: control rows, untrained ones


def board(table: Table, overview: Sequence[Column], runs: Mapping[str, Run]) -> Board:
    """Put a table with all its columns and its runs together.

    Args:
        table: built with all columns.
        overview: the columns of the table as a terminal shows it.
        runs: by folder, as rows name them.
    """
    first = [c.key for c in overview]
    columns = sorted(table.columns, key=lambda c: first.index(c.key) if c.key in first else len(first))
    heads = tuple(_head(column, first) for column in columns)
    marks = emphasis(replace(table, columns=tuple(columns)))
    behind = {
        number: tuple(runs[folder] for folder in row.runs if folder in runs and runs[folder].complete)
        for number, row in enumerate(table.rows)
        if not row.note
    }
    # methods first, then what stands beside them for comparison
    places = sorted((n for n, found in behind.items() if found), key=lambda n: bool(table.rows[n].marks))
    entries = tuple((labelled(table.rows[n].name, behind[n][0]), behind[n]) for n in places)
    lines = []
    for number, row in enumerate(table.rows):
        entry = places.index(number) if number in places else None
        cells = tuple(_cell(row, c, mark) for c, mark in zip(columns, marks[number], strict=True))
        rank = "" if row.rank is None else f"{row.rank}{'=' if row.tied else ''}"
        lines.append(Line(row, number, rank, cells, entry))
    apart = frozenset(line.entry for line in lines if line.entry is not None and line.row.marks)
    sets = tuple(dict.fromkeys(s for h in heads for s in h.sets if s not in ("speed", OVERVIEW)))
    return Board(table, heads, tuple(lines), (OVERVIEW, *sets), entries, apart)


def _head(column: Column, overview: Sequence[str]) -> Head:
    own = set_of(column.key)
    sets = [OVERVIEW] if column.key in overview else []
    sets.append(own)
    if own != "seen against unseen" and column.key in ("seen.miou", "unseen.miou"):
        sets.append("seen against unseen")
    return Head(column.key, column.title, about(column.key), tuple(sets), less_first(column.key))


def _cell(row: Row, column: Column, mark: str) -> Shown:
    cell = row.cell(column.key)
    if cell.value is None:
        return Shown(column.key, "", GAP)
    digits = column.digits if abs(cell.value) < 1000 else 0
    text = _plain(f"{cell.value:.{digits}f}")
    spread = "" if cell.sd is None else f"± {cell.sd:.{column.digits}f}"
    beside = _interval(cell, column.digits)
    return Shown(column.key, f"{cell.value:.6g}", text, spread, beside, mark == BEST, mark == SECOND)


def _plain(text: str) -> str:
    """A number without the sign of a negative zero."""
    return text.removeprefix("-") if not text.strip("-0.") else text


def _interval(cell: Cell, digits: int) -> str:
    if cell.low is None or cell.high is None:
        return ""
    low, high = (_plain(f"{end:.{digits}f}") for end in (cell.low, cell.high))
    return f"[{low}, {high}]"
