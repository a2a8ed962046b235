"""Accuracy against temporal consistency: steady answers are worth little unless they are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ovbench.core.errors import UserError, unknown
from ovbench.report.model import Run

from .scatter import Scatter
from .series import Board, intervals_said, prepare, score_title
from .style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from . import Options


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """One point per method; consistency counts pixels that stay right ("correct") over a window.

    Raises:
        UserError: a protocol whose truth is too sparse for windows, or without the window asked for.
    """
    board = prepare(runs, options)
    entries, left_out = board.shown(options)
    window = _window(board, options)
    mode = "correct" if "correct" in board.protocol.temporal_modes else board.protocol.temporal_modes[0]
    key = f"vc{window}.{mode}"
    note = board.note(
        f"VC{window}: pixels whose class in the truth stays the same for {window} frames and that are labelled "
        + ("right in all of them." if mode == "correct" else "alike in all of them."),
        intervals_said(entries, key, board.headline),
        "Dashes join a method to its wrapped twin." if any(e.wrapper for e in entries) else "",
        left_out,
    )
    titles = (f"VC{window} {mode} (%)", score_title(board.headline, unit=True))
    with styled():
        plot = Scatter(entries, key, board.headline, options, note, titles)
        plot.axes.set_xlim(plot.span(key))
        plot.axes.set_ylim(plot.span(board.headline))
        plot.points()
        return plot.sheet.finish()


def _window(board: Board, options: Options) -> int:
    windows = board.protocol.windows
    if not windows:
        raise UserError(
            f"protocol '{board.protocol.id}' has no windows of temporal consistency: its truth is too sparse"
        )
    if options.window is not None and options.window not in windows:
        raise unknown("window", str(options.window), map(str, windows))
    return options.window or min(windows)
