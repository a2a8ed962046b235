"""A published table, and beside it what runs measured: differences with intervals, gaps made visible."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ovbench.core.errors import UserError, unknown
from ovbench.engine.reproduce import Means, command, obstacle
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import intervals
from ovbench.stats.paired import compare
from ovbench.stats.seeds import over_seeds, over_unpaired_seeds

from .grouping import heading
from .model import Cell, Run
from .notes import remark_of
from .published import METRICS, Entry, read_table
from .reproduce_model import Line, Reproduction
from .reproduce_notes import notes_for
from .reproduce_runs import Collection, collect
from .values import mean_sample
from .verified import verify

RESULTS = ("table1", "table2")
WORLD = {"table1": ("world-27-9", "unseen"), "table2": ("world-27-9-hard", "all")}
"""What a table becomes on the embedded world: protocol and scored group. The transfer of Table II is there the one to
another list of classes."""
REFERENCE = "OV2VSS, ResNet-101"
"""The row that gaps are measured against."""
TRAINED = {"table2": {False: "vspw-80-44", True: "world-27-9"}}
"""What the methods of a transfer are trained on: another protocol than they are run on."""
TITLES = {"table1": "Table I of OV2VSS", "table2": "Table II of OV2VSS"}


@dataclass(frozen=True)
class Setting:
    """Which table, on what; everything that does not depend on runs."""

    table: str
    world: bool
    entries: tuple[Entry, ...]
    protocol: Protocol
    group: str

    @property
    def trained(self) -> Protocol:
        """The protocol that the methods are trained on."""
        name = TRAINED.get(self.table, {}).get(self.world)
        return self.protocol if name is None else load_protocol(name)

    def method(self, entry: Entry) -> str:
        """METHOD:VARIANT that stands for a row, or ""."""
        return entry.world if self.world else entry.entry

    @property
    def methods(self) -> list[str]:
        """Every method of the table, each once."""
        return list(dict.fromkeys(filter(None, map(self.method, self.entries))))


def setting(table: str, world: bool) -> Setting:
    """Resolve a table; raises `UserError` for one that is not a table of results."""
    if table not in RESULTS:
        raise unknown("table", table, RESULTS)
    entries = tuple(read_table(table))
    name, group = WORLD[table] if world else (entries[0].protocol, entries[0].group)
    return Setting(table, world, entries, load_protocol(name), group)


def build(
    asked: Setting,
    folders: Sequence[Path],
    means: Means | None = None,
    failed: Mapping[str, str] | None = None,
    *,
    otherwise: Sequence[Path] = (),
    profile: str | None = None,
    into: Path | None = None,
) -> Reproduction:
    """The table from the runs that lie in or below `folders`.

    Args:
        means: what the user has, to say what is in the way of a row without a run.
        failed: {method: reason} of runs that have just failed.
        otherwise: folders for methods without a run in `folders`.
        profile: of methods with several networks under one name ("paper", "release"), only this one.
        into: where the commands for missing rows put their runs; default: where `ovbench run` puts them.

    Raises:
        UserError: runs of one method with different profiles, networks or training data.
        IntegrityError: a run is damaged, or its summary is not what its records give.
    """
    means = means or Means()
    found = collect(asked.methods, asked.protocol, folders, otherwise, profile)
    for run in found.all:
        verify(run, asked.protocol)
    lines = [_line(asked, entry, found, means, failed or {}, into) for entry in asked.entries]
    lines = _with_gaps(asked, lines, found.runs)
    where = f"the embedded world ({asked.protocol.id})" if asked.world else asked.protocol.id
    return Reproduction(
        title=f"{TITLES[asked.table]}, published and measured on {where}",
        lines=tuple(lines),
        notes=notes_for(asked.protocol, asked.group, asked.world, lines, found),
        facts={
            "table": asked.table,
            "protocol": asked.protocol.id,
            "version": asked.protocol.version,
            "hash": asked.protocol.hash,
            "convention": asked.protocol.convention,
            "group": asked.group,
        },
        reference=REFERENCE,
    )


def _line(
    asked: Setting,
    entry: Entry,
    found: Collection,
    means: Means,
    failed: Mapping[str, str],
    into: Path | None,
) -> Line:
    method = asked.method(entry)
    runs = found.runs.get(method, ())
    if not method:
        return Line(
            entry, "", missing="the world has one size of this method, measured in another row", absent=True
        )
    if not runs:
        reason = failed.get(method) or obstacle(method, asked.protocol, means, asked.trained) or "no run yet"
        if unused := found.first_unused(method):
            reason += f"; not used: {unused.reason} ({unused.path})"
        fill = command(method, asked.protocol, means, asked.trained, into)
        return Line(entry, method, missing=reason, command=fill)
    cells = _cells(runs, asked)
    return Line(
        entry,
        method,
        cells=cells,
        differences={
            key: _minus(cells[key], number.value) for key, number in entry.scores.items() if key in cells
        },
        seeds=len(runs),
        runs=tuple(str(run.path) for run in runs),
        weights=tuple(_weights(run) for run in runs),
        trained_on=heading(runs[0], "training-data"),
        remark=" ".join(dict.fromkeys(filter(None, map(remark_of, runs)))),
    )


def _weights(run: Run) -> str:
    """A weights file by its name and the first digits of its SHA-256."""
    name, digits = (str(run.method.get(key) or "") for key in ("weights", "weights_sha256"))
    shown = "" if name == "weights.safetensors" and digits else name  # what every training calls its file
    return " ".join(filter(None, (shown, digits[:8]))) or "none"


def _cells(runs: Sequence[Run], asked: Setting) -> dict[str, Cell]:
    samples = [run.sample(asked.protocol) for run in runs]
    spans, points = intervals(mean_sample(samples)), [sample.point() for sample in samples]
    cells = {}
    for key in METRICS:
        name = f"{asked.group}.{key}"
        values = [v for point in points if (v := point.get(name)) is not None]
        if len(values) < len(runs):
            continue
        low, high = spans.get(name) or (None, None)
        low, high = over_seeds((low, high), values) or (low, high)
        if low is not None and high is not None:
            low, high = max(0.0, low), min(100.0, high)
        cells[key] = Cell(
            statistics.fmean(values), low, high, statistics.stdev(values) if len(values) > 1 else None
        )
    return cells


def _minus(cell: Cell, value: float) -> Cell:
    low, high = (None if limit is None else limit - value for limit in (cell.low, cell.high))
    return Cell(None if cell.value is None else cell.value - value, low, high, cell.sd)


def _with_gaps(asked: Setting, lines: Sequence[Line], found: Mapping[str, Sequence[Run]]) -> list[Line]:
    """Gaps to the reference row: published, and measured where both rows have runs."""
    reference = next((line for line in lines if line.entry.row == REFERENCE), None)
    if reference is None:
        raise UserError(f"the published table has no row '{REFERENCE}'", where=asked.table)
    base = reference.entry.scores.get("miou")
    theirs = found.get(reference.method, ())
    result = []
    for line in lines:
        score, gap = line.entry.scores.get("miou"), Cell()
        if line is not reference and theirs and line.cells and line.method != reference.method:
            gap = _gap(found[line.method], theirs, asked)
        published = None if line is reference or score is None or base is None else score.value - base.value
        result.append(replace(line, gap=gap, published_gap=published))
    return result


def _gap(ours: Sequence[Run], theirs: Sequence[Run], asked: Setting) -> Cell:
    name = f"{asked.group}.miou"
    first, second = ([run.sample(asked.protocol) for run in runs] for runs in (ours, theirs))
    found = compare(mean_sample(first), mean_sample(second), names=[name], permutations=0)[0]
    if found.effect is None:
        return Cell()
    ours_each, theirs_each = (
        [v for s in side if (v := s.point()[name]) is not None] for side in (first, second)
    )
    span = (found.low, found.high)
    low, high = over_unpaired_seeds(span, found.effect, ours_each, theirs_each) or span
    return Cell(found.effect, low, high)
