"""Headings and cells as strings, laid out: for a terminal, Markdown, HTML and CSV; `latex` does LaTeX.

Every layout takes `head` (titles), `body` (rows of cells) and notes; the second column (names) goes to the left, the
others to the right. `sections` {row number: heading} puts a heading above that row. `emphasis` has the shape of
`body`: BEST and SECOND are shown in LaTeX and HTML, on the number that a cell begins with.
"""

from __future__ import annotations

import csv
import html
import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

GAP = "-"
"""Stands where there is no value."""
NOTE_WIDTH = 118
BEST, SECOND = "best", "second"

Grid = Sequence[Sequence[str]]


def aligned(
    head: Grid, body: Grid, title: str, notes: Sequence[str], sections: Mapping[int, str] | None = None
) -> str:
    """Plain columns below a heading of one or more lines."""
    lines = [*head, *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def line(cells: Sequence[str]) -> str:
        parts = [
            c.ljust(w) if i == 1 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    wrapped = [textwrap.fill(n, NOTE_WIDTH, subsequent_indent="  ", break_long_words=False) for n in notes]
    rows = []
    for number, cells in enumerate(body):
        if number in (sections or {}):
            rows.append(f"[{(sections or {})[number]}]")
        rows.append(line(cells))
    return "\n".join([title, rule, *map(line, head), rule, *rows, rule, *wrapped])


def markdown_lines(head: Sequence[str], body: Grid, sections: Mapping[int, str] | None = None) -> str:
    """A pipe table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

    rule = "|" + "|".join(" :-- " if i == 1 else " --: " for i in range(len(head))) + "|"
    rows = []
    for number, cells in enumerate(body):
        if number in (sections or {}):
            rows.append(line(["", f"**{(sections or {})[number]}**", *[""] * (len(head) - 2)]))
        rows.append(line(cells))
    return "\n".join([line(head), rule, *rows])


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: object) -> object:
    """A cell of a CSV file that no spreadsheet takes for a formula: such text gets an apostrophe in front.

    Numbers, texts that are one, and a sign alone stay as they are; None becomes an empty cell.

    >>> safe_cell("=1+1"), safe_cell("-1.2"), safe_cell(-1.2), safe_cell("- wall")
    ("'=1+1", '-1.2', -1.2, "'- wall")
    """
    if value is None:
        return ""
    if isinstance(value, str):
        value = value.replace(
            "\r", "\n"
        )  # Python 3.11 leaves \r unquoted, and no reader takes such a row back
    if not isinstance(value, str) or len(value) < 2 or not value.lstrip(" \n").startswith(_FORMULA):
        return value
    return value if _NUMBER.fullmatch(value) else f"'{value}"


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def plain(value: object) -> object:
    """A value for CSV: nothing for None, six digits of a float, anything else as it is.

    >>> plain(None), plain(1 / 3), plain(12)
    ('', '0.333333', 12)
    """
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV, without a newline at the end; every cell through `safe_cell`."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([safe_cell(cell) for cell in row] for row in rows)
    return stream.getvalue().rstrip("\n")


def html_table(
    title: str,
    head: Sequence[str],
    body: Grid,
    notes: Sequence[str],
    emphasis: Grid | None = None,
    sections: Mapping[int, str] | None = None,
) -> str:
    """A <figure> with a table, caption and notes, in ASCII, so that any page may take it in."""
    rows = []
    for number, cells in enumerate(body):
        if number in (sections or {}):
            heading = html.escape(str((sections or {})[number]))
            rows.append(
                f'<tr><th colspan="{len(head)}" scope="rowgroup" style="text-align:left">{heading}</th></tr>'
            )
        marks = emphasis[number] if emphasis else [""] * len(cells)
        parts = [_html_cell(i, c, m) for i, (c, m) in enumerate(zip(cells, marks, strict=True))]
        rows.append(f"<tr>{''.join(parts)}</tr>")
    titles = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in head)
    below = "".join(f"<li>{html.escape(note)}</li>\n" for note in notes)
    text = "\n".join(
        [
            '<figure class="ovbench-table">',
            f"<table>\n<caption>{html.escape(title)}</caption>",
            f"<thead>\n<tr>{titles}</tr>\n</thead>",
            "<tbody>",
            *rows,
            "</tbody>\n</table>",
            f"<figcaption>\n<ul>\n{below}</ul>\n</figcaption>\n</figure>",
        ]
    )
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _html_cell(column: int, cell: str, mark: str) -> str:
    text = html.escape(cell)
    if mark:
        number, space, rest = text.partition(" ")
        tag = "strong" if mark == BEST else "u"
        text = f"<{tag}>{number}</{tag}>{space}{rest}"
    if column == 1:
        return f'<th scope="row" style="text-align:left;font-weight:normal">{text}</th>'
    return f'<td style="text-align:right;padding-left:1em">{text}</td>'
