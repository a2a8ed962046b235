"""How a score spreads over videos: every video a dot, quartiles as a box, the median as a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError, unknown
from ovbench.report.model import Run
from ovbench.stats.bootstrap import quiet

from .classes import AXIS
from .scatter import marker_look
from .series import Board, Entry, prepare, score_title
from .style import INK, PAD, WIDTHS_IN, Sheet, shortened, styled, widest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import Options

_ROW = 0.3
"""Inches for the dots of one method."""

MOST = 26
"""Methods that fit on a page."""

Floats = NDArray[np.float64]


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """One row per method, the highest median first.

    The score is the protocol's headline where every video has it, else mIoU over all classes: a video without an
    unseen class has no harmonic mean.
    """
    board = prepare(runs, options)
    entries, left_out = board.shown(options, MOST)
    key = _score(board, entries, options)
    values = [per_video(e, key) for e in entries]
    order = sorted(range(len(entries)), key=lambda i: -float(np.nanmedian(values[i])))
    missing = int(np.isnan(values[0]).sum())
    note = board.note(
        "Dots: videos; box: quartiles; bar: median. Each score rests on the classes that its video shows.",
        f"{missing} videos have no such score." if missing else "",
        _instead(board, key, options),
        left_out,
    )
    with styled():
        width = WIDTHS_IN[options.width] or 3.3
        sheet = Sheet(width, len(entries) * _ROW + AXIS + 0.06, note)
        names = [entries[i].name for i in order]
        left = min(widest(names) + 0.1 + PAD, 0.42 * width)
        axes = sheet.axes(left, 0.18, AXIS, 0.06)
        for place, i in enumerate(order):
            _row(axes, place, values[i], entries[i])
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_yticks(range(len(order)), shortened(names, left - 0.1 - PAD))
        axes.tick_params(axis="y", length=0, pad=3)
        axes.grid(axis="x")
        axes.set_xlim(-1, 101)
        axes.set_xticks(range(0, 101, 25))
        axes.set_xlabel(f"{score_title(key)} of a video (%)")
        return sheet.finish()


def per_video(entry: Entry, key: str) -> Floats:
    """(N,) the score of each video by itself, in percent; NaN where a video does not define it."""
    sample = entry.sample
    found: Floats = quiet(sample.scores, sample.sums)[:, sample.names.index(key)]
    return found


def _score(board: Board, entries: Sequence[Entry], options: Options) -> str:
    names = entries[0].sample.names
    if options.score is not None and options.score not in names:
        raise unknown("score of a video", options.score, names)
    for key in (board.headline, "all.miou"):
        values = per_video(entries[0], key)
        if options.score is not None and np.isnan(values).all():
            raise UserError(f"no video by itself has a value of {options.score}")
        if options.score is not None or not np.isnan(values).any():
            return key
    return "all.miou"


def _instead(board: Board, key: str, options: Options) -> str:
    """Why the figure shows another score than the protocol's headline, where it does."""
    if options.score is not None or key == board.headline:
        return ""
    why = ": one without unseen classes has none" * board.headline.startswith(("harmonic", "unseen"))
    found = f"{score_title(key)} instead of {score_title(board.headline)}, which not every video by itself has{why}."
    return found[0].upper() + found[1:]


def _row(axes: Axes, place: int, values: Floats, entry: Entry) -> None:
    known = np.sort(values[~np.isnan(values)])
    look: dict[str, Any] = {**marker_look(entry), "marker": "o", "markersize": 2.6, "markeredgewidth": 0.5}
    # one after the other up and down: the same picture every time, and dots of near values lie apart
    shift = 0.17 * np.array([0.0, 1.0, -1.0])[np.arange(len(known)) % 3]
    axes.plot(known, place + shift, linestyle="none", alpha=0.75, zorder=2, **look)
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    axes.fill_betweenx(
        [place - 0.34, place + 0.34], low, high, facecolor=entry.colour, alpha=0.16, linewidth=0, zorder=1
    )
    axes.plot([middle, middle], [place - 0.34, place + 0.34], color=INK, linewidth=1.2, zorder=3)
