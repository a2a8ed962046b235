"""A comparison of two runs as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from ovbench.core.errors import unknown

from .compare import Comparison
from .formats import GAP, aligned, markdown_lines

_SCORES = ("", "score", "A", "B", "B - A", "95 % interval", "p", "B is")
_CLASSES = ("", "class", "A", "B", "B - A", "group")


def write_comparison(comparison: Comparison, format: str) -> str:
    """The comparison in one of `FORMATS`; raises `UserError` for another format."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](comparison)


def _title(c: Comparison) -> str:
    about = (
        f"{c.protocol['id']} v{c.protocol['version']}, hash {str(c.protocol['hash'])[:12]}, {c.videos} videos"
    )
    return f"A = {c.a}, B = {c.b}, on {about}"


def _score_lines(c: Comparison) -> list[list[str]]:
    return [
        ["", s.title, _number(s.a), _number(s.b), _signed(s.effect), _span(s.low, s.high), _p(s.p), s.verdict]
        for s in c.scores
    ]


def _class_lines(c: Comparison) -> list[list[str]]:
    return [["", k.name, _number(k.a), _number(k.b), _signed(k.effect), k.group] for k in c.classes]


def _text(c: Comparison) -> str:
    scores = aligned([_SCORES], _score_lines(c), _title(c), c.notes)
    return f"{scores}\n\n{aligned([_CLASSES], _class_lines(c), 'Largest differences of class IoU', ())}"


def _markdown(c: Comparison) -> str:
    notes = "\n".join(f"- {n}" for n in c.notes)
    scores, classes = markdown_lines(_SCORES, _score_lines(c)), markdown_lines(_CLASSES, _class_lines(c))
    return f"**{_title(c)}**\n\n{scores}\n\n{notes}\n\nLargest differences of class IoU:\n\n{classes}"


def _csv(c: Comparison) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["kind", "name", "group", "a", "b", "effect", "low", "high", "p", "verdict"])
    for s in c.scores:
        numbers = (s.a, s.b, s.effect, s.low, s.high, s.p)
        writer.writerow(["score", s.key, "", *map(_plain, numbers), s.verdict])
    for k in c.classes:
        writer.writerow(["class", k.name, k.group, *map(_plain, (k.a, k.b, k.effect)), "", "", "", ""])
    return stream.getvalue().rstrip("\n")


def _json(c: Comparison) -> str:
    return json.dumps(asdict(c), indent=1, allow_nan=False, ensure_ascii=False)


def _number(value: float | None) -> str:
    return GAP if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return GAP if value is None else f"{value:+.1f}"


def _span(low: float | None, high: float | None) -> str:
    return GAP if low is None or high is None else f"[{low:+.1f}, {high:+.1f}]"


def _p(value: float | None) -> str:
    return GAP if value is None else f"{value:.4f}" if value >= 0.001 else "<0.001"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _text,
    "md": _markdown,
    "csv": _csv,
    "json": _json,
}
"""Name -> writer."""
