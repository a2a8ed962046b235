"""IoU of each class: sorted bars with intervals and support, methods side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import UserError
from ovbench.report.model import Cell, Run
from ovbench.stats.bootstrap import intervals

from .classes import Rows, class_sample, labels_of, supports
from .series import Board, Entry, prepare
from .style import GREY, INK, WIDTHS_IN, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import Options

MOST = 4
"""Methods side by side; with more nobody can follow a bar."""
_BAR = 0.042
"""Inches: how thick a bar would like to be."""


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """Bars per class, the best method's order; methods as given, or the best `MOST` of them."""
    board = prepare(runs, options)
    entries, left_out = board.shown(options, MOST)
    group, classes = board.classes(options)
    support = supports([r for e in entries for r in e.runs], board.protocol)
    there = [int(c) for c in classes if int(c) in support]
    if not there:
        raise UserError(f"no class of group '{group}' occurs in the truth of these videos")
    found = [_ious(e, board, classes) for e in entries]
    best = max(range(len(entries)), key=lambda i: _mean([found[i][c].value for c in there]))
    order = sorted(there, key=lambda c: (-(found[best][c].value or 0.0), c))
    mixed = len({board.protocol.classes[c].seen for c in order}) > 1
    absent = len(classes) - len(there)
    note = board.note(
        f"{'All' if group == 'all' else group.capitalize()} classes ({len(order)}), ordered by {entries[best].name}.",
        "Lines: 95 % intervals over videos."
        * any(found[i][c].low is not None for i in range(len(entries)) for c in order),
        "Right: videos that hold the class, share of all scored pixels.",
        "* unseen in training." if mixed else "",
        f"{absent} without a pixel of truth {'is' if absent == 1 else 'are'} left out." if absent else "",
        left_out,
    )
    with styled():
        rows = Rows(
            labels_of(board.protocol, order, mixed),
            [str(support[c]) for c in order],
            max(0.15, _BAR * len(entries) + 0.03),
            WIDTHS_IN[options.width],
            "IoU (%)",
            note,
            [(_patch(e), e.name) for e in entries],
        )
        for axes, part in rows.panels:
            for i, entry in enumerate(entries):
                cells = [found[i][order[r]] for r in part]
                _bars(
                    axes,
                    cells,
                    entry,
                    (i - (len(entries) - 1) / 2) * 0.84 / len(entries),
                    0.84 / len(entries),
                )
            axes.set_xlim(0, 100)
            axes.set_xticks(range(0, 101, 25))
        return rows.sheet.finish()


def _ious(entry: Entry, board: Board, classes: Any) -> dict[int, Cell]:
    sample = class_sample(entry.runs, board.protocol, classes)
    spans = intervals(sample)
    return {int(name): Cell(value, *(spans[name] or (None, None))) for name, value in sample.point().items()}


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return math.fsum(known) / max(1, len(known))


def _patch(entry: Entry) -> Any:
    from matplotlib.patches import Patch

    return Patch(**_look(entry))


def _look(entry: Entry) -> dict[str, Any]:
    """How bars are filled: a wrapped twin hatched in the colour of its inner method."""
    if entry.wrapper:
        hatch = "//////" if entry.wrapper == "vote" else "......"
        return {"facecolor": "none", "edgecolor": entry.colour, "hatch": hatch, "linewidth": 0.5}
    return {"facecolor": entry.colour, "edgecolor": "none", "linewidth": 0.0}


def _bars(axes: Axes, cells: Sequence[Cell], entry: Entry, shift: float, height: float) -> None:
    places = [i + shift for i in range(len(cells))]
    values = [c.value or 0.0 for c in cells]
    axes.barh(places, values, height=height * 0.92, **_look(entry))
    known = [
        (place, c.low, c.high)
        for place, c in zip(places, cells, strict=True)
        if c.low is not None and c.high is not None
    ]
    if known:
        axes.hlines(*zip(*known, strict=True), color=GREY if entry.colour == INK else INK, linewidth=0.5)
