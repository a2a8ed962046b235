"""Accuracy against the number of names that a method may answer.

The runs are over protocols that differ in their names only: the same videos and truth, and `extra_names` that are
no class, so that answering one is always wrong. `ovbench sweep` writes such protocols and runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import IncompleteError, UserError
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.report.columns import headline_key
from ovbench.report.grouping import one_profile
from ovbench.report.model import Cell, Run, installed_protocol
from ovbench.report.names import labelled, names_of
from ovbench.report.values import mean_cells, run_cells

from .classes import AXIS
from .scatter import styled_marker
from .series import looks, score_title, verify_once
from .style import LINE, PAD, WIDTHS_IN, Sheet, styled, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from . import Options

_MAKE = "ovbench sweep --method METHOD --protocol PROTOCOL --add 0,20,60 makes such runs"


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """One line per method; every summary is checked against its records.

    Raises:
        UserError: runs over other videos or other truth, of several profiles of one method, or all with the same
            number of names; a protocol that is not found.
        IncompleteError: an unfinished run.
        IntegrityError: the summary of a run is not what its records give.
    """
    runs = one_profile(runs, options.profile)
    told = _check(runs, options)
    lines = _lines(runs, told, options)
    assert runs[0].summary is not None
    key = options.score or headline_key(told[runs[0].path], runs[0].summary["scores"])
    sizes = sorted({size for line in lines.values() for size in line})
    if len(sizes) < 2:
        raise UserError(f"all of these runs were told {sizes[0]} names: there is no line to draw", hint=_MAKE)
    ids = dict.fromkeys(p.id for p in sorted(told.values(), key=lambda p: len(p.vocabulary)))
    note = (
        "Names beyond the classes are no class: answering one is always wrong. "
        + (
            "Bars: deviation over training seeds. "
            if _seeds(lines)
            else "Bars: 95 % intervals over videos. " * _known(lines, key)
        )
        + f"{', '.join(ids)}; {len(runs[0].videos)} videos."
        + (f" PARTIAL: {runs[0].partial}." if runs[0].partial else "")
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


def _lines(
    runs: Sequence[Run], told: dict[Path, Protocol], options: Options
) -> dict[str, dict[int, tuple[Run, ...]]]:
    """Method -> number of names -> its runs (training seeds)."""
    found: dict[str, dict[int, tuple[Run, ...]]] = {}
    sizes = {run.path: len(told[run.path].vocabulary) for run in runs}
    for size in sorted(set(sizes.values())):
        same = [r for r in runs if sizes[r.path] == size]
        for name, run in zip(names_of(same), same, strict=True):
            short = labelled(name if options.seeds == "each" else name.partition(" [")[0], run)
            line = found.setdefault(short, {})
            line[size] = (*line.get(size, ()), run)
    return found


def _seeds(lines: dict[str, dict[int, tuple[Run, ...]]]) -> bool:
    return any(len(members) > 1 for line in lines.values() for members in line.values())


def _known(lines: dict[str, dict[int, tuple[Run, ...]]], key: str) -> bool:
    """Whether any point has an interval."""
    return any(_cell(runs, key).low is not None for line in lines.values() for runs in line.values())


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


def _check(runs: Sequence[Run], options: Options) -> dict[Path, Protocol]:
    """The protocol of each run, from which its numbers follow; what is wrong with the runs is said."""
    first = runs[0]
    told = {}
    for run in runs:
        if not run.complete or run.summary is None or first.summary is None:
            raise IncompleteError("a figure needs finished runs, and this one is not", where=run.path)
        told[run.path] = _protocol(run, options.protocol)
        verify_once(run, told[run.path])
        if run.videos != first.videos or run.partial != first.partial:
            raise _unlike(first, run)
        if _truth(told[run.path]) != _truth(told[first.path]) or _pixels(run) != _pixels(first):
            raise _unlike(first, run)
    return told


def _truth(protocol: Protocol) -> tuple[object, ...]:
    """All of a protocol but the names that a method is told."""
    classes = [(c.name, c.raw_ids) for c in protocol.classes]
    return classes, protocol.groups, protocol.scored_classes, protocol.convention, protocol.dataset


def _pixels(run: Run) -> list[tuple[str, int]]:
    assert run.summary is not None
    return [(c["name"], c["truth"]) for c in run.summary["per_class"]]


def _unlike(first: Run, run: Run) -> UserError:
    return UserError(
        "these runs were not scored on the same pixels, so the number of names is not all that differs",
        where=f"{first.path} and {run.path}",
        hint=_MAKE,
    )


def _protocol(run: Run, given: str | None) -> Protocol:
    """The very protocol of a run: one that comes with ovbench, the file given or one in the folder given, or one in
    `protocols` beside the run's method, where `ovbench sweep` writes it.

    Raises:
        UserError: it is in none of these places.
    """
    name = f"{run.protocol['id']}.toml"
    places = [parent / "protocols" / name for parent in run.path.resolve().parents[:2]]
    if given is not None:
        places.insert(0, Path(given) / name if Path(given).is_dir() else Path(given))
    for place in places:
        if place.is_file() and place.name == name:
            found = load_protocol(str(place))
            if found.hash == run.protocol["hash"]:
                return found
    ours = installed_protocol(run.protocol)
    if ours is None:
        raise UserError(
            f"the protocol '{run.protocol['id']}' that this run was made with is not here, so its numbers cannot be "
            "checked",
            where=run.path,
            hint="--protocol FOLDER: where `ovbench sweep` wrote it, OUT/protocols",
        )
    return ours
