"""Numbers of a run, or of several training seeds of one method, as cells by name."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ovbench.metrics.flicker import FLOW_SCORES
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import Floats, Sample, intervals

from .model import Cell, Run

SPEED = "frames_per_second"


def run_cells(run: Run) -> dict[str, Cell]:
    """Cells of a finished run, from its summary.

    Keys: "<group>.<metric>", "harmonic.miou", "seen_bias", "<group>.merged_miou", "<group>.soft_miou",
    "vc<n>.<mode>", "change_rate" and its like, "tc-<backend>" and its like, `SPEED`.
    """
    assert run.summary is not None
    scores: Mapping[str, Any] = run.summary["scores"]
    spans: Mapping[str, Any] = run.summary["intervals"]
    cells: dict[str, Cell] = {}
    for group, found in scores.items():
        if isinstance(found, Mapping):
            for metric, value in found.items():
                cells[f"{group}.{metric}"] = _cell(value, spans["scores"].get(group, {}).get(metric))
        else:
            cells[group] = _cell(found, None)
    for window, modes in run.summary["temporal"].items():
        if window.startswith("vc"):
            for mode, value in modes.items():
                cells[f"{window}.{mode}"] = _cell(value, spans["temporal"].get(window, {}).get(mode))
    for name, value in _flat_temporal(run.summary["temporal"]):
        cells[name] = _cell(value, spans["temporal"].get(name))
    for kind in ("merged", "soft"):
        for group, found in run.summary.get("open_vocabulary", {}).get(kind, {}).items():
            span = spans.get("open_vocabulary", {}).get(kind, {}).get(group)
            cells[f"{group}.{kind}_miou"] = _cell(found["miou"], span)
    return cells | _speed(run)


def convention_cells(run: Run, protocol: Protocol, convention: str) -> dict[str, Cell]:
    """The same under another convention, computed from the records."""
    sample = run.sample(protocol, convention)
    spans, cells = intervals(sample), {}
    for name, value in sample.point().items():
        low, high = spans.get(name) or (None, None)
        cells[name] = Cell(value, low, high)
    return cells | _speed(run)


def _speed(run: Run) -> dict[str, Cell]:
    return {SPEED: Cell((run.timing or {}).get(SPEED))}


def _flat_temporal(temporal: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Scores that have no window; those of a flow carry its backend in their name."""
    yield from temporal.get("flicker", {}).items()
    for backend, found in temporal.get("flow", {}).items():
        yield from ((f"{name}-{backend}", found.get(name)) for name in FLOW_SCORES)


def _cell(value: float | None, span: Sequence[float] | None) -> Cell:
    return Cell(value, span[0], span[1]) if span is not None else Cell(value)


def mean_cells(
    runs: Sequence[Run], protocol: Protocol | None, convention: str | None = None
) -> dict[str, Cell]:
    """Mean and standard deviation over seeds; intervals (over videos, of the mean) where `protocol` is known.

    A quantity that one seed lacks is missing.
    """
    if protocol is not None and convention is not None:
        parts = [convention_cells(r, protocol, convention) for r in runs]
    else:
        parts = [run_cells(r) for r in runs]
    spans = {}
    if protocol is not None:
        spans = intervals(mean_sample([r.sample(protocol, convention) for r in runs]))
    cells = {}
    for key in parts[0]:
        values = [v for part in parts if (v := part.get(key, Cell()).value) is not None]
        if len(values) < len(parts):
            cells[key] = Cell()
            continue
        low, high = spans.get(key) or (None, None)
        cells[key] = Cell(statistics.fmean(values), low, high, statistics.stdev(values))
    return cells


def mean_sample(samples: Sequence[Sample]) -> Sample:
    """Several runs over the same videos as one sample, whose scores are the mean of theirs."""
    first = samples[0]
    if len(samples) == 1:
        return first
    widths = np.cumsum([0, *(s.sums.shape[1] for s in samples)])

    def scores(sums: Floats) -> Floats:
        parts = [s.scores(sums[:, a:b]) for s, a, b in zip(samples, widths, widths[1:], strict=False)]
        mean: Floats = np.mean(parts, axis=0)
        return mean

    sums = np.concatenate([s.restrict(first.units).sums for s in samples], axis=1)
    return Sample(first.units, sums, first.names, scores)
