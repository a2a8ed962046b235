"""Best and second of each column, as tables in papers mark them: by printed value, equal values alike."""

from __future__ import annotations

from collections.abc import Sequence

from ovbench.metrics.temporal import label_free

from .grids import BEST, SECOND
from .model import Column, Row, Table
from .values import SPEED

LOWER = ("seen_bias",)
"""Scores of which less is better."""
NOTE = (
    "Bold: the best value of a column among ranked methods (within a group, where rows are grouped); underlined: the "
    "second; values that print alike are marked alike. Whether a difference is more than chance is said by ranks and "
    "intervals, not by this."
)


def marked(column: Column) -> bool:
    """Whether a best value of a column means anything: not of speed, nor of what a constant answer wins."""
    return column.key != SPEED and not label_free(column.key)


def emphasis(table: Table) -> list[list[str]]:
    """(rows, columns) BEST, SECOND or ""; within each group of a grouped table; only rows that have a rank."""
    marks = [[""] * len(table.columns) for _ in table.rows]
    for place, column in enumerate(table.columns):
        if not marked(column):
            continue
        for group in dict.fromkeys(row.group for row in table.rows):
            numbers = {
                i: _printed(row, column)
                for i, row in enumerate(table.rows)
                if row.group == group and row.rank is not None and row.cell(column.key).value is not None
            }
            for i, mark in best_and_second(numbers, lower=column.key in LOWER).items():
                marks[i][place] = mark
    return marks


def best_and_second(numbers: dict[int, float], lower: bool = False) -> dict[int, str]:
    """{row: BEST or SECOND}; nothing where there is nothing to choose from.

    >>> best_and_second({0: 3.1, 1: 4.0, 2: 4.0, 3: 2.0})
    {1: 'best', 2: 'best', 0: 'second'}
    """
    if len(numbers) < 2:
        return {}
    order: Sequence[float] = sorted(set(numbers.values()), reverse=not lower)[:2]
    return {
        i: mark
        for mark, value in zip((BEST, SECOND), order, strict=False)
        for i in numbers
        if numbers[i] == value
    }


def _printed(row: Row, column: Column) -> float:
    value = row.cell(column.key).value
    assert value is not None
    return round(value, column.digits)
