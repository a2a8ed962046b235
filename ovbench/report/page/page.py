"""Runs to one HTML file: leaderboard, figures, classes, videos, origins."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ovbench import __version__
from ovbench.core.errors import OvbenchError, UserError, unknown
from ovbench.engine.progress import note
from ovbench.metrics.conventions import convention
from ovbench.protocol.schema import Protocol
from ovbench.report import figures
from ovbench.report.footage import class_colours
from ovbench.report.formats import write
from ovbench.report.grids import csv_text
from ovbench.report.model import Run, Table, installed_protocol
from ovbench.report.table import Options as TableOptions
from ovbench.report.table import build
from ovbench.store.atomic import write_bytes
from ovbench.store.rundir import RunDir

from .boards import OVERVIEW, Board, board
from .classes import ClassRow, class_rows
from .origins import Origin, origin_of
from .render import GENERATOR, download, render
from .videos import Viewer, viewer

MEGABYTE = 1_000_000
_ROOM = 0.92  # share of what is left of a budget that videos may fill


@dataclass(frozen=True)
class Options:
    """What a report is asked to show; the fields are the options of `ovbench report`.

    Attributes:
        videos: ids of the videos to look at; none: `video_count` of them, evenly spaced.
        budget: size of the file in megabytes (10^6 bytes) that pictures are thinned out for.
    """

    title: str | None = None
    protocol: str | None = None
    partial: bool = False
    mean_seeds: bool = False
    group: str | None = None
    profile: str | None = None
    data_root: Path | None = None
    videos: tuple[str, ...] = ()
    video_count: int = 12
    budget: float = 15.0
    figures: bool = True


def write_report(runs: Sequence[Run], out: Path, options: Options, *, force: bool = False) -> Path:
    """Write the page, atomically. A report that lies at `out` is replaced, any other file only with `force`.

    Raises:
        UserError: no runs, runs that must not stand in one table, a file in the way, an unknown video.
        IntegrityError: a summary is not what its records give.
    """
    if out.is_dir():
        raise UserError("this is a folder, not a file", where=out, hint="name a file: --out report.html")
    if out.exists() and not force and not _ours(out):
        raise UserError("there is a file that is no report of ours", where=out, hint="--force replaces it")
    write_bytes(out, report(runs, options).encode())
    return out


def _ours(path: Path) -> bool:
    with open(path, "rb") as stream:
        return f'content="{GENERATOR}'.encode() in stream.read(4096)


def report(runs: Sequence[Run], options: Options) -> str:
    """The page as text, no larger than the budget; raises what `write_report` raises but for files."""
    if not 0 < options.budget < math.inf:
        raise UserError(f"a budget of {options.budget} MB is none", hint="--budget 15")
    asked = TableOptions(
        options.protocol,
        "all",
        options.partial,
        options.mean_seeds,
        group=options.group,
        profile=options.profile,
    )
    tables = build(runs, asked)
    short = build(runs, replace(asked, columns="default"))
    _known(
        options.videos,
        [run for run in runs if str(run.path) in {f for t in tables for r in t.rows for f in r.runs}],
    )
    by_folder = {str(run.path): run for run in runs}
    parts = [
        _part(table, brief, by_folder, options, number)
        for number, (table, brief) in enumerate(zip(tables, short, strict=True))
    ]
    _tell(parts)
    title = options.title or ", ".join(dict.fromkeys(str(part["protocol"]["title"]) for part in parts))
    context = {"title": title, "boards": parts, "version": __version__}
    for part in parts:
        part["viewer"] = Viewer(None)
    room = _room(len(render(context).encode()), options)
    for part in parts:
        part["viewer"] = _viewer(part, options, int(room / len(parts)))
    viewers = [part["viewer"] for part in parts]
    if options.videos and not any(found.data for found in viewers):
        raise UserError(
            f"video '{options.videos[0]}' cannot be shown: " + " ".join(n for v in viewers for n in v.notes),
            hint="leave --video out for a page without videos",
        )
    return render(context)


def _tell(parts: Sequence[dict[str, Any]]) -> None:
    """Say on stderr what the page lacks for want of a protocol: who made it may never read it to its end."""
    for part in parts:
        if part["source"] is None:
            name = part["protocol"]["id"]
            note(
                f"{name}: no figures and no videos, as this version of the protocol does not come with ovbench; "
                f"--protocol FILE.toml names your own"
            )


def _known(wanted: Sequence[str], runs: Sequence[Run]) -> None:
    """Raise `UserError` for a video that no run has."""
    every = list(dict.fromkeys(video for run in runs for video in run.videos))
    for video in wanted:
        if video not in every:
            raise unknown("video", video, every)


def _room(size: int, options: Options) -> float:
    """Bytes that videos may take beside a page of `size` bytes.

    Raises:
        UserError: the page alone is over the budget.
    """
    if size > options.budget * MEGABYTE:
        raise UserError(
            f"the page weighs {size / MEGABYTE:.2f} MB without a single video, more than its budget of "
            f"{options.budget:g} MB",
            hint=f"--budget {math.ceil(size / MEGABYTE * 10 + 0.5) / 10:g} or more, fewer runs"
            + (", or --no-figures" if options.figures else ""),
        )
    return (options.budget * MEGABYTE - size) * _ROOM


def _part(table: Table, short: Table, runs: dict[str, Run], options: Options, number: int) -> dict[str, Any]:
    own = options.protocol if (options.protocol or "").endswith(".toml") else None
    protocol = installed_protocol(table.protocol, own)
    shown = board(table, short.columns, runs)
    colors: NDArray[np.uint8] | None = None if protocol is None else class_colours(protocol)
    classes = class_rows([behind for _, behind in shown.entries], protocol, colors, shown.apart)
    origins = {run.path: origin_of(run, own) for _, behind in shown.entries for run in behind}
    drawn, undrawn = _figures([run for _, behind in shown.entries for run in behind], own, options, number)
    return {
        "number": number,
        "board": shown,
        "table": table,
        "overview": OVERVIEW,
        "protocol": {"title": table.title if protocol is None else protocol.title, **table.protocol},
        "source": protocol,
        "rule": convention(table.convention).text if table.convention else "",
        "rows_of": list(dict.fromkeys(row.group for row in table.rows)) if table.grouped else [],
        "abouts": {head.key: head.about for head in shown.heads},
        "classes": classes,
        "groups": list(dict.fromkeys(row.group for row in classes)),
        "figures": drawn,
        "undrawn": undrawn,
        "origins": list(origins.values()),
        "checked": _checked(list(origins), protocol),
        "behind": [[list(origins).index(run.path) for run in behind] for _, behind in shown.entries],
        "downloads": _downloads(table, short, shown, classes),
    }


def _checked(folders: Sequence[Path], protocol: Protocol | None) -> str:
    """Whether the numbers were held against the records, in a sentence."""
    counted = all(RunDir(folder).finished() for folder in folders)
    if protocol is None or not counted:
        why = (
            "the runs' protocol is not installed here"
            if protocol is None
            else "not every run has its records"
        )
        return f"The scores are those that the runs' summaries state; they were not derived again, as {why}."
    return (
        "Every score is derived from the integer counts in a run's records; all were derived again and compared when "
        "this page was made."
    )


def _viewer(part: dict[str, Any], options: Options, room: int) -> Viewer:
    shown: Board = part["board"]
    protocol: Protocol | None = part["source"]
    return viewer(
        shown.entries,
        protocol,
        options.data_root,
        apart=shown.apart,
        videos=options.videos,
        count=options.video_count,
        budget=room,
    )


def _figures(
    runs: Sequence[Run], own: str | None, options: Options, number: int
) -> tuple[list[tuple[str, Markup, str]], list[tuple[str, str]]]:
    """(kind, SVG, what it shows) of what can be drawn, and (kind, why not) of the rest."""
    asked = figures.Options(
        seeds="mean" if options.mean_seeds else "each",
        protocol=own,
        data_root=options.data_root,
        width="column",
    )
    drawn, undrawn = [], []
    for kind, (_, line) in figures.FIGURES.items() if runs and options.figures else ():
        try:
            drawn.append((kind, Markup(apart(figures.figure_svg(kind, runs, asked), number)), line))
        except OvbenchError as error:
            undrawn.append((kind, error.what))
    return drawn, undrawn


def apart(svg: str, number: int) -> str:
    """The figure with ids that no figure of another table on the page has."""
    names = sorted(set(re.findall(r'\bid="([^"]+)"', svg)), key=len, reverse=True) if number else []
    for name in names:
        new = f"t{number}-{name}"
        svg = svg.replace(f'id="{name}"', f'id="{new}"').replace(f"url(#{name})", f"url(#{new})")
        svg = svg.replace(f'href="#{name}"', f'href="#{new}"')
    return svg


def _downloads(table: Table, short: Table, shown: Board, classes: Sequence[ClassRow]) -> list[dict[str, str]]:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", table.title).strip("-") or "table"
    return [
        download(f"{name}.csv", write([table], "csv") + "\n", "text/csv"),
        download(f"{name}.tex", write([short], "latex") + "\n", "application/x-tex"),
        download(f"{name}.md", write([short], "md") + "\n", "text/markdown"),
        download(f"{name}.json", write([table], "json") + "\n", "application/json"),
        download(f"{name}-classes.csv", _class_csv(shown, classes), "text/csv"),
    ]


def _class_csv(shown: Board, classes: Sequence[ClassRow]) -> str:
    head = ["class", "group", "kind", "truth_pixels", "videos", *(name for name, _ in shown.entries)]
    body = [
        [row.name, row.group, row.kind, row.truth, row.videos]
        + ["" if c.iou is None else f"{c.iou:.6g}" for c in row.cells]
        for row in classes
    ]
    return csv_text([head, *body]) + "\n"


__all__ = ["Options", "Origin", "report", "write_report"]
