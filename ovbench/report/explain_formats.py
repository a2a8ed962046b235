"""An explanation as text for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable

from ovbench.core.errors import unknown

from .explain_model import Explanation, Grid, Part
from .grids import NOTE_WIDTH


def write_explanation(explanation: Explanation, format: str) -> str:
    """The explanation in one of `FORMATS`, without a newline at the end; `UserError` for another format."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](explanation)


def _text(explanation: Explanation) -> str:
    title = textwrap.fill(explanation.title, NOTE_WIDTH)
    return "\n\n".join([title, *(_text_part(p) for p in explanation.parts)])


def _text_part(part: Part) -> str:
    lines = [part.title.upper()]
    for piece in part.body:
        if isinstance(piece, Grid):
            lines += [f"    {line}" for line in _aligned(piece)]
        else:
            lines.append(
                textwrap.fill(
                    piece,
                    NOTE_WIDTH,
                    initial_indent="  ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
    return "\n".join(lines)


def _aligned(grid: Grid) -> list[str]:
    lines = [grid.head, *grid.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(grid.head))]
    return [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        .rstrip()
        for line in lines
    ]  # fmt: skip


def _markdown(explanation: Explanation) -> str:
    return "\n\n".join([f"**{explanation.title}**", *(_markdown_part(p) for p in explanation.parts)])


def _markdown_part(part: Part) -> str:
    pieces = [f"### {part.title}"]
    paragraphs: list[str] = []
    for piece in part.body:
        if isinstance(piece, Grid):
            pieces += ["\n".join(paragraphs)] if paragraphs else []
            pieces.append(_pipes(piece))
            paragraphs = []
        else:
            paragraphs.append(f"- {piece}")
    pieces += ["\n".join(paragraphs)] if paragraphs else []
    return "\n\n".join(pieces)


def _pipes(grid: Grid) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

    rule = "|" + "|".join(" :-- " if i == 0 else " --: " for i in range(len(grid.head))) + "|"
    return "\n".join([line(grid.head), rule, *map(line, grid.rows)])


def _json(explanation: Explanation) -> str:
    value = {"title": explanation.title, **explanation.data()}
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)


FORMATS: dict[str, Callable[[Explanation], str]] = {"text": _text, "md": _markdown, "json": _json}
"""Name -> writer."""
