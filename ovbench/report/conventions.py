"""Tables under other conventions, and the constant prediction as a row of reference."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ovbench.engine.records import CountedVideo
from ovbench.metrics.conventions import (
    ABSTAIN_SHRINKS,
    BASE_IGNORED,
    CLASS_RULES,
    CONVENTIONS,
    Convention,
    convention,
)
from ovbench.metrics.score import scores_under
from ovbench.metrics.temporal import constant_reference, label_free
from ovbench.protocol.schema import Protocol
from ovbench.store.rundir import RunDir

from .find import Group
from .model import Cell, Column, Row, Run, required_protocol
from .values import run_cells

REFERENCE = "reference"
"""Mark of a row that is no run."""


def needed_protocol(group: Group, path: str | None, wanted: str) -> Protocol:
    """The very protocol the runs were made with; raises `UserError` where it is not here."""
    run = group.runs[0]
    return required_protocol(run.protocol, path, run.path, f"--convention {wanted}")


def shown_conventions(protocol: Protocol) -> list[Convention]:
    """The protocol's own convention first, then the others that somebody uses."""
    return [convention(i) for i in dict.fromkeys([protocol.convention, *CONVENTIONS])]


def explained(rules: Sequence[Convention]) -> list[str]:
    """Several conventions in words, what they share said once."""
    bases = list(dict.fromkeys(rule.id.partition("+")[0] for rule in rules))
    texts = {rule.id: rule.text for rule in rules if rule.as_released}
    lines = [f"{name}: {texts.get(name) or CLASS_RULES[name].text}" for name in bases]
    if any(rule.abstain_shrinks for rule in rules):
        lines.append(f"+{ABSTAIN_SHRINKS}: truth pixels on which the method abstains are taken out of the truth; "
                     "without it they are misses.")  # fmt: skip
    if any(rule.base_ignored for rule in rules):
        lines.append(f"+{BASE_IGNORED}: pixels of seen classes are void for unseen classes and the other way round; "
                     "without it false alarms across that border count.")  # fmt: skip
    users = [f"{rule.id}: {rule.used_by}" for rule in rules if rule.used_by]
    return [*lines, *([f"Used by: {'; '.join(users)}."] if users else [])]


def convention_columns(protocol: Protocol, headline: str) -> tuple[Column, ...]:
    """Two columns for each convention: the headline mIoU, and what its mean holds."""
    columns = []
    for rule in shown_conventions(protocol):
        group = headline.partition(".")[0]
        columns.append(Column(f"{group}.miou@{rule.id}", f"{rule.id} {group} mIoU", interval=False))
        columns.append(Column(f"{group}.classes@{rule.id}", "n", digits=0))
    return tuple(columns)


def side_by_side(runs: Sequence[Run], protocol: Protocol, headline: str) -> dict[str, Cell]:
    """Cells of `convention_columns`, and the headline under the protocol's own convention.

    Several training seeds: mean and standard deviation.
    """
    group = headline.partition(".")[0]
    cells: dict[str, Cell] = {}
    for rule in shown_conventions(protocol):
        found = [scores_under(protocol, run.records, rule.id) for run in runs]
        values = [f["scores"][group]["miou"] for f in found]
        cells[f"{group}.miou@{rule.id}"] = _merged(values)
        cells[f"{group}.classes@{rule.id}"] = _merged([_classes(f["classes"], group) for f in found])
    cells[headline] = cells[f"{group}.miou@{protocol.convention}"]
    return cells


def _classes(classes: Mapping[str, int], group: str) -> float:
    """A harmonic mean rests on the classes of both its sides."""
    sides = ("seen", "unseen") if group == "harmonic" else (group,)
    return float(sum(classes[g] for g in sides))


def _merged(values: Sequence[float | None]) -> Cell:
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return Cell()
    if len(known) == 1:
        return Cell(known[0])
    return Cell(statistics.fmean(known), sd=statistics.stdev(known))


def taxonomies(done: Sequence[Run]) -> dict[str, Mapping[str, object]]:
    """Hash -> id, version and hash of every taxonomy that these runs were scored with."""
    found = [
        run.summary.get("open_vocabulary", {}).get("taxonomy") for run in done if run.summary is not None
    ]
    return {str(t["hash"]): t for t in found if t}


def one_taxonomy(rows: Sequence[Row], done: Sequence[Run]) -> list[Row]:
    """Without the taxonomy's scores where runs were scored with two versions of it: they share no column."""
    if len(taxonomies(done)) < 2:
        return list(rows)
    own = ("merged_miou", "soft_miou")
    return [replace(r, cells={k: c for k, c in r.cells.items() if not k.endswith(own)}) for r in rows]


def constant_values(records: Sequence[Sequence[CountedVideo]]) -> dict[str, float]:
    """What a constant prediction gets in each label-free score, over runs of the same videos.

    Not all runs have been counted along the same flows; each adds the scores of its own.
    """
    found: dict[str, float] = {}
    for part in records:
        reference = constant_reference([r.counts for r in part])
        found |= {key: v for key, v in reference.items() if v is not None}
    return found


def reference_rows(columns: Sequence[Column], done: Sequence[Run]) -> list[Row]:
    """What a constant prediction gets in the label-free columns for which no such run is among the rows."""
    controls = [run_cells(run) for run in done if run.method["id"] == "constant"]
    wanted = [
        c.key
        for c in columns
        if label_free(c.key) and all(cells.get(c.key, Cell()).value is None for cells in controls)
    ]
    if not wanted:
        return []
    found = constant_values([run.records for run in done if RunDir(run.path).finished()])
    cells = {key: Cell(found[key]) for key in wanted if key in found}
    return [Row("constant (from the counts)", cells, marks=(REFERENCE,))] if cells or not controls else []
