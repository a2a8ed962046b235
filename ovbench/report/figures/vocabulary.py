"""Accuracy against the number of names that a method may answer.

The runs are over protocols that differ in their names only: the same videos and truth, and `extra_names` that are
no class, so that answering one is always wrong. `ovbench sweep` writes such protocols and runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import IncompleteError, UserError
from ovbench.report.columns import headline_key
from ovbench.report.model import Cell, Run, installed_protocol
from ovbench.report.names import names_of
from ovbench.report.values import mean_cells, run_cells

from .classes import AXIS
from .scatter import styled_marker
from .series import looks, score_title
from .style import LINE, PAD, WIDTHS_IN, Sheet, styled, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import Options

_MAKE = "ovbench sweep --method METHOD --protocol PROTOCOL --add 0,20,60 makes such runs"


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """One line per method.

    Raises:
        UserError: runs over other videos or other truth, or all with the same number of names.
        IncompleteError: an unfinished run.
    """
    _check(runs)
    lines = _lines(runs, options)
    assert runs[0].summary is not None
    key = options.score or headline_key(installed_protocol(runs[0].protocol), runs[0].summary["scores"])
    sizes = sorted({size for line in lines.values() for size in line})
    if len(sizes) < 2:
        raise UserError(f"all of these runs were told {sizes[0]} names: there is no line to draw", hint=_MAKE)
    note = (
        "Names beyond the classes are no class: answering one is always wrong. "
        + ("Bars: deviation over training seeds. " if _seeds(lines) else "Bars: 95 % intervals over videos. ")
        + f"{', '.join(dict.fromkeys(str(r.protocol['id']) for r in runs))}; {len(runs[0].videos)} videos."
    )
    styles = looks([next(iter(line.values())) for line in lines.values()])
    with styled():
        from matplotlib.lines import Line2D

        width = WIDTHS_IN[options.width] or 3.3
        drawn: dict[str, dict[str, Any]] = {
            name: {"color": colour, **styled_marker(colour, marker, wrapper)}
            for name, (colour, marker, wrapper) in zip(lines, styles, strict=True)
        }
        sheet = Sheet(width, min(0.72 * width, 3.6), note, [(Line2D([], [], **drawn[n]), n) for n in lines])
        axes = sheet.axes(PAD + LINE * 1.3 + text_width("100") + 0.09, 0.15, AXIS, LINE * 0.7)
        for name, line in lines.items():
            _line(axes, {size: _cell(members, key) for size, members in line.items()}, drawn[name])
        axes.grid(True)
        axes.set_xlabel("names a method may answer")
        axes.set_ylabel(score_title(key, unit=True))
        axes.set_ylim(bottom=max(-1.0, axes.get_ylim()[0]), top=min(101.0, axes.get_ylim()[1]))
        axes.locator_params(axis="x", integer=True, nbins=6)
        return sheet.finish()


def size_of(run: Run) -> int:
    """How many names the method was told."""
    return int(run.manifest["vocabulary"]["names"])


def _lines(runs: Sequence[Run], options: Options) -> dict[str, dict[int, tuple[Run, ...]]]:
    """Method -> number of names -> its runs (training seeds)."""
    found: dict[str, dict[int, tuple[Run, ...]]] = {}
    for size in sorted({size_of(r) for r in runs}):
        same = [r for r in runs if size_of(r) == size]
        for name, run in zip(names_of(same), same, strict=True):
            short = name if options.seeds == "each" else name.partition(" [")[0]
            line = found.setdefault(short, {})
            line[size] = (*line.get(size, ()), run)
    return found


def _seeds(lines: dict[str, dict[int, tuple[Run, ...]]]) -> bool:
    return any(len(members) > 1 for line in lines.values() for members in line.values())


def _cell(runs: Sequence[Run], key: str) -> Cell:
    cells = run_cells(runs[0]) if len(runs) == 1 else mean_cells(runs, None)
    found = cells.get(key, Cell())
    if found.value is None:
        raise UserError(f"a run has no value of {key}", where=runs[0].path)
    if found.sd is not None:
        return Cell(found.value, found.value - found.sd, found.value + found.sd)
    return found


def _line(axes: Axes, cells: dict[int, Cell], look: dict[str, Any]) -> None:
    axes.plot(list(cells), [c.value or 0.0 for c in cells.values()], **look)
    for size, cell in cells.items():
        if cell.low is not None and cell.high is not None:
            axes.plot([size, size], [cell.low, cell.high], color=look["color"], linewidth=0.6, alpha=0.7)


def _check(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs:
        if not run.complete or run.summary is None or first.summary is None:
            raise IncompleteError("a figure needs finished runs, and this one is not", where=run.path)
        truth = [[(c["name"], c["truth"]) for c in r.summary["per_class"]] for r in (first, run) if r.summary]
        if run.videos != first.videos or truth[0] != truth[1]:
            raise UserError(
                "these runs were not scored on the same pixels, so the number of names is not all that differs",
                where=f"{first.path} and {run.path}",
                hint=_MAKE,
            )
