"""Methods as points in the plane of two scores, with intervals; twins joined to their inner method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import UserError
from ovbench.report.names import UNTRAINED

from .classes import AXIS
from .series import Entry
from .style import GREY, LINE, PAD, WIDTHS_IN, Sheet, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from . import Options


class Scatter:
    """A sheet with one square-ish plot, its points and the legend of their names.

    Args:
        entries: those without a value in either score are left out and named in the note.
        x, y: keys of scores.
    """

    def __init__(
        self, entries: Sequence[Entry], x: str, y: str, options: Options, note: str, titles: tuple[str, str]
    ) -> None:
        self.x, self.y = x, y
        self.entries = [e for e in entries if not (math.isnan(e.value(x)) or math.isnan(e.value(y)))]
        if not self.entries:
            raise UserError(f"none of these runs has both scores of this figure, {titles[0]} and {titles[1]}")
        missing = [e.name for e in entries if e not in self.entries]
        lacking = f"Without these scores: {', '.join(missing)}." if missing else ""
        width = WIDTHS_IN[options.width] or 3.3
        keys = [(_marker(e), e.name) for e in self.entries]
        self.right = 0.32  # room for what stands at the right edge
        self.sheet = Sheet(width, min(0.85 * width, 4.2), f"{lacking} {note}".strip(), keys)
        left = PAD + LINE * 1.3 + text_width("100") + 0.09
        self.axes: Axes = self.sheet.axes(left, self.right, AXIS, LINE + 0.04)
        self.axes.set_xlabel(titles[0])
        self.axes.set_ylabel(titles[1])
        self.axes.grid(True)

    def points(self) -> None:
        """Intervals first, then links of twins, then markers, so that none is hidden."""
        for e in self.entries:
            a, b = e.cell(self.x), e.cell(self.y)
            x, y = e.value(self.x), e.value(self.y)
            look: dict[str, Any] = {"color": e.colour, "linewidth": 0.6, "alpha": 0.6, "zorder": 2}
            if a.low is not None and a.high is not None:
                self.axes.plot([a.low, a.high], [y, y], **look)
            if b.low is not None and b.high is not None:
                self.axes.plot([x, x], [b.low, b.high], **look)
        for inner, twin in twins(self.entries):
            ends = [[e.value(key) for e in (inner, twin)] for key in (self.x, self.y)]
            self.axes.plot(*ends, color=GREY, linewidth=0.6, linestyle=(0, (2, 1.5)), zorder=2.5)
        for e in self.entries:
            self.axes.plot([e.value(self.x)], [e.value(self.y)], linestyle="none", zorder=3, **marker_look(e))

    def span(self, key: str) -> tuple[float, float]:
        """Limits of an axis in percent that hold every point and interval, with some air, inside 0 and 100."""
        cells = [e.cell(key) for e in self.entries]
        ends = [v for c in cells for v in (c.value, c.low, c.high) if v is not None]
        air = max(1.5, 0.07 * (max(ends) - min(ends)))
        return max(-1.0, min(ends) - air), min(101.0, max(ends) + air)


def twins(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Pairs of a method and its wrapped twin, where both are there."""
    inner = {e.name: e for e in entries}
    pairs = [
        (e.name.partition("+")[0] + UNTRAINED * e.name.endswith(UNTRAINED), e) for e in entries if e.wrapper
    ]
    return [(inner[base], e) for base, e in pairs if base in inner]


def marker_look(entry: Entry) -> dict[str, Any]:
    """Marker of an entry: hollow for control rows and "+vote", half filled for other wrapped twins."""
    return styled_marker(entry.colour, entry.marker, "control" if entry.control else entry.wrapper)


def styled_marker(colour: str, marker: str, kind: str) -> dict[str, Any]:
    """The same from its parts; `kind`: "" (filled), "control", or a wrapper."""
    return {
        "marker": marker,
        "fillstyle": "full" if kind in ("", "control", "vote") else ("bottom" if marker in "<>" else "left"),
        "markerfacecolor": "none" if kind in ("control", "vote") else colour,
        "markerfacecoloralt": "none",
        "markeredgecolor": colour,
        "markeredgewidth": 0.9,
        "markersize": 4.5,
    }


def _marker(entry: Entry) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", **marker_look(entry))
