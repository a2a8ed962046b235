"""Headings and cells as strings, laid out: for a terminal, Markdown, LaTeX (booktabs) and HTML.

Every layout takes `head` (titles), `body` (rows of cells) and notes; the second column (names) goes to the left, the
others to the right. `sections` {row number: heading} puts a heading above that row. `emphasis` has the shape of
`body`: BEST and SECOND are shown in LaTeX and HTML, on the number that a cell begins with.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Mapping, Sequence

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


PREAMBLE = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}"


def booktabs(
    title: str,
    head: Sequence[str],
    body: Grid,
    notes: Sequence[str],
    emphasis: Grid | None = None,
    sections: Mapping[int, str] | None = None,
) -> str:
    """A LaTeX table over both columns of a page.

    An interval goes below its value; a table that is still wider than the page is scaled down to it.
    """
    columns = "rl" + "r" * (len(head) - 2)
    rows = []
    for number, cells in enumerate(body):
        if number in (sections or {}):
            above = "\\midrule\n" if number else ""
            rows.append(
                f"{above}\\multicolumn{{{len(head)}}}{{l}}{{\\emph{{{tex(str((sections or {})[number]))}}}}} \\\\"
            )
        marks = emphasis[number] if emphasis else [""] * len(cells)
        row = " & ".join(_tex_cell(c, m) for c, m in zip(cells, marks, strict=True)) + " \\\\"
        rows.append(row + ("\\addlinespace[3pt]" if "{tabular}" in row else ""))
    below = " ".join(tex(note) for note in notes)
    return "\n".join(
        [
            "\\begin{table*}",
            "\\centering",
            "\\footnotesize",
            "\\setlength{\\tabcolsep}{3pt}",
            f"\\caption{{{tex(title)}}}\\vspace{{4pt}}",
            f"\\sbox0{{\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            " & ".join(_tex_head(c) for c in head) + " \\\\",
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}}",
            "\\ifdim\\wd0>\\textwidth\\resizebox{\\textwidth}{!}{\\usebox0}\\else\\usebox0\\fi",
            "",
            "\\smallskip",
            f"\\parbox{{\\textwidth}}{{\\scriptsize {below}}}",
            "\\end{table*}",
        ]
    )


def _tex_head(title: str) -> str:
    """A heading on two lines, what is measured on the second; a remark in brackets on a third."""
    name, bracket, remark = title.partition(" (")
    first, _, last = name.rpartition(" ")
    lines = [part for part in (first, last, f"({remark}" if bracket else "") if part]
    return tex(title) if len(lines) < 2 else "\\shortstack[r]{" + "\\\\".join(map(tex, lines)) + "}"


def _tex_cell(cell: str, mark: str) -> str:
    """A value, its number marked; an interval in a smaller size below it, the value on the row's line."""
    value, bracket, span = cell.partition(" [")
    spread = bracket and span.endswith("]") and span[:1] in "+-0123456789"
    text = tex(value if spread else cell)
    if mark:
        number, space, rest = text.partition(" ")
        command = "\\textbf" if mark == BEST else "\\underline"
        text = f"{command}{{{number}}}{space}{rest}"
    if not spread:
        return text
    below = tex(f"[{span}")
    return f"\\begin{{tabular}}[t]{{@{{}}r@{{}}}}{text}\\\\{{\\scriptsize {below}}}\\end{{tabular}}"


_TEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "''",
    "±": "$\\pm$",
    "−": "$-$",
    "≥": "$\\geq$",
    "≤": "$\\leq$",
    "×": "$\\times$",
    "[": "{[}",  # a bracket after a row's \\ would be read as its optional length
}


def tex(text: str) -> str:
    """Text as LaTeX prints it; a hyphen that begins a number becomes a minus, two of them stay two."""
    escaped = "".join(_TEX.get(c, c) for c in text)
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped).replace("--", "-{}-")


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
