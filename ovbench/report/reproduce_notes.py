"""What a reader of a reproduced table must know, as footnotes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from ovbench.core.words import plural
from ovbench.protocol.schema import Protocol

from .model import FEW_VIDEOS
from .published import METRICS, read_table, repeated, violations
from .reproduce_model import Line
from .reproduce_runs import Collection


def notes_for(
    protocol: Protocol, group: str, world: bool, lines: Sequence[Line], found: Collection
) -> tuple[str, ...]:
    """Footnotes: what was measured, how to read it, what is odd about the published numbers, what is missing."""
    return (
        *_setting(protocol, group, lines, found),
        *_measured_with(lines),
        *_reading(world, lines, protocol),
        *_order(lines),
        *_oddities(lines),
        *_context(world, lines),
        *_remarks(lines),
        *_missing(lines),
        *_unused(lines, found),
    )


def _setting(protocol: Protocol, group: str, lines: Sequence[Line], found: Collection) -> Iterator[str]:
    videos = len({video for run in found.all for video in run.videos}) or None
    yield (
        f"Measured: protocol {protocol.id} v{protocol.version}, hash {protocol.hash[:12]}; convention "
        f"{protocol.convention}; scores of group '{group}'"
        + ("" if videos is None else f"; {plural(videos, 'video')}")
        + "."
    )
    yield from dict.fromkeys(f"Published: {line.entry.source}; {line.entry.setting}." for line in lines)
    if videos is not None and videos < FEW_VIDEOS:
        yield f"Only {plural(videos, 'video')}: with fewer than {FEW_VIDEOS} no interval means much."


def _measured_with(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line.runs:
            yield (
                f"{line.entry.row}, measured with {line.method}; weights {', '.join(line.weights)}; trained on: "
                f"{line.trained_on}."
            ) + (f" Here {line.remark}" if line.remark else "")


def _reading(world: bool, lines: Sequence[Line], protocol: Protocol) -> Iterator[str]:
    if world:
        names = len(protocol.vocabulary_classes)
        yield (
            f"Synthetic world: other data, small networks trained on it, and all {names} names compete. Hence "
            "'difference' is one between data sets and says nothing about the paper's numbers; order and signs of gaps "
            "may be compared."
        )
    yield (
        "difference: measured minus published, which has no interval. gap: the row minus OV2VSS, ResNet-101 in mIoU, "
        "measured paired by video. [low, high]: 95 % interval over videos"
        + (" and training seeds." if any(line.seeds > 1 for line in lines) else ".")
    )
    if any(line.seeds > 1 for line in lines):
        yield (
            "a ± b (n): mean and standard deviation over n trainings of one network: its weights files, which differ, "
            "and are taken for training seeds."
        )
    if any(line.verdict for line in lines):
        yield (
            "sign: whether the measured gap has the published sign; open: its interval holds 0. "
            "The published gaps come without any interval."
        )


def _order(lines: Sequence[Line]) -> Iterator[str]:
    """How far the order of rows agrees: pairs of rows, over those that have both numbers."""
    both = [
        (line.entry.scores["miou"].value, value)
        for line in lines
        if "miou" in line.entry.scores
        and "miou" in line.cells
        and (value := line.cells["miou"].value) is not None
    ]
    pairs = [(a[0] - b[0]) * (a[1] - b[1]) for a, b in combinations(both, 2)]
    decided = [pair for pair in pairs if pair]
    if len(both) < 3 or not decided:
        return
    same = sum(pair > 0 for pair in decided)
    tau = (2 * same - len(decided)) / len(decided)
    yield (
        f"Order by mIoU of the {len(both)} rows measured: {same} of {len(decided)} pairs stand as published "
        f"(Kendall's tau {tau:.2f}), whether or not a difference is more than chance."
    )


def _oddities(lines: Sequence[Line]) -> Iterator[str]:
    broken = [v for line in lines for v in violations(line.entry)]
    for found in broken:
        yield f"IMPOSSIBLE as published, {found.row}: {found.text}; no one confusion matrix gives both."
    remarks = " ".join(line.entry.remark for line in lines)
    for (metric, value), rows in repeated([line.entry for line in lines]).items():
        if f"{METRICS[metric]} {value} is also" in remarks:
            continue
        yield f"The same {METRICS[metric]} {value} is published for {' and '.join(rows)}."


def _context(world: bool, lines: Sequence[Line]) -> Iterator[str]:
    """Other published numbers on the same videos, which must not be compared with these."""
    if world or not any(line.entry.protocol.startswith("vspw") for line in lines):
        return
    rows = read_table("ov-dvis")
    numbers = ", ".join(f"{row.row} {row.scores['miou'].value}" for row in rows)
    remarks = "; ".join(dict.fromkeys(row.remark for row in rows))
    yield f"Context, not to be compared with these rows: {numbers} mIoU ({remarks}; {rows[0].source})."


def _remarks(lines: Sequence[Line]) -> Iterator[str]:
    """Remarks on published rows, each text once with the rows that it is about."""
    about: dict[str, list[str]] = {}
    for line in lines:
        for part in filter(None, line.entry.remark.split("; ")):
            about.setdefault(part, []).append(line.entry.row)
    yield from (f"On {' / '.join(rows)}: {text}." for text, rows in about.items())


def _missing(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line.absent:
            yield f"{line.entry.row}: {line.missing}."
        elif line.missing:
            yield f"MISSING: {line.entry.row} ({line.method}): {line.missing}. Fill it: {line.command}"


def _unused(lines: Sequence[Line], found: Collection) -> Iterator[str]:
    """Runs that would have counted but for their videos, where the note on a missing row does not name them."""
    missing = {line.method for line in lines if line.missing}
    for unused in found.unused:
        if unused.told and not (unused.method in missing and found.first_unused(unused.method) is unused):
            yield f"Not used: {unused.path} ({unused.method}): {unused.reason}."


def without_commands(note: str) -> str:
    """A note for print: what would have to be typed is left out.

    >>> without_commands("MISSING: SAN (san:b16): no weights; or train it: ovbench train. Fill it: ovbench run")
    'MISSING: SAN (san:b16): no weights.'
    """
    kept = note.partition(". Fill it: ")[0].partition("; or train it: ")
    return note if kept[0] == note else kept[0].rstrip(".") + "."
