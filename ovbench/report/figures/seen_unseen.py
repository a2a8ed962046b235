"""Seen against unseen mIoU, with curves on which their harmonic mean is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.report.model import Run

from .scatter import Scatter
from .series import intervals_said, prepare
from .style import FAINT, GREY, LINE, SMALL, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from . import Options

Spot = NDArray[np.float64]
"""(2,): right and up, in inches."""
Spots = NDArray[np.float64]
"""(N, 2)."""


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
    lines = intervals_said(entries, "seen.miou", "unseen.miou")
    note = board.note("Curves: equal harmonic mean (the number on each).", lines, left_out)
    with styled():
        plot = Scatter(
            entries, "seen.miou", "unseen.miou", options, note, ("seen mIoU (%)", "unseen mIoU (%)")
        )
        plot.axes.set_xlim(plot.span("seen.miou"))
        plot.axes.set_ylim(plot.span("unseen.miou"))
        plot.points()
        _curves(plot)
        return plot.sheet.finish()


def _curves(plot: Scatter) -> None:
    """Curves of equal harmonic mean: h = 2 s u / (s + u), hence u = h s / (2 s - h); each with its value.

    The value stands where the curve leaves the axes at the right or comes in at the top; of a curve that does
    neither (it comes in at the left and leaves below) it stands on the curve, away from the points. A curve whose
    value has no room is not drawn.
    """
    axes = plot.axes
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    reach = 2 * right * top / (right + top)
    least = 2 * left * bottom / (left + bottom) if min(left, bottom) > 0 else 0.0
    step = next(s for s in (1, 2, 5, 10, 20) if (reach - least) / s <= 10)
    axes.set_autoscale_on(False)
    box = axes.get_position()
    inches = np.array([box.width * plot.sheet.width, box.height * plot.sheet.height])

    def place(s: float, u: float) -> Spot:
        """Inches from the lower left corner of the axes."""
        return inches * [(s - left) / (right - left), (u - bottom) / (top - bottom)]

    marks = [place(e.value("seen.miou"), e.value("unseen.miou")) for e in plot.entries]
    taken: list[tuple[Spot, float]] = []
    for level in np.arange(step * (1 + least // step), reach, step):
        curve = _curve(level, (left, right), (bottom, top))
        if len(curve) < 2:
            continue
        ends, label = np.array([place(s, u) for s, u in curve]), f"{level:g}"
        wide = text_width(label)
        found = next(
            (spot for spot in _spots(ends, inches, wide, marks) if _free(spot[0], wide, taken)), None
        )
        if found is None:
            continue
        centre, on_curve = found
        taken.append((centre, wide))
        # interrupted where its value stands on it
        away = np.any(np.abs(ends - centre) > [wide / 2 + 0.03, LINE / 2], axis=1) | (not on_curve)
        drawn = np.where(away[:, None], curve, np.nan)
        axes.plot(drawn[:, 0], drawn[:, 1], color=GREY, linewidth=0.5, alpha=0.7, zorder=1)
        x, y = centre / inches
        axes.text(
            float(x), float(y), label, transform=axes.transAxes, color=FAINT, fontsize=SMALL,
            ha="center", va="center", zorder=1,
        )  # fmt: skip


def _curve(level: float, seen: tuple[float, float], unseen: tuple[float, float]) -> Spots:
    """(N, 2) points (seen, unseen) with this harmonic mean inside the limits, from left to right."""
    first, last = max(seen[0], level / 2 * 1.0001), seen[1]
    if unseen[1] > level / 2:  # else the curve is above the axes everywhere
        first = max(first, level * unseen[1] / (2 * unseen[1] - level))
    if unseen[0] > level / 2:  # else it never comes down to their lower edge
        last = min(last, level * unseen[0] / (2 * unseen[0] - level))
    if unseen[1] <= level / 2 or first >= last:
        return np.empty((0, 2))
    s = np.linspace(first, last, 400)
    return np.stack([s, level * s / (2 * s - level)], axis=1)


def _spots(ends: Spots, inches: Spot, wide: float, marks: Sequence[Spot]) -> list[tuple[Spot, bool]]:
    """Centres for the value of a curve, the better ones first, and whether they lie on the curve; all in inches."""
    found = []
    if ends[-1][0] > inches[0] - 0.01:
        found.append((ends[-1] + [0.04 + wide / 2, 0.0], False))
    if ends[0][1] > inches[1] - 0.01:
        found.append((ends[0] + [0.0, 0.04 + LINE / 2], False))
    if not found:
        room = [wide / 2 + 0.02, LINE / 2 + 0.02]
        inside = ends[np.all((ends > room) & (ends < inches - room), axis=1)]
        gaps = np.array([min(np.hypot(*(p - m)) for m in marks) for p in inside])
        found += [(inside[i], True) for i in np.argsort(-gaps, kind="stable")[:1] if gaps[i] > 0.12]
    return found


def _free(centre: Spot, wide: float, taken: Sequence[tuple[Spot, float]]) -> bool:
    """Whether a value there is apart from those that are there already."""
    return not any(
        abs(centre[0] - other[0]) < (wide + width) / 2 + 0.03 and abs(centre[1] - other[1]) < LINE
        for other, width in taken
    )
