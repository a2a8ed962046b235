"""From run folders to tables: rows named, ranked with ties, and everything a number needs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.stats.ranking import Ranked, rank

from .columns import columns_for, headline_key
from .find import Group, grouped, open_runs
from .formats import write
from .model import Row, Run, Table, installed_protocol
from .names import names_of, seed_groups
from .notes import notes_for
from .values import mean_cells, mean_sample, run_cells


@dataclass(frozen=True)
class Options:
    """What a table is asked to show; the fields are the options of `ovbench table`."""

    protocol: str | None = None  # an id, or a .toml of the user's own
    columns: str = "default"
    partial: bool = False
    mean_seeds: bool = False
    expect: tuple[str, ...] = ()


def render(
    folders: Sequence[str | Path],
    protocol: str | None = None,
    format: str = "text",
    *,
    columns: str = "default",
    partial: bool = False,
    mean_seeds: bool = False,
    expect: Sequence[str] = (),
) -> str:
    """Tables of the runs in `folders` (none: all below ./runs) as text.

    Args:
        protocol: only runs of this protocol; an id, or the path of a user's own .toml.
        format: "text", "md", "csv", "latex" or "json".
        columns: "default" or "all".
        partial: also runs limited to some videos or frames, in tables of their own.
        mean_seeds: training seeds of one method in one row, mean and standard deviation.
        expect: methods that should be there; those that are not become empty rows.

    Raises:
        UserError: no run, an unknown format, or runs that must not stand in one table.
        IncompleteError: a folder named here holds an unfinished run.
    """
    options = Options(protocol, columns, partial, mean_seeds, tuple(expect))
    return write(build(open_runs(folders), options), format)


def build(runs: Sequence[Run], options: Options) -> list[Table]:
    """Sort runs into tables, one for each protocol (and limit of partial runs)."""
    own = options.protocol if (options.protocol or "").endswith(".toml") else None
    wanted = load_protocol(own).id if own else options.protocol
    groups = grouped(runs, protocol_id=wanted, partial=options.partial)
    return [_table(group, installed_protocol(group.runs[0].protocol, own), options) for group in groups]


@dataclass(frozen=True)
class _Entry:
    """A row to be: the runs behind it."""

    row: Row
    runs: tuple[Run, ...]


def _table(group: Group, protocol: Protocol | None, options: Options) -> Table:
    done = [r for r in group.runs if r.complete]
    names = dict(zip(map(id, group.runs), names_of(group.runs), strict=True))
    gaps = [_gap(names[id(r)], r) for r in group.runs if not r.complete]
    entries = _entries(done, names, protocol, options.mean_seeds)
    present = {n for e in entries for n in (e.row.name, *(_short(r) for r in e.runs))}
    gaps += [Row(name, note="no run") for name in options.expect if name not in present]
    first = done[0].summary if done else None
    scores, counts = (first["scores"], first["counts"]) if first else ({}, {"scored_classes": {"all": 0}})
    headline = headline_key(protocol, scores)
    rows = _ranked(entries, headline, protocol) + gaps
    cells = [row.cells for row in rows]
    return Table(
        title=f"{group.runs[0].protocol['id']}" + (f" ({group.partial})" if group.partial else ""),
        protocol=dict(group.runs[0].protocol),
        headline=headline,
        columns=columns_for(headline, counts, cells, options.columns, protocol),
        rows=tuple(rows),
        notes=notes_for(group, rows, protocol, done),
        counts=dict(counts) if first else {},
        convention=str(first["convention"]["id"]) if first else "",
        partial=group.partial,
    )


def _entries(
    runs: Sequence[Run], names: dict[int, str], protocol: Protocol | None, mean_seeds: bool
) -> list[_Entry]:
    if not mean_seeds:
        return [_Entry(_row(names[id(r)], (r,), protocol), (r,)) for r in runs]
    return [
        _Entry(_row(name, members, protocol), members)
        for name, members in seed_groups(runs, [names[id(r)] for r in runs])
    ]


def _row(name: str, runs: tuple[Run, ...], protocol: Protocol | None) -> Row:
    cells = run_cells(runs[0]) if len(runs) == 1 else mean_cells(runs, protocol)
    return Row(name, cells, marks=_marks(runs), seeds=len(runs), runs=tuple(str(r.path) for r in runs))


def _marks(runs: Sequence[Run]) -> tuple[str, ...]:
    marks = ["control"] if runs[0].method.get("kind") == "control" else []
    return tuple(marks + (["untrained"] if any(r.method.get("untrained") for r in runs) else []))


def _gap(name: str, run: Run) -> Row:
    if run.summary is None:
        note = "not finished"
    else:
        note = f"{len(run.summary['missing_videos'])} of {len(run.videos)} videos missing"
    return Row(name, marks=_marks((run,)), note=note, runs=(str(run.path),))


def _short(run: Run) -> str:
    return str(run.method["id"])


def _ranked(entries: Sequence[_Entry], headline: str, protocol: Protocol | None) -> list[Row]:
    """Rows in the order of the headline; methods get ranks, control and untrained rows do not.

    Ties need the videos' counts, hence the very protocol the runs were made with; without it, ranks
    follow the values alone (a footnote says so).
    """
    ranked = [i for i, e in enumerate(entries) if not e.row.marks]
    places = _places([entries[i] for i in ranked], headline, protocol)
    rows = [e.row for e in entries]
    for place in places:
        i = ranked[place.index]
        rows[i] = replace(rows[i], rank=place.rank, tied=place.tied_with_above)

    def key(row: Row) -> tuple[float, int, str]:
        value = row.cell(headline).value
        return (float("inf") if value is None else -value, row.rank or 0, row.name)

    return sorted(rows, key=key)


def _places(entries: Sequence[_Entry], headline: str, protocol: Protocol | None) -> list[Ranked]:
    if protocol is not None:
        return rank([mean_sample([r.sample(protocol) for r in e.runs]) for e in entries], headline)
    values = [e.row.cell(headline).value for e in entries]
    order = sorted((i for i, v in enumerate(values) if v is not None), key=lambda i: -(values[i] or 0.0))
    return [Ranked(i, values[i], place, False) for place, i in enumerate(order, 1)]
