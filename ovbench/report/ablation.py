"""An ablation table: what was published beside what was measured, each row against the full model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ovbench.core.errors import IncompleteError, unknown
from ovbench.engine.ablate import Experiment, Job, state
from ovbench.methods.ablations import REFERENCE
from ovbench.stats.bootstrap import intervals
from ovbench.stats.multiple import holm
from ovbench.stats.paired import compare
from ovbench.stats.seeds import over_seeds

from .ablation_model import AblationTable, Gap, Line, read_published
from .ablation_notes import notes_for
from .model import Cell, Run
from .values import mean_sample, run_cells
from .verified import verify

BESIDE = ("harmonic.miou", "unseen.miou", "seen.miou", "vc8.correct")
"""Scores shown beside the one that rows are judged by."""
OWN_GROUP = "not in the paper"


def build(
    experiment: Experiment, metric: str | None = None, failed: Mapping[str, str] | None = None
) -> AblationTable:
    """The table of an experiment from the runs that lie in its folder.

    Args:
        metric: what rows are judged by; default: the card's.
        failed: {job name: reason} of trainings that have just failed.

    Raises:
        UserError: no run has such a score.
        IntegrityError: a run is damaged, or its summary is not what its records give.
    """
    metric = metric or experiment.ablations.metric
    runs, missing = _runs(experiment, failed or {})
    known = {key for found in runs.values() for run in found.values() for key in run_cells(run)}
    if known and metric not in known:
        raise unknown("score", metric, sorted(known))
    layout = _layout(experiment)
    pairs = {(row, REFERENCE) for row in runs if row != REFERENCE}
    pairs |= {(line.variant, line.over) for line in layout if line.over and line.variant in runs}
    gaps = _adjusted({pair: _gap(runs, pair, metric, experiment) for pair in sorted(pairs)})
    columns = (metric, *(key for key in BESIDE if key in known and key != metric))
    cells = {row: _cells(list(found.values()), columns, experiment) for row, found in runs.items() if found}
    lines = []
    for line in layout:
        found = runs.get(line.variant, {})
        lines.append(
            replace(
                line,
                cells=cells.get(line.variant, {}),
                values=_values(list(found.values()), metric),
                seeds=len(found),
                gap=gaps.get((line.variant, REFERENCE)),
                step=gaps.get((line.variant, line.over)) if line.over else None,
                missing=tuple(missing.get(line.variant, ("the card has no such row",))),
            )
        )
    return AblationTable(
        title=f"{experiment.ablations.title} of {experiment.card.id}:{experiment.variant} on {experiment.protocol.id}",
        metric=metric,
        columns=columns,
        lines=tuple(lines),
        notes=notes_for(experiment, lines, metric),
        facts=_facts(experiment),
        missing=sum(len(found) for found in missing.values()),
    )


def check_complete(table: AblationTable, experiment: Experiment, *more: str) -> None:
    """Raise `IncompleteError` for a table with gaps, with the command that fills them and `more` words behind it."""
    if table.missing:
        raise IncompleteError(
            f"{table.missing} of {len(experiment.jobs)} rows x seeds have no run",
            where=experiment.out,
            hint=experiment.command(*more),
        )


def _facts(experiment: Experiment) -> dict[str, object]:
    asked, protocol = experiment.request, experiment.protocol
    return {
        "method": experiment.card.id,
        "size": experiment.variant,
        "protocol": protocol.id,
        "version": protocol.version,
        "hash": protocol.hash,
        "convention": protocol.convention,
        "seeds_asked": asked.seeds,
        "steps": experiment.steps,
        "videos": asked.videos,
        "frames": asked.frames,
    }


def _runs(
    experiment: Experiment, failed: Mapping[str, str]
) -> tuple[dict[str, dict[int, Run]], dict[str, list[str]]]:
    """Finished runs by row and seed; and what the others lack, by row."""
    runs: dict[str, dict[int, Run]] = {row: {} for row in experiment.rows}
    missing: dict[str, list[str]] = {row: [] for row in experiment.rows}
    for job in experiment.jobs:
        reason = state(job, experiment)
        if reason is None:
            runs[job.row][job.seed] = _opened(job, experiment)
        else:
            missing[job.row].append(f"seed {job.seed}: {failed.get(job.name, reason)}")
    return runs, missing


def _opened(job: Job, experiment: Experiment) -> Run:
    run = Run.open(job.run)
    verify(run, experiment.protocol)
    return run


def _layout(experiment: Experiment) -> list[Line]:
    """The published table's rows, then those of the card that it does not have; only those asked for."""
    file = experiment.ablations.published
    published = read_published(file) if file is not None and file.is_file() else []
    of_variant = {p.variant: p.miou for p in published}

    def gap(value: float | None, other: str) -> float | None:
        base = of_variant.get(other)
        return None if value is None or base is None else value - base

    lines = [
        Line(
            group=p.group,
            row=p.row,
            description=p.description,
            variant=p.variant,
            published=p.miou,
            published_gap=None if p.variant == REFERENCE else gap(p.miou, REFERENCE),
            remark=p.remark,
            over=p.over,
            published_step=gap(p.miou, p.over),
        )
        for p in published
        if p.variant in experiment.rows or not experiment.request.rows
    ]
    named = {line.variant for line in lines}
    if REFERENCE not in named:
        lines.append(Line(OWN_GROUP, "the full model", "", REFERENCE, None, None))
    for name in experiment.rows:
        if name not in named and name != REFERENCE:
            row = experiment.ablations.rows[name]
            lines.append(Line(OWN_GROUP, name, row.description, name, None, None, row.remark))
    return lines


def _values(runs: Sequence[Run], metric: str) -> tuple[float, ...]:
    values = (run_cells(run).get(metric, Cell()).value for run in runs)
    return tuple(v for v in values if v is not None)


def _cells(runs: Sequence[Run], columns: Sequence[str], experiment: Experiment) -> dict[str, Cell]:
    """Mean over seeds, deviation, and the interval over videos and seeds; a score that one seed lacks is missing."""
    spans = intervals(mean_sample([run.sample(experiment.protocol) for run in runs]))
    cells = {}
    for key in columns:
        values = _values(runs, key)
        if len(values) < len(runs):
            cells[key] = Cell()
            continue
        span = spans.get(key) or (None, None)
        low, high = over_seeds(span, values) or span
        if low is not None and high is not None:
            low, high = max(0.0, low), min(100.0, high)
        sd = statistics.stdev(values) if len(values) > 1 else None
        cells[key] = Cell(statistics.fmean(values), low, high, sd)
    return cells


def _gap(
    runs: Mapping[str, Mapping[int, Run]], pair: tuple[str, str], metric: str, experiment: Experiment
) -> Gap | None:
    """The first row minus the second over their common seeds; None where they have none."""
    ours, other = (runs.get(row, {}) for row in pair)
    common = [seed for seed in ours if seed in other]
    if not common:
        return None
    protocol = experiment.protocol
    a, b = (mean_sample([found[seed].sample(protocol) for seed in common]) for found in (ours, other))
    found = compare(a, b, names=[metric])[0]
    if found.effect is None:
        return None
    differences = [
        x - y
        for seed in common
        for x, y in zip(_values([ours[seed]], metric), _values([other[seed]], metric), strict=True)
    ]
    videos = (found.low, found.high)
    low, high = over_seeds(videos, differences) or videos
    return Gap(found.effect, low, high, videos, found.p, len(common))


def _adjusted(gaps: Mapping[tuple[str, str], Gap | None]) -> dict[tuple[str, str], Gap]:
    """Holm's correction over all pairs of rows that were compared."""
    present = {pair: gap for pair, gap in gaps.items() if gap is not None}
    corrected = holm([gap.p for gap in present.values()])
    return {pair: replace(g, p_adjusted=p) for (pair, g), p in zip(present.items(), corrected, strict=True)}
