"""Accuracy against speed, on the machine that the runs name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import UserError
from ovbench.report.model import Run
from ovbench.report.values import SPEED

from .scatter import Scatter
from .series import intervals_said, prepare, score_title
from .style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from . import Options


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """One point per method; frames per second are those of one worker, on a logarithmic axis.

    Raises:
        UserError: no run has a timing.json with a speed in it.
    """
    board = prepare(runs, options)
    entries, left_out = board.shown(options)
    still = [e for e in entries if e.cell(SPEED).value is not None and not _moves(e.cell(SPEED).value)]
    entries = [e for e in entries if e not in still]
    odd = (
        f"Left out, their frames per second are no number above 0: {', '.join(e.name for e in still)}."
        * bool(still)
    )
    if all(e.cell(SPEED).value is None for e in entries):
        raise UserError(
            "none of these runs says how fast it was"
            + f" ({len(still)} say no number above 0)" * bool(still),
            hint="timing.json is written by `ovbench run`",
        )
    machines = sorted({_machine(run) for e in entries for run in e.runs if e.cell(SPEED).value is not None})
    if len(machines) == 1:
        where = f"Measured on {machines[0]}."
    else:
        where = f"MACHINES DIFFER, so speeds do not compare: {'; '.join(machines)}."
    note = board.note(
        where,
        intervals_said(entries, board.headline, text="Upright lines: 95 % intervals over videos."),
        odd,
        left_out,
    )
    titles = ("frames per second of one worker", score_title(board.headline, unit=True))
    with styled():
        plot = Scatter(entries, SPEED, board.headline, options, note, titles)
        speeds = [e.value(SPEED) for e in plot.entries]
        plot.axes.set_xscale("log")
        plot.axes.set_xlim(min(speeds) / 1.5, max(speeds) * 1.5)
        plot.axes.set_ylim(plot.span(board.headline))
        _plain_ticks(plot.axes)
        plot.points()
        return plot.sheet.finish()


def _moves(speed: Any) -> bool:
    """Whether it can stand on a logarithmic axis; anybody can write anything into timing.json."""
    return isinstance(speed, int | float) and 0 < speed < math.inf


def _plain_ticks(axes: Any) -> None:
    """1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _machine(run: Run) -> str:
    """Processor (or GPU) and threads of a run, in words."""
    timing: Any = run.timing or {}
    hardware = timing.get("hardware") or run.manifest.get("hardware") or {}
    device = str(timing.get("device") or "unknown device")
    name = hardware.get("gpu") if device.startswith("cuda") else hardware.get("cpu")
    threads = timing.get("threads")
    return f"{name or device}" + (f", {threads} thread{'s'[: threads != 1]}" if threads and name else "")
