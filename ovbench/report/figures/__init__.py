"""Figures of runs, fit for print: one module per kind, one style for all.

    figure = draw("per-class", runs)               # a matplotlib Figure
    svg = figure_svg("per-class", runs, options)   # one <svg> element for a page

A kind that cannot be drawn from the runs raises an `OvbenchError` whose `what` says why in one sentence.
matplotlib is imported when something is drawn, not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovbench.core.errors import UserError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ovbench.report.model import Run

FIGURES: dict[str, tuple[str, str]] = {
    "per-class": ("per_class", "IoU of each class with interval and support, methods side by side"),
    "difference": ("difference", "IoU of each class, second method minus first, paired by video"),
    "seen-unseen": ("seen_unseen", "seen against unseen mIoU, with curves of equal harmonic mean"),
    "consistency": ("consistency", "accuracy against temporal consistency"),
    "confusion": ("confusion", "where the pixels of unseen and of seen classes go"),
    "per-video": ("per_video", "how a score spreads over videos"),
    "strip": ("strip", "one pixel row over time: how stable labels are (needs saved predictions)"),
    "speed": ("speed", "accuracy against frames per second"),
    "vocabulary": ("vocabulary", "accuracy against the number of names a method may answer"),
}
"""Kind -> (module in this folder, what it shows in one line)."""

WIDTHS = ("auto", "column", "page")
"""What the kind needs; one column of a paper (3.3 in); both (6.9 in)."""


@dataclass(frozen=True)
class Options:
    """What a figure is asked to show; fields that a kind has no use for are not looked at.

    Attributes:
        width: "column" (3.3 in), "page" (6.9 in) or "auto": what the kind needs.
        group: classes of per-class and difference: "unseen", "seen", "all" or a group of the protocol.
            "auto": unseen where there are such classes, else all.
        seeds: "mean": training seeds of one method are one entry; "each": every run stands alone.
        limit: at most so many methods in kinds with bars (the best by the headline); None: the kind's own.
        controls: also draw control rows, where there are methods.
        score: key of the score on the accuracy axis; None: the protocol's headline.
        window: window length of temporal consistency; None: the shortest that the runs have.
        protocol: a user's own protocol file, where the runs were made with one; vocabulary also takes a folder.
        profile: of methods with several networks under one name, only this one; None: several are refused.
        video, row: strip only: which video (None: the first), which pixel row (None: the one with most classes).
        data_root: strip only: folder of the data set, for the truth (the world needs none).
    """

    width: str = "auto"
    group: str = "auto"
    seeds: str = "mean"
    limit: int | None = None
    controls: bool = False
    score: str | None = None
    window: int | None = None
    protocol: str | None = None
    profile: str | None = None
    video: str | None = None
    row: int | None = None
    data_root: Path | None = None


def draw(kind: str, runs: Sequence[Run], options: Options | None = None) -> Figure:
    """Draw finished runs.

    Raises:
        UserError: an unknown kind or option, runs that do not belong in one figure, or a figure that these runs
            have no numbers for.
        IntegrityError: records and summary of a run contradict each other.
    """
    if kind not in FIGURES:
        raise unknown("figure", kind, FIGURES)
    asked = options or Options()
    if asked.width not in WIDTHS:
        raise unknown("width", asked.width, WIDTHS)
    if not runs:
        raise UserError("a figure needs at least one run")
    module = importlib.import_module(f"{__name__}.{FIGURES[kind][0]}")
    figure: Figure = module.draw(runs, asked)
    return figure


def figure_svg(kind: str, runs: Sequence[Run], options: Options | None = None) -> str:
    """The figure as one <svg> element, to stand inside an HTML page.

    No XML prologue, no script, no link to anywhere; text is text; ids are prefixed with the kind, so that several
    figures may share a page. Ink is `currentColor` where it is black, and the background is transparent. Has
    `role="img"` and an `aria-label`. Raises what `draw` raises.
    """
    from .files import inline_svg

    return inline_svg(draw(kind, runs, options), kind, FIGURES[kind][1])


__all__ = ["FIGURES", "WIDTHS", "Options", "draw", "figure_svg"]
