"""Seen against unseen mIoU, with curves on which their harmonic mean is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ovbench.core.errors import UserError
from ovbench.report.model import Run

from .scatter import Scatter
from .series import INTERVALS, prepare
from .style import GREY, SMALL, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import Options


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """One point per method.

    Raises:
        UserError: a protocol without seen or without unseen classes that are scored.
    """
    board = prepare(runs, options)
    entries, left_out = board.shown(options)
    if not all(board.protocol.groups[g] and f"{g}.miou" in entries[0].cells for g in ("seen", "unseen")):
        raise UserError(
            f"protocol '{board.protocol.id}' does not score seen and unseen classes beside each other"
        )
    note = board.note("Curves: equal harmonic mean (its value at the right or top).", INTERVALS, left_out)
    with styled():
        plot = Scatter(
            entries, "seen.miou", "unseen.miou", options, note, ("seen mIoU (%)", "unseen mIoU (%)")
        )
        plot.axes.set_xlim(plot.span("seen.miou"))
        plot.axes.set_ylim(plot.span("unseen.miou"))
        plot.points()
        _curves(plot.axes)
        return plot.sheet.finish()


def _curves(axes: Axes) -> None:
    """Curves of equal harmonic mean: h = 2 s u / (s + u), hence u = h s / (2 s - h); named where they leave."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    reach = 2 * right * top / (right + top)
    least = 2 * left * bottom / (left + bottom) if min(left, bottom) > 0 else 0.0
    step = next(s for s in (1, 2, 5, 10, 20) if (reach - least) / s <= 10)
    axes.set_autoscale_on(False)
    last: list[tuple[float, float]] = []
    for level in np.arange(step * (1 + least // step), reach, step):
        # where the curve leaves the plot on the way right: at the right edge, else (steeper ones) at the top
        s = np.linspace(level / 2 * 1.0001, max(right, level), 2000)
        u = level * s / (2 * s - level)
        inside = (s >= left) & (s <= right) & (u >= bottom) & (u <= top)
        if inside.sum() < 2:
            continue
        axes.plot(s[inside], u[inside], color=GREY, linewidth=0.5, alpha=0.7, zorder=1)
        end = float(s[inside][-1]), float(u[inside][-1])
        at_right = end[0] > right - 0.02 * (right - left)
        if not at_right:
            end = float(s[inside][0]), float(u[inside][0])
        place = (
            (1.02, (end[1] - bottom) / (top - bottom))
            if at_right
            else (((end[0] - left) / (right - left)), 1.02)
        )
        if any(abs(place[0] - a) < 0.07 and abs(place[1] - b) < 0.05 for a, b in last):
            continue
        last.append(place)
        axes.text(
            *place, f"{level:g}", transform=axes.transAxes, color=GREY, fontsize=SMALL,
            ha="left" if at_right else "center", va="center" if at_right else "bottom",
        )  # fmt: skip
