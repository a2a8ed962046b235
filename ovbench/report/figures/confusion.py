"""Where pixels go: those of unseen and of seen classes, to the right class or into which group of wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.metrics.sums import entries as in_classes
from ovbench.metrics.sums import joints
from ovbench.protocol.schema import Protocol
from ovbench.report.model import Run

from .classes import AXIS
from .series import Entry, prepare
from .style import INK, LINE, PAD, SMALL, WIDTHS_IN, Sheet, shortened, styled, text_width, widest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import Options

PARTS = ("right", "another unseen class", "another seen class", "no class")
_FILLS: tuple[dict[str, Any], ...] = (
    {"facecolor": "#0072B2"},
    {"facecolor": "#E69F00"},
    {"facecolor": "#D55E00"},
    {"facecolor": "none", "hatch": "////", "edgecolor": "#7f7f7f"},
)
_WORDS = ("#FFFFFF", "#000001", "#FFFFFF", INK)  # #000001: dark also on dark pages, where INK turns light
_ROW = 0.19
"""Inches from one bar to the next."""

MOST = 20
"""Methods that fit on a page above each other, twice."""

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """Truth of one group: its name and what became of its pixels, (methods, PARTS) in percent."""

    name: str
    shares: Shares


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """One panel for the truth of unseen classes, one for that of seen ones; a bar of 100 % per method."""
    board = prepare(runs, options)
    entries, left_out = board.shown(options, MOST)
    sides = [
        side for group in ("unseen", "seen") if (side := _side(entries, board.protocol, group)) is not None
    ]
    if not sides:
        raise UserError("no pixel of these videos is scored")
    abstained = any(side.shares[:, -1].any() for side in sides)
    note = board.note(
        "Share of scored pixels by what they were called; parts too narrow for their number have none.",
        "No class: the method abstained, or gave a name that is no class of the protocol."
        if abstained
        else "",
        left_out,
    )
    with styled():
        width = WIDTHS_IN[options.width] or 3.3
        panel = len(entries) * _ROW + LINE * 1.5
        sheet = Sheet(width, len(sides) * panel + (len(sides) - 1) * 0.08 + AXIS, note, _keys(sides))
        left = min(widest([e.name for e in entries]) + 0.1 + PAD, 0.42 * width)
        names = shortened([e.name for e in entries], left - 0.1 - PAD)
        for i, side in enumerate(sides):
            below = AXIS + (len(sides) - 1 - i) * (panel + 0.08)
            axes = sheet.axes(left, 0.18, below, LINE * 1.5 + i * (panel + 0.08))
            _panel(axes, side, names, (width - left - 0.18) / 100, last=i == len(sides) - 1)
        return sheet.finish()


def shares_of(run: Run, protocol: Protocol, group: str) -> Shares | None:
    """(PARTS,) shares in percent of the scored truth pixels of a group; None where there are none.

    Straight from the joint histograms: no convention takes pixels away.
    """
    found = in_classes(protocol, joints([r.counts for r in run.records]))
    truth = np.isin(found.truth, protocol.groups[group])
    unseen = np.isin(found.guess, protocol.groups["unseen"])
    right, none = found.guess == found.truth, found.guess < 0
    kinds = (right, unseen & ~right, ~unseen & ~right & ~none, none)
    pixels = np.array([found.pixels[truth & kind].sum() for kind in kinds], np.float64)
    return 100.0 * pixels / pixels.sum() if pixels.sum() else None


def _side(entries: Sequence[Entry], protocol: Protocol, group: str) -> Side | None:
    rows = [[shares_of(run, protocol, group) for run in e.runs] for e in entries]
    if any(part is None for row in rows for part in row):
        return None
    return Side(group, np.array([np.mean([p for p in row if p is not None], axis=0) for row in rows]))


def _keys(sides: Sequence[Side]) -> list[tuple[Any, str]]:
    from matplotlib.patches import Patch

    there = np.max([side.shares.max(axis=0) for side in sides], axis=0) > 0
    return [(Patch(**{"edgecolor": "none", **_FILLS[i]}), PARTS[i]) for i in np.flatnonzero(there)]


def _panel(axes: Axes, side: Side, names: Sequence[str], inch: float, last: bool) -> None:
    """Bars of one side; `inch`: inches per percent, which say where a number fits."""
    places = np.arange(len(names))
    start = np.zeros(len(names))
    for part, fill in enumerate(_FILLS):
        share = side.shares[:, part]
        axes.barh(places, share, left=start, height=0.78, linewidth=0.4, **{"edgecolor": "none", **fill})
        for place in range(len(names)):
            number = f"{share[place]:.0f}"
            if share[place] * inch > text_width(number) + 0.06 and "hatch" not in fill:
                axes.text(
                    start[place] + share[place] / 2, place, number, color=_WORDS[part], fontsize=SMALL,
                    ha="center", va="center_baseline",
                )  # fmt: skip
        start += share
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(places, list(names))
    axes.tick_params(axis="y", length=0, pad=3)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 25))
    axes.set_title(f"pixels of {side.name} classes", loc="left")
    if last:
        axes.set_xlabel("share of pixels (%)")
    else:
        axes.tick_params(axis="x", labelbottom=False)
