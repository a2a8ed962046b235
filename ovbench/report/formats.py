"""Tables as text: for a terminal, Markdown, CSV, LaTeX (booktabs) and JSON."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ovbench.core.errors import unknown

from .model import Cell, Column, Row, Table

GAP = "-"
"""Stands where there is no value."""
NOTE_WIDTH = 118
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
    return aligned(lines, body, table.title, table.notes)


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


def aligned(
    head: Sequence[Sequence[str]], body: Sequence[Sequence[str]], title: str, notes: Sequence[str]
) -> str:
    """Plain columns below a heading of one or more lines; the second column (names) to the left."""
    lines = [*head, *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def line(cells: Sequence[str]) -> str:
        parts = [
            c.ljust(w) if i == 1 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    wrapped = [textwrap.fill(n, NOTE_WIDTH, subsequent_indent="  ", break_long_words=False) for n in notes]
    return "\n".join([title, rule, *map(line, head), rule, *map(line, body), rule, *wrapped])


def _markdown(tables: Sequence[Table]) -> str:
    return "\n\n".join(_markdown_table(t) for t in tables)


def _markdown_table(table: Table) -> str:
    head, *body = _lines(table)
    notes = "\n".join(f"- {n}" for n in table.notes)
    return "\n".join([f"**{table.title}**", "", markdown_lines(head, body), "", notes])


def markdown_lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A pipe table; the second column (names) to the left, the others to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

    rule = "|" + "|".join(" :-- " if i == 1 else " --: " for i in range(len(head))) + "|"
    return "\n".join([line(head), rule, *map(line, body)])


def _latex(tables: Sequence[Table]) -> str:
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(_latex_table(t) for t in tables)


def _latex_table(table: Table) -> str:
    head, *body = _lines(table)
    return booktabs(table.title, head, body, table.notes)


def booktabs(title: str, head: Sequence[str], body: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A LaTeX table; the second column (names) to the left, the others to the right."""
    head, *body = [[_escaped(c) for c in cells] for cells in (head, *body)]
    columns = "rl" + "r" * (len(head) - 2)
    rows = [" & ".join(cells) + " \\\\" for cells in body]
    below = " ".join(_escaped(n) for n in notes)
    return "\n".join(
        [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{_escaped(title)}}}",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            " & ".join(head) + " \\\\",
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}",
            "",
            "\\smallskip",
            f"{{\\footnotesize {below}\\par}}",
            "\\end{table}",
        ]
    )


_TEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "±": "$\\pm$",
    "[": "{[}",  # a bracket after a row's \\ would be read as its optional length
}


def _escaped(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


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
    head = [
        *_FACTS,
        *_FRAMES,
        *of_groups,
        *(key if part == "value" else f"{key}.{part}" for key, part in used),
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for table in tables:
        for row in table.rows:
            counts = _counts(table, groups)
            writer.writerow([*_facts(table, row), *counts, *(_plain_number(row.cell(k), p) for k, p in used)])
    return stream.getvalue().rstrip("\n")


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


def _plain_number(cell: Cell, part: str) -> str:
    value = getattr(cell, part)
    return "" if value is None else f"{value:.6g}"


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
    "json": _json,
}
"""Name -> writer."""
