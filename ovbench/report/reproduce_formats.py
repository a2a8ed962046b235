"""Reproduced tables as text: for a terminal, Markdown, CSV, LaTeX (booktabs), HTML and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from ovbench.core.errors import unknown

from .emphasis import best_and_second
from .grids import GAP, aligned, csv_text, html_table, markdown_lines, plain
from .latex import PREAMBLE, booktabs
from .model import Cell
from .published import METRICS
from .reproduce_model import Line, Reproduction
from .reproduce_notes import without_commands

MISSING = "MISSING"
_MAIN = (
    "#",
    "method",
    "mIoU published",
    "mIoU measured",
    "difference",
    "gap published",
    "gap measured",
    "sign",
)
_OTHERS = tuple(METRICS)[1:]
_NOTE = "Bold: best of a column, underlined: second; values that print alike are marked alike."


def write(table: Reproduction, format: str) -> str:
    """The table in one of `FORMATS`, without a newline at the end; raises `UserError` for another format."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](table)


def _main(table: Reproduction) -> list[list[str]]:
    """Published place, name, mIoU published and measured, difference, gaps, sign."""
    places = _places([line.entry.scores["miou"].value for line in table.lines])
    body = []
    for place, line in zip(places, table.lines, strict=True):
        reference = line.entry.row == table.reference
        gaps = (
            ["reference", "reference"]
            if reference
            else [_signed(line.published_gap), _span(line.gap, signed=True)]
        )
        body.append(
            [
                str(place),
                line.entry.row,
                _published(line, "miou"),
                _measured(line, "miou"),
                _span(line.differences.get("miou", Cell()), signed=True),
                *gaps,
                line.verdict or GAP,
            ]
        )
    return body


def _others(table: Reproduction) -> tuple[list[str], list[list[str]]]:
    head = ["", "method"]
    for key in _OTHERS:
        head += [f"{METRICS[key]} published", f"{METRICS[key]} measured", f"{METRICS[key]} difference"]
    body = []
    for line in table.lines:
        cells = ["", line.entry.row]
        for key in _OTHERS:
            difference = _span(line.differences.get(key, Cell()), signed=True)
            cells += [_published(line, key), _measured(line, key), difference]
        body.append(cells)
    return head, body


def _places(values: Sequence[float]) -> list[int]:
    return [1 + sum(other > value for other in values) for value in values]


def _published(line: Line, key: str) -> str:
    number = line.entry.scores.get(key)
    return GAP if number is None else f"{number.value:.{number.digits}f}"


def _measured(line: Line, key: str) -> str:
    cell = line.cells.get(key, Cell())
    if cell.value is None:
        return GAP if line.absent or not line.missing else MISSING
    text = f"{cell.value:.1f}" + ("" if cell.sd is None else f" ± {cell.sd:.1f} ({line.seeds})")
    return text + _limits(cell, signed=False)


def _span(cell: Cell, signed: bool) -> str:
    return GAP if cell.value is None else _signed(cell.value, 1) + _limits(cell, signed)


def _limits(cell: Cell, signed: bool) -> str:
    if cell.low is None or cell.high is None:
        return ""
    sign = "+" if signed else ""
    return f" [{cell.low:{sign}.1f}, {cell.high:{sign}.1f}]"


def _signed(value: float | None, digits: int = 2) -> str:
    return GAP if value is None else f"{value:+.{digits}f}"


def _text(table: Reproduction) -> str:
    head, others = _others(table)
    first = aligned([_MAIN], _main(table), table.title, [])
    return first + "\n" + aligned(_two(head), others, "", table.notes)


def _two(head: Sequence[str]) -> list[list[str]]:
    """Headings on two lines: the score above, what it is below."""
    parts = [title.partition(" ") for title in head]
    return [[a if b else "" for a, b, _ in parts], [c if b else a for a, b, c in parts]]


def _markdown(table: Reproduction) -> str:
    head, others = _others(table)
    notes = "\n".join(f"- {note}" for note in table.notes)
    first = markdown_lines(_MAIN, _main(table))
    return "\n".join([f"**{table.title}**", "", first, "", markdown_lines(head, others), "", notes])


def _marks(body: Sequence[Sequence[str]], columns: Sequence[int]) -> list[list[str]]:
    """Best and second of each of these columns, by the number that a cell begins with."""
    marks = [[""] * len(row) for row in body]
    for column in columns:
        numbers = {
            i: float(row[column].split(" ")[0]) for i, row in enumerate(body) if row[column][:1].isdigit()
        }
        for i, mark in best_and_second(numbers).items():
            marks[i][column] = mark
    return marks


def _latex(table: Reproduction) -> str:
    body, (head, others) = _main(table), _others(table)
    notes = [without_commands(note) for note in table.notes]
    numbers = {line.seeds for line in table.lines if line.runs}
    if len(numbers) == 1:  # said once below the table instead of in each cell: columns are narrow in print
        said = f" ({min(numbers)})"
        body, others = ([[cell.replace(said, "") for cell in cells] for cells in x] for x in (body, others))
        notes = [_once(note, min(numbers)) for note in notes]
    first = booktabs(table.title, _MAIN, body, [*notes, _NOTE], _marks(body, (2, 3)))
    second = booktabs(
        f"{table.title}: other scores",
        head,
        others,
        [notes[0], _NOTE],
        _marks(others, (2, 3, 5, 6, 8, 9)),
        together=3,
    )
    return f"{PREAMBLE}\n{first}\n\n{second}"


def _once(note: str, trainings: int) -> str:
    return note.replace("a ± b (n)", "a ± b").replace("over n trainings", f"over {trainings} trainings")


def _html(table: Reproduction) -> str:
    body, (head, others) = _main(table), _others(table)
    first = html_table(table.title, _MAIN, body, [], _marks(body, (2, 3)))
    second = html_table(
        "Other scores", head, others, [*table.notes, _NOTE], _marks(others, (2, 3, 5, 6, 8, 9))
    )
    return f"{first}\n{second}"


_ABOUT = ("row", "method", "backbone", "trained_on", "setting", "remark", "source")
_PARTS = ("value", "low", "high", "sd")


def _csv(table: Reproduction) -> str:
    """One line per row; published, measured and difference of each score in columns of their own."""
    parts = ("published", *_PARTS, *(f"difference.{part}" for part in _PARTS[:3]))
    scores = [f"{key}.{part}" for key in METRICS for part in parts]
    gaps = ["gap.published", "gap.value", "gap.low", "gap.high", "sign"]
    measured = ["measured_with", "measured_weights", "measured_trained_on", "measured_remark", "seeds"]
    rows: list[list[object]] = [[*table.facts, *_ABOUT, *measured, *scores, *gaps, "missing", "command"]]
    for line in table.lines:
        cells: list[object] = []
        for key in METRICS:
            number = line.entry.scores.get(key)
            cells.append("" if number is None else number.value)
            cells += _numbers(line.cells.get(key, Cell()), _PARTS)
            cells += _numbers(line.differences.get(key, Cell()), _PARTS[:3])
        cells += [
            plain(line.published_gap),
            *_numbers(line.gap, _PARTS[:3]),
            line.verdict,
            line.missing,
            line.command,
        ]
        about = [getattr(line.entry, name) for name in _ABOUT]
        with_what = [line.method, ", ".join(line.weights), line.trained_on, line.remark, line.seeds]
        rows.append([*table.facts.values(), *about, *with_what, *cells])
    return csv_text(rows)


def _numbers(cell: Cell, parts: Sequence[str]) -> list[object]:
    return [plain(getattr(cell, part)) for part in parts]


def _json(table: Reproduction) -> str:
    value = asdict(table)
    for line, source in zip(value["lines"], table.lines, strict=True):
        line["verdict"] = source.verdict
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)


FORMATS: dict[str, Callable[[Reproduction], str]] = {
    "text": _text,
    "md": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
    "json": _json,
}
"""Name -> writer."""
