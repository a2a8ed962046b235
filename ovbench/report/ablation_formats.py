"""Ablation tables as text: for a terminal, Markdown, CSV, LaTeX (booktabs), HTML and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from ovbench.core.errors import unknown

from .ablation_model import AblationTable, Gap, Line
from .grids import GAP, aligned, csv_text, html_table, markdown_lines, plain
from .latex import PREAMBLE, booktabs
from .model import Cell


def write(table: AblationTable, format: str) -> str:
    """The table in one of `FORMATS`, without a newline at the end; raises `UserError` for another format."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](table)


def _text(table: AblationTable) -> str:
    head, body = _grid(table)
    return aligned([head], body, table.title, table.notes)


def _markdown(table: AblationTable) -> str:
    head, body = _grid(table)
    notes = "\n".join(f"- {note}" for note in table.notes)
    return "\n".join([f"**{table.title}**", "", markdown_lines(head, body), "", notes])


def _latex(table: AblationTable) -> str:
    head, body = _grid(table)
    return PREAMBLE + "\n" + booktabs(table.title, head, body, table.notes)


def _html(table: AblationTable) -> str:
    head, body = _grid(table)
    return html_table(table.title, head, body, table.notes)


def _grid(table: AblationTable) -> tuple[list[str], list[list[str]]]:
    """Heading and rows as strings; a group is named in its first row."""
    head = ["group", "row", "published", "published gap", _title(table.metric), "gap to full", "verdict"]
    head += [_title(key) for key in table.columns[1:]]
    body, before = [], None
    for line in table.lines:
        cells = [line.group if line.group != before else "", line.row, _number(line.published, 2)]
        cells += [_signed(line.published_gap, 2), _cell(line, table.metric), *_gap(line)]
        body.append([*cells, *(_cell(line, key, interval=False) for key in table.columns[1:])])
        before = line.group
    return head, body


def _title(key: str) -> str:
    group, _, metric = key.partition(".")
    if group.startswith("vc"):
        return f"{group.upper()} {metric}"
    return f"{group} {'mIoU' if metric == 'miou' else metric}".strip()


def _number(value: float | None, digits: int = 1) -> str:
    return GAP if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 1) -> str:
    return GAP if value is None else f"{value:+.{digits}f}"


def _cell(line: Line, key: str, interval: bool = True) -> str:
    cell = line.cells.get(key, Cell())
    if cell.value is None:
        return "MISSING" if line.missing and interval else GAP
    text = f"{cell.value:.1f}"
    if cell.sd is not None:
        text += f" ± {cell.sd:.1f}"
    if interval:
        text += f" ({line.seeds}{' of ' + str(line.seeds + len(line.missing)) if line.missing else ''})"
        if cell.low is not None and cell.high is not None:
            text += f" [{cell.low:.1f}, {cell.high:.1f}]"
    return text


def _gap(line: Line) -> list[str]:
    gap = line.gap
    if gap is None:
        return [GAP, GAP]
    span = "" if gap.low is None or gap.high is None else f" [{gap.low:+.1f}, {gap.high:+.1f}]"
    return [_signed(gap.effect) + span, gap.verdict]


_LINE = (
    "group",
    "row",
    "description",
    "variant",
    "over",
    "published",
    "published_gap",
    "published_step",
    "seeds",
)
_PARTS = ("value", "low", "high", "sd")
_GAP = ("effect", "low", "high", "videos.low", "videos.high", "p", "p_adjusted", "seeds", "verdict")


def _csv(table: AblationTable) -> str:
    """One line per row; a score's mean, limits and deviation in columns of their own, then the difference to full."""
    scores = [f"{key}.{part}" for key in table.columns for part in _PARTS]
    gaps = [f"{name}.{part}" for name in ("gap", "step") for part in _GAP]
    rows: list[list[object]] = [[*table.facts, *_LINE, *scores, *gaps, "missing", "remark"]]
    for line in table.lines:
        facts = ["" if v is None else v for v in table.facts.values()]
        about = [plain(getattr(line, name)) for name in _LINE]
        cells = [line.cells.get(key, Cell()) for key in table.columns]
        numbers = [plain(getattr(cell, part)) for cell in cells for part in _PARTS]
        differences = [*_gap_values(line.gap), *_gap_values(line.step)]
        rows.append([*facts, *about, *numbers, *differences, "; ".join(line.missing), line.remark])
    return csv_text(rows)


def _gap_values(gap: Gap | None) -> list[object]:
    if gap is None:
        return [""] * len(_GAP)
    values = (gap.effect, gap.low, gap.high, *gap.videos, gap.p, gap.p_adjusted, gap.seeds, gap.verdict)
    return [plain(value) for value in values]


def _json(table: AblationTable) -> str:
    value = asdict(table)
    for line, source in zip(value["lines"], table.lines, strict=True):
        for name, gap in (("gap", source.gap), ("step", source.step)):
            if gap is not None:
                line[name]["verdict"] = gap.verdict
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)


FORMATS: dict[str, Callable[[AblationTable], str]] = {
    "text": _text,
    "md": _markdown,
    "csv": _csv,
    "latex": _latex,
    "html": _html,
    "json": _json,
}
"""Name -> writer."""
