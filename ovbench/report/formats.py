"""Tables as text: for a terminal, Markdown, CSV, LaTeX (booktabs), HTML and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ovbench.core.errors import unknown

from .emphasis import NOTE, emphasis
from .grids import GAP, aligned, csv_text, html_table, markdown_lines, plain
from .latex import PREAMBLE, booktabs
from .model import Column, Row, Table

_LONG = 12  # longest part of a heading that stays on one line


def write(tables: Sequence[Table], format: str) -> str:
    """Tables in one of `FORMATS`, without a newline at the end; raises `UserError` for another format."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](tables)


def _text(tables: Sequence[Table]) -> str:
    return "\n\n".join(_text_table(t) for t in tables)


def _text_table(table: Table) -> str:
    head, *body = _lines(table)
    parts = [_heading(title) for title in head]
    deepest = max(map(len, parts))
    lines = list(zip(*([""] * (deepest - len(p)) + p for p in parts), strict=True))
    return aligned(lines, body, table.title, table.notes, _sections(table))


def _heading(title: str) -> list[str]:
    """A title on lines of its own: what is measured last, a remark in brackets below it, additions of a
    convention's id ("+...") each on a line.
    """
    name, bracket, remark = title.partition(" (")
    first, _, last = name.rpartition(" ")
    words = first.split(" ") if "-" in first else [first]
    lines = [line for w in words for line in (_broken(w) if "+" in w or len(w) > _LONG else [w])] + [last]
    return [*lines, f"({remark}"] if bracket else lines


def _broken(text: str) -> list[str]:
    """A convention's id on several lines, cut before "+" and, where still long, before the last "-"."""
    lines = []
    for part in text.replace("+", "\n+").split("\n"):
        head, dash, tail = part.rpartition("-")
        lines += [head, dash + tail] if len(part) > _LONG and head else [part]
    return lines


def _markdown(tables: Sequence[Table]) -> str:
    return "\n\n".join(_markdown_table(t) for t in tables)


def _markdown_table(table: Table) -> str:
    head, *body = _lines(table)
    notes = "\n".join(f"- {n}" for n in table.notes)
    return "\n".join([f"**{table.title}**", "", markdown_lines(head, body, _sections(table)), "", notes])


def _latex(tables: Sequence[Table]) -> str:
    return PREAMBLE + "\n" + "\n\n".join(_latex_table(t) for t in tables)


def _latex_table(table: Table) -> str:
    head, *body = _lines(table)
    notes = _with_emphasis(table)
    numbers = {row.seeds for row in table.rows} - {1}
    if len(numbers) == 1:  # said once below the table instead of in each cell: columns are narrow in print
        said = f" ({min(numbers)})"
        body = [[cells[0], cells[1], *(cell.replace(said, "") for cell in cells[2:])] for cells in body]
        notes = [
            note.replace("a ± b (n)", "a ± b").replace("n training", f"{min(numbers)} training")
            for note in notes
        ]
    return booktabs(table.title, head, body, notes, _emphasis(table), _sections(table))


def _html(tables: Sequence[Table]) -> str:
    return "\n".join(_html_table(t) for t in tables)


def _html_table(table: Table) -> str:
    head, *body = _lines(table)
    return html_table(table.title, head, body, _with_emphasis(table), _emphasis(table), _sections(table))


def _emphasis(table: Table) -> list[list[str]]:
    return [["", "", *marks] for marks in emphasis(table)]


def _with_emphasis(table: Table) -> list[str]:
    return [*table.notes, *([NOTE] if any(map(any, emphasis(table))) else [])]


def _sections(table: Table) -> dict[int, str]:
    """Headings above the first row of each group; none where rows are not grouped."""
    found: dict[int, str] = {}
    for number, row in enumerate(table.rows):
        if row.group and (number == 0 or table.rows[number - 1].group != row.group):
            found[number] = row.group
    return found


_FACTS = (
    *("protocol", "version", "hash", "convention", "videos", "partial"),
    *("rank", "tied", "method", "marks", "note", "seeds"),
)
_FRAMES = ("frames", "annotated_frames")
_CLASSES = {"present": "classes", "scored": "scored_classes"}


def _csv(tables: Sequence[Table]) -> str:
    """One line per row, all tables below one heading; a cell's value, low, high and sd in columns of their own.

    "present.<group>" and "scored.<group>" count classes: those with truth, and those that could have any.
    """
    groups = list(
        dict.fromkeys(g for t in tables for g, n in t.counts.get("scored_classes", {}).items() if n)
    )
    columns = list(dict.fromkeys(c.key for t in tables for c in t.columns))
    parts = ("value", "low", "high", "sd")
    used = [
        (key, part)
        for key in columns
        for part in parts
        if part == "value" or any(getattr(r.cell(key), part) is not None for t in tables for r in t.rows)
    ]
    of_groups = [f"{part}.{group}" for group in groups for part in _CLASSES]
    grouped = any(t.grouped for t in tables)
    head = [
        *_FACTS,
        *(["group"] if grouped else []),
        *_FRAMES,
        *of_groups,
        *(key if part == "value" else f"{key}.{part}" for key, part in used),
    ]
    lines: list[list[object]] = [list(head)]
    for table in tables:
        for row in table.rows:
            counts = _counts(table, groups)
            facts = [*_facts(table, row), *([row.group] if grouped else [])]
            lines.append([*facts, *counts, *(plain(getattr(row.cell(k), p)) for k, p in used)])
    return csv_text(lines)


def _facts(table: Table, row: Row) -> list[object]:
    about = table.protocol
    of_table = [
        about["id"],
        about["version"],
        about["hash"],
        table.convention,
        table.counts.get("videos", ""),
    ]
    rank = "" if row.rank is None else row.rank
    tied = "=" if row.tied else ""
    return [*of_table, table.partial or "", rank, tied, row.name, " ".join(row.marks), row.note, row.seeds]


def _counts(table: Table, groups: Sequence[str]) -> list[object]:
    """What the numbers of a table rest on; empty where a table has no finished run or no such group."""
    frames = [table.counts.get(key, "") for key in _FRAMES]
    classes = [table.counts.get(key, {}).get(g, "") for g in groups for key in _CLASSES.values()]
    return [*frames, *classes]


def _json(tables: Sequence[Table]) -> str:
    return json.dumps({"tables": [_plain(t) for t in tables]}, indent=1, allow_nan=False, ensure_ascii=False)


def _plain(table: Table) -> dict[str, Any]:
    value = asdict(table)
    for row in value["rows"]:
        row["cells"] = {
            key: {k: v for k, v in cell.items() if v is not None} for key, cell in row["cells"].items()
        }
    return value


def _lines(table: Table) -> list[list[str]]:
    """Heading and rows as strings: rank, name with its marks, one string per column."""
    head = ["#", "method", *(c.title for c in table.columns)]
    return [head, *([_rank(row), _name(row), *(_cell(row, c) for c in table.columns)] for row in table.rows)]


def _rank(row: Row) -> str:
    return "" if row.rank is None else f"{row.rank}{'=' if row.tied else ''}"


def _name(row: Row) -> str:
    return row.name + "".join(f" ({mark})" for mark in row.marks)


def _cell(row: Row, column: Column) -> str:
    cell = row.cell(column.key)
    if cell.value is None:
        return GAP
    digits = column.digits if abs(cell.value) < 1000 else 0
    text = f"{cell.value:.{digits}f}"
    if cell.sd is not None:
        text += f" ± {cell.sd:.{column.digits}f} ({row.seeds})"
    if column.interval and cell.low is not None and cell.high is not None:
        text += f" [{cell.low:.{column.digits}f}, {cell.high:.{column.digits}f}]"
    return text


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "text": _text,
    "md": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
    "json": _json,
}
"""Name -> writer."""
