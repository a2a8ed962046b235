"""IoU of each class, the second method minus the first, with intervals paired by video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import UserError
from ovbench.report.model import Run
from ovbench.stats.paired import Difference, compare

from .classes import Rows, class_sample, labels_of, supports
from .series import prepare
from .style import COLOURS, GREY, INK, WIDTHS_IN, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import Options


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """Diverging bars, the largest gain first; pale where the interval holds 0.

    Raises:
        UserError: not two methods.
    """
    board = prepare(runs, options)
    if len(board.entries) != 2:
        raise UserError(
            f"a difference needs two methods; these runs are of {len(board.entries)}",
            where=", ".join(e.name for e in board.entries),
            hint="name the runs of two methods, the one to start from first (training seeds of one count as one)",
        )
    first, second = board.entries
    group, classes = board.classes(options)
    support = supports([*first.runs, *second.runs], board.protocol)
    a, b = (class_sample(e.runs, board.protocol, classes) for e in (first, second))
    # no test: intervals of single classes are drawn, and nobody is told a p value
    found = {int(d.name): d for d in compare(b, a, permutations=0) if d.effect is not None}
    if not found:
        raise UserError(f"no class of group '{group}' occurs in the truth of these videos")
    order = sorted(found, key=lambda c: (-(found[c].effect or 0.0), c))
    mixed = len({board.protocol.classes[c].seen for c in order}) > 1
    note = board.note(
        f"{second.name} minus {first.name}.",
        "Lines: 95 % intervals, paired by video, of each class by itself; pale: it holds 0."
        * any(d.low is not None for d in found.values()),
        "Right: videos that hold the class, share of all scored pixels.",
        "* unseen in training." if mixed else "",
    )
    with styled():
        rows = Rows(
            labels_of(board.protocol, order, mixed),
            [str(support[c]) for c in order],
            0.15,
            WIDTHS_IN[options.width],
            "difference in IoU (points)",
            note,
            _keys(first.name, second.name),
        )
        span = _span([found[c] for c in order])
        for axes, part in rows.panels:
            _bars(axes, [found[order[row]] for row in part])
            axes.axvline(0, color=INK, linewidth=0.6)
            axes.spines.left.set_visible(False)
            axes.set_xlim(span)
            axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
        return rows.sheet.finish()


def _keys(first: str, second: str) -> list[tuple[Any, str]]:
    from matplotlib.patches import Patch

    return [
        (Patch(facecolor=COLOURS[0], edgecolor="none"), f"{second} better"),
        (Patch(facecolor=COLOURS[1], edgecolor="none"), f"{first} better"),
    ]


def _span(found: Sequence[Difference]) -> tuple[float, float]:
    """Limits of an axis that holds 0, every bar and every interval."""
    ends = [0.0, *(v for d in found for v in (d.effect, d.low, d.high) if v is not None)]
    air = 0.04 * max(1.0, max(ends) - min(ends))
    return max(-100.0, min(ends) - air), min(100.0, max(ends) + air)


def _bars(axes: Axes, found: Sequence[Difference]) -> None:
    """Bars from the top, and their intervals."""
    places = range(len(found))
    axes.barh(
        places,
        [d.effect or 0.0 for d in found],
        height=0.72,
        color=[(COLOURS[0] if (d.effect or 0.0) > 0 else COLOURS[1], 0.35 if d.tie else 1.0) for d in found],
        linewidth=0,
    )
    spans = [
        (place, d.low, d.high, GREY if d.tie else INK)
        for place, d in zip(places, found, strict=True)
        if d.low is not None and d.high is not None
    ]
    if spans:
        y, low, high, colours = zip(*spans, strict=True)
        axes.hlines(y, low, high, colors=colours, linewidth=0.6)
