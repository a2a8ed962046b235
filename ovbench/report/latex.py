"""Tables in LaTeX (booktabs): plain ASCII that any engine compiles, at sizes that can be read in print."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from .grids import BEST, Grid
from .tex import replaced, tex

PREAMBLE = (
    "% needs \\usepackage{booktabs} and \\usepackage{graphicx}; text at least 6.5 in wide, 10 pt or more"
)
ROOM = 462.0
"""Points that a table may be wide: 6.5 in, less a little as widths are estimated."""
HIGH = 525.0
"""Points that a float may be high, without its caption."""
_SIZES = {"footnote": 8.0, "script": 7.0}
_GUTTER = 6.0


def booktabs(
    title: str,
    head: Sequence[str],
    body: Grid,
    notes: Sequence[str],
    emphasis: Grid | None = None,
    sections: Mapping[int, str] | None = None,
    *,
    together: int = 1,
) -> str:
    """A LaTeX table over both columns of a page.

    An interval goes below its value. A table that is wider than `ROOM` is printed in parts below each other, each
    with the first two columns; in a narrower text a part is scaled down to it. What is higher than a page goes on in
    a further float under the same number. Each note is a paragraph. `together`: so many columns, from the third on,
    are never parted. Letters and
    signs that LaTeX's own fonts lack are printed as their numbers, and a comment says which.
    """
    marks = emphasis or [[""] * len(row) for row in body]
    blocks = [
        (_height(part, body, sections or {}), _part(head, body, marks, sections or {}, part))
        for part in _parts(head, body, sections or {}, together)
    ]
    texts = [title, *head, *notes, *(sections or {}).values(), *(cell for row in body for cell in row)]
    floats = [_float(title, number, *content) for number, content in enumerate(_packed(blocks, notes))]
    return "\n".join([*_comment(texts), *floats])


def _packed(blocks: Sequence[tuple[float, str]], notes: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Parts and notes of each float, in order, none higher than a page."""
    found: list[tuple[list[str], list[str]]] = [([], [])]
    used = 0.0
    lines = [(8.5 * (1 + int(_width(note, "script") / ROOM)), note) for note in notes]
    for height, text, place in [*((h, t, 0) for h, t in blocks), *((h, t, 1) for h, t in lines)]:
        if used and used + height > HIGH:
            found.append(([], []))
            used = 0.0
        found[-1][place].append(text)
        used += height
    return found


def _float(title: str, number: int, parts: Sequence[str], notes: Sequence[str]) -> str:
    below = "\\par\n".join(tex(note) for note in notes)
    said = f"{tex(title)} (continued)" if number else tex(title)
    return "\n".join(
        [
            "\\begin{table*}[tbp]",
            *(["\\addtocounter{table}{-1}"] if number else []),
            "\\centering",
            "\\footnotesize",
            "\\setlength{\\tabcolsep}{3pt}",
            f"\\caption{{{said}}}\\vspace{{4pt}}",
            "\n\\par\\medskip\n".join(parts),
            *(["", "\\smallskip", f"\\parbox{{\\textwidth}}{{\\scriptsize {below}}}"] if notes else []),
            "\\end{table*}",
        ]
    )


def _comment(texts: Sequence[str]) -> Iterator[str]:
    """Which characters are printed as their numbers."""
    found = sorted({c for text in texts for c in replaced(str(text))})
    if found:
        names = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in found)
        yield f"% LaTeX's own fonts lack these, which are printed as their numbers: {names}"


_Part = tuple[Sequence[int], Sequence[int]]  # rows, columns


def _part(head: Sequence[str], body: Grid, marks: Grid, sections: Mapping[int, str], part: _Part) -> str:
    chosen, columns = part
    rows = []
    for number in chosen:
        if number in sections:
            above = "\\midrule\n" if number != chosen[0] else ""
            rows.append(
                f"{above}\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{tex(sections[number])}}}}} \\\\"
            )
        row = " & ".join(_cell(body[number][i], marks[number][i]) for i in columns) + " \\\\"
        rows.append(row + ("\\addlinespace[3pt]" if "{tabular}" in row else ""))
    return "\n".join(
        [
            f"\\sbox0{{\\begin{{tabular}}{{rl{'r' * (len(columns) - 2)}}}",
            "\\toprule",
            " & ".join(_head(head[i]) for i in columns) + " \\\\",
            "\\midrule",
            *rows,
            "\\bottomrule",
            "\\end{tabular}}",
            "\\ifdim\\wd0>\\textwidth\\resizebox{\\textwidth}{!}{\\usebox0}\\else\\usebox0\\fi",
        ]
    )


def _parts(head: Sequence[str], body: Grid, sections: Mapping[int, str], together: int) -> list[_Part]:
    """Columns that fit into the width of a page, and rows that fit into its height."""
    found: list[_Part] = []
    for columns in _columns(head, body, together):
        rows: list[int] = []
        for number in range(len(body)):
            if rows and _height(([*rows, number], columns), body, sections) > HIGH:
                found.append((rows, columns))
                rows = []
            rows.append(number)
        found.append((rows, columns))
    return found


def _height(part: _Part, body: Grid, sections: Mapping[int, str]) -> float:
    """About how high a part is, in points."""
    rows, columns = part
    return 48 + sum(
        (22 if any(_split(body[number][i])[1] for i in columns) else 10) + (14 if number in sections else 0)
        for number in rows
    )


def _columns(head: Sequence[str], body: Grid, together: int) -> list[list[int]]:
    """The columns of each part: as few parts as fit, of about the same number of columns."""
    widths = [
        _GUTTER
        + max(
            [_width(line, "footnote") for line in _head_lines(head[i])]
            + [_cell_width(row[i]) for row in body]
        )
        for i in range(len(head))
    ]
    left = sum(widths[:2])
    others = [[*range(i, min(i + together, len(head)))] for i in range(2, len(head), together)]
    for count in range(1, len(others) + 1):
        cuts = [round(k * len(others) / count) for k in range(count + 1)]
        parts = [[i for group in others[a:b] for i in group] for a, b in pairwise(cuts)]
        if all(left + sum(widths[i] for i in part) <= ROOM for part in parts):
            return [[0, 1, *part] for part in parts]
    return [[0, 1, *group] for group in others] or [[0, 1]]


def _cell_width(cell: str) -> float:
    value, below = _split(cell)
    return max(_width(value, "footnote"), _width(below, "script"))


def _width(text: str, size: str) -> float:
    """About how wide a text is, in points: measured on Computer Modern, rounded up."""
    return sum(_em(c) for c in text) * _SIZES[size]


def _em(c: str) -> float:
    if c in ".,:;'()[]il| ":
        return 0.37
    if c in "+-±−":
        return 0.83
    return 0.8 if c.isupper() or c in "mw%" or not c.isascii() else 0.56


def _head_lines(title: str) -> list[str]:
    """A heading on two lines, what is measured on the second; a remark in brackets on a third."""
    name, bracket, remark = title.partition(" (")
    first, _, last = name.rpartition(" ")
    return [part for part in (first, last, f"({remark}" if bracket else "") if part]


def _head(title: str) -> str:
    lines = _head_lines(title)
    return tex(title) if len(lines) < 2 else "\\shortstack[r]{" + "\\\\".join(map(tex, lines)) + "}"


def _split(cell: str) -> tuple[str, str]:
    """A value and the interval behind it, "" where there is none."""
    value, bracket, span = cell.partition(" [")
    spread = bracket and span.endswith("]") and span[:1] in "+-0123456789"
    return (value, f"[{span}") if spread else (cell, "")


def _cell(cell: str, mark: str) -> str:
    """A value, its number marked; an interval in a smaller size below it, the value on the row's line."""
    value, below = _split(cell)
    text = tex(value)
    if mark:
        number, space, rest = text.partition(" ")
        command = "\\textbf" if mark == BEST else "\\underline"
        text = f"{command}{{{number}}}{space}{rest}"
    if not below:
        return text
    return f"\\begin{{tabular}}[t]{{@{{}}r@{{}}}}{text}\\\\{{\\scriptsize {tex(below)}}}\\end{{tabular}}"
