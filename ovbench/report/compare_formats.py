"""Comparisons of runs as text, Markdown, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from ovbench.core.errors import unknown
from ovbench.core.words import plural
from ovbench.stats.power import MOST

from .compare import THIN, Comparison
from .grids import GAP, aligned, csv_text, markdown_lines, plain

_CSV = ("kind", "name", "group", "a", "b", "effect", "low", "high", "p", "p_adjusted", "verdict", "needed")
_CSV_SUPPORT = ("videos", "pixel_share", "run_a", "run_b")


def write_comparison(comparison: Comparison, format: str) -> str:
    """One comparison in one of `FORMATS`; raises `UserError` for another format."""
    return write_comparisons([comparison], format)


def write_comparisons(comparisons: Sequence[Comparison], format: str) -> str:
    """Comparisons, one or more, in one of `FORMATS`; raises `UserError` for another format.

    JSON of one comparison is an object, of several a list of them; CSV is one table in any case.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](comparisons)


def _score_head(b: str) -> tuple[str, ...]:
    return ("", "score", "A", b, f"{b} - A", "95 % interval", "p", "p adj.", f"{b} is", "videos needed")


def _class_head(b: str) -> tuple[str, ...]:
    return ("", "class", "A", b, f"{b} - A", "group", "videos", "pixels %")


def _title(c: Comparison) -> str:
    about = (
        f"{c.protocol['id']} v{c.protocol['version']}, hash {str(c.protocol['hash'])[:12]}, "
        f"{plural(c.videos, 'video')}"
    )
    return f"A = {c.a}, {c.letter} = {c.b}, on {about}"


def _score_lines(c: Comparison) -> list[list[str]]:
    return [
        [
            "",
            s.title,
            *(_number(s.a), _number(s.b), _signed(s.effect), _span(s.low, s.high)),
            *(_p(s.p), _p(s.p_adjusted), s.verdict, _count(s.needed)),
        ]
        for s in c.scores
    ]


def _class_lines(c: Comparison) -> list[list[str]]:
    return [
        [
            "",
            k.name,
            *(_number(k.a), _number(k.b), _signed(k.effect), k.group),
            f"{k.videos}{' !' if k.videos < THIN else '  '}",
            _share(k.share),
        ]
        for k in c.classes
    ]


def _class_title(c: Comparison) -> str:
    thin = any(k.videos < THIN for k in c.classes)
    return "Largest differences of class IoU" + (f" (!: fewer than {THIN} videos hold it)" if thin else "")


def _text(comparisons: Sequence[Comparison]) -> str:
    return "\n\n".join(map(_text_of_one, comparisons))


def _text_of_one(c: Comparison) -> str:
    scores = aligned([_score_head(c.letter)], _score_lines(c), _title(c), c.notes)
    if not c.classes:
        return scores
    return f"{scores}\n\n{aligned([_class_head(c.letter)], _class_lines(c), _class_title(c), ())}"


def _markdown(comparisons: Sequence[Comparison]) -> str:
    return "\n\n".join(map(_markdown_of_one, comparisons))


def _markdown_of_one(c: Comparison) -> str:
    notes = "\n".join(f"- {n}" for n in c.notes)
    text = f"**{_title(c)}**\n\n{markdown_lines(_score_head(c.letter), _score_lines(c))}\n\n{notes}"
    if not c.classes:
        return text
    return f"{text}\n\n{_class_title(c)}:\n\n{markdown_lines(_class_head(c.letter), _class_lines(c))}"


def _csv(comparisons: Sequence[Comparison]) -> str:
    rows: list[list[object]] = [[*_CSV, *_CSV_SUPPORT]]
    for c in comparisons:
        runs = [c.a, c.b]
        for s in c.scores:
            numbers = (s.a, s.b, s.effect, s.low, s.high, s.p, s.p_adjusted)
            last: list[object] = [s.verdict, plain(s.needed), c.videos, ""]
            rows.append(["score", s.key, "", *map(plain, numbers), *last, *runs])
        for k in c.classes:
            numbers = (k.a, k.b, k.effect, None, None, None, None)
            last = ["", "", k.videos, plain(k.share)]
            rows.append(["class", k.name, k.group, *map(plain, numbers), *last, *runs])
    return csv_text(rows)


def _json(comparisons: Sequence[Comparison]) -> str:
    data = [asdict(c) for c in comparisons]
    return json.dumps(data[0] if len(data) == 1 else data, indent=1, allow_nan=False, ensure_ascii=False)


def _number(value: float | None) -> str:
    return GAP if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return GAP if value is None else f"{value:+.1f}"


def _span(low: float | None, high: float | None) -> str:
    return GAP if low is None or high is None else f"[{low:+.1f}, {high:+.1f}]"


def _p(value: float | None) -> str:
    return GAP if value is None else f"{value:.4f}" if value >= 0.001 else "<0.001"


def _count(value: int | None) -> str:
    return GAP if value is None else f"{value:,}" if value <= MOST else f">{MOST:,}"


def _share(value: float) -> str:
    return f"{value:.2f}" if value >= 0.005 else "<0.01"


FORMATS: dict[str, Callable[[Sequence[Comparison]], str]] = {
    "text": _text,
    "md": _markdown,
    "csv": _csv,
    "json": _json,
}
"""Name -> writer."""
