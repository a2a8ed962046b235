"""From run folders to tables: rows named, ranked with ties, and everything a number needs beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.core.words import plural
from ovbench.metrics.conventions import convention as named_convention
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.stats.ranking import Ranked, rank
from ovbench.store.rundir import RunDir

from .columns import columns_for, headline_key
from .conventions import convention_columns, needed_protocol, one_taxonomy, reference_rows, side_by_side
from .find import Group, grouped, open_runs
from .formats import write
from .grouping import NO_RUN, check_grouping, grouping_note, heading, into_groups, one_profile
from .model import Row, Run, Table, installed_protocol
from .names import names_of, seed_groups
from .notes import notes_for
from .values import convention_cells, mean_cells, mean_sample, run_cells
from .verified import verify


@dataclass(frozen=True)
class Options:
    """What a table is asked to show; the fields are the options of `ovbench table`."""

    protocol: str | None = None  # an id, or a .toml of the user's own
    columns: str = "default"
    partial: bool = False
    mean_seeds: bool = False
    expect: tuple[str, ...] = ()
    convention: str | None = None  # another than the protocol's, or "all"
    group: str | None = None  # one of `grouping.BY`
    profile: str | None = None  # only runs of this one, where a method has several


def render(
    folders: Sequence[str | Path],
    protocol: str | None = None,
    format: str = "text",
    *,
    columns: str = "default",
    partial: bool = False,
    mean_seeds: bool = False,
    expect: Sequence[str] = (),
    convention: str | None = None,
    group: str | None = None,
    profile: str | None = None,
) -> str:
    """Tables of the runs in `folders` (none: all below ./runs) as text.

    Args:
        protocol: only runs of this protocol; an id, or the path of a user's own .toml.
        format: "text", "md", "csv", "latex", "html" or "json".
        columns: "default" or "all".
        partial: also runs limited to some videos or frames, in tables of their own.
        mean_seeds: training seeds of one method in one row, mean and standard deviation.
        expect: methods that should be there; those that are not become empty rows.
        convention: the id of one under which everything is computed anew from the records; "all" for the
            headline under each convention side by side.
        group: rows under headings: "backbone", "training-data" or "kind", as the methods' cards state them.
        profile: of methods with several networks under one name ("paper", "release"), only this one.

    Raises:
        UserError: no run, an unknown format, convention or grouping, runs that must not stand in one table
            (versions of a protocol, videos, profiles), or a convention asked for where the protocol of the
            runs is not here.
        IncompleteError: a folder named here holds an unfinished run.
        IntegrityError: the summary of a run is not what its records give.
    """
    options = Options(protocol, columns, partial, mean_seeds, tuple(expect), convention, group, profile)
    return write(build(open_runs(folders), options), format)


def build(runs: Sequence[Run], options: Options) -> list[Table]:
    """Sort runs into tables, one for each protocol (and limit of partial runs)."""
    own = options.protocol if (options.protocol or "").endswith(".toml") else None
    wanted = load_protocol(own).id if own else options.protocol
    check_grouping(options.group)
    groups = grouped(runs, protocol_id=wanted, partial=options.partial)
    groups = [replace(group, runs=tuple(one_profile(group.runs, options.profile))) for group in groups]
    if options.convention is None:
        return [_table(group, installed_protocol(group.runs[0].protocol, own), options) for group in groups]
    asked = options.convention
    if "," in asked:
        raise UserError(f"'{asked}' is more than one convention", hint="--convention takes one id, or 'all'")
    if asked != "all":
        asked = named_convention(asked).id  # refuses unknown ones
        options = replace(options, convention=asked)
    return _recomputed(groups, own, options, asked)


def _recomputed(groups: Sequence[Group], own: str | None, options: Options, convention: str) -> list[Table]:
    """Tables under another convention; runs whose protocol is not here are left out and named in a note.

    Raises:
        UserError: the protocol of no group is here.
    """
    found: list[tuple[Group, Protocol]] = []
    refused: list[tuple[Group, UserError]] = []
    for group in groups:
        try:
            found.append((group, needed_protocol(group, own, convention)))
        except UserError as error:
            refused.append((group, error))
    if not found:
        raise refused[0][1]
    notes = [
        f"Left out: {plural(len(group.runs), 'run')} of protocol '{group.runs[0].protocol['id']}' (such as "
        f"{group.runs[0].path}), which this installation does not have: --protocol FILE.toml."
        for group, _ in refused
    ]
    tables = [_table(group, protocol, options) for group, protocol in found]
    return [replace(table, notes=(*table.notes, *notes)) for table in tables]


@dataclass(frozen=True)
class _Entry:
    """A row to be: the runs behind it."""

    row: Row
    runs: tuple[Run, ...]


def _table(group: Group, protocol: Protocol | None, options: Options) -> Table:
    done = [r for r in group.runs if r.complete]
    if protocol is not None:
        for run in done:
            if RunDir(run.path).finished():
                verify(run, protocol)
    names = dict(zip(map(id, group.runs), names_of(group.runs), strict=True))
    gaps = [_gap(names[id(r)], r) for r in group.runs if not r.complete]
    entries = _entries(done, names, protocol, options)
    present = {n for e in entries for n in (e.row.name, *(_short(r) for r in e.runs))}
    gaps += [Row(name, note="no run") for name in options.expect if name not in present]
    first = done[0].summary if done else None
    scores, counts = (first["scores"], first["counts"]) if first else ({}, {"scored_classes": {"all": 0}})
    headline = headline_key(protocol, scores)
    asked = None if options.convention == "all" else options.convention
    rows = one_taxonomy(_ranked(entries, headline, protocol, asked), done)
    if options.convention == "all" and protocol is not None:
        runs = {e.row.name: e.runs for e in entries}
        rows = [replace(row, cells=side_by_side(runs[row.name], protocol, headline)) for row in rows]
        columns = convention_columns(protocol, headline)
    else:
        cells = [row.cells for row in rows]
        columns = columns_for(headline, counts, cells, options.columns, protocol)
        rows += reference_rows(columns, done)
    rows += gaps
    if options.group is not None:
        rows = _under_headings(rows, group.runs, options.group)
    title = f"{group.runs[0].protocol['id']}" + (f" ({group.partial})" if group.partial else "")
    if options.convention == "all":
        title += f": {headline.partition('.')[0]} mIoU under each convention"
    return Table(
        title=title,
        protocol=dict(group.runs[0].protocol),
        headline=headline,
        columns=columns,
        rows=tuple(rows),
        notes=(
            *notes_for(group, rows, protocol, done, columns, options.convention),
            *grouping_note(options.group),
        ),
        counts=dict(counts) if first else {},
        convention=options.convention or (str(first["convention"]["id"]) if first else ""),
        partial=group.partial,
        grouped=options.group or "",
    )


def _under_headings(rows: Sequence[Row], runs: Sequence[Run], by: str) -> list[Row]:
    """Rows that no run stands behind (gaps, reference rows) go last."""
    of = {str(run.path): heading(run, by) for run in runs}
    return into_groups(rows, [next((of[path] for path in row.runs), NO_RUN) for row in rows])


def _entries(
    runs: Sequence[Run], names: dict[int, str], protocol: Protocol | None, options: Options
) -> list[_Entry]:
    asked = None if options.convention == "all" else options.convention
    if not options.mean_seeds:
        return [_Entry(_row(names[id(r)], (r,), protocol, asked), (r,)) for r in runs]
    return [
        _Entry(_row(name, members, protocol, asked), members)
        for name, members in seed_groups(runs, [names[id(r)] for r in runs])
    ]


def _row(name: str, runs: tuple[Run, ...], protocol: Protocol | None, asked: str | None) -> Row:
    if len(runs) > 1:
        cells = mean_cells(runs, protocol, asked)
    elif asked is not None and protocol is not None:
        cells = convention_cells(runs[0], protocol, asked)
    else:
        cells = run_cells(runs[0])
    return Row(name, cells, marks=_marks(runs), seeds=len(runs), runs=tuple(str(r.path) for r in runs))


def _marks(runs: Sequence[Run]) -> tuple[str, ...]:
    marks = ["control"] if runs[0].method.get("kind") == "control" else []
    return tuple(marks + (["untrained"] if any(r.method.get("untrained") for r in runs) else []))


def _gap(name: str, run: Run) -> Row:
    if run.summary is None:
        note = "not finished"
    else:
        note = f"{len(run.summary['missing_videos'])} of {plural(len(run.videos), 'video')} missing"
    return Row(name, marks=_marks((run,)), note=note, runs=(str(run.path),))


def _short(run: Run) -> str:
    return str(run.method["id"])


def _ranked(
    entries: Sequence[_Entry], headline: str, protocol: Protocol | None, asked: str | None
) -> list[Row]:
    """Rows in the order of the headline; methods get ranks, control and untrained rows do not.

    Ties need the videos' counts, hence the very protocol the runs were made with; without it, ranks
    follow the values alone (a footnote says so).
    """
    ranked = [i for i, e in enumerate(entries) if not e.row.marks]
    places = _places([entries[i] for i in ranked], headline, protocol, asked)
    rows = [e.row for e in entries]
    shared = Counter(place.rank for place in places)
    for place in places:
        i = ranked[place.index]
        tied = place.rank is not None and shared[place.rank] > 1
        rows[i] = replace(rows[i], rank=place.rank, tied=tied)

    def key(row: Row) -> tuple[float, int, str]:
        value = row.cell(headline).value
        return (float("inf") if value is None else -value, row.rank or 0, row.name)

    return sorted(rows, key=key)


def _places(
    entries: Sequence[_Entry], headline: str, protocol: Protocol | None, asked: str | None
) -> list[Ranked]:
    if protocol is not None:
        return rank([mean_sample([r.sample(protocol, asked) for r in e.runs]) for e in entries], headline)
    values = [e.row.cell(headline).value for e in entries]
    order = sorted((i for i, v in enumerate(values) if v is not None), key=lambda i: -(values[i] or 0.0))
    return [Ranked(i, values[i], place, False) for place, i in enumerate(order, 1)]
