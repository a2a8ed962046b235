"""Footnotes: what has to stand beside a number so that it can be read rightly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ovbench.core.words import plural
from ovbench.methods.registry import cards
from ovbench.metrics.conventions import convention as named_convention
from ovbench.metrics.score import scores_under
from ovbench.metrics.temporal import label_free
from ovbench.protocol.schema import Protocol

from .conventions import REFERENCE, explained, shown_conventions, taxonomies
from .find import Group
from .model import FEW_VIDEOS, Column, Row, Run
from .values import SPEED

MARKS = {
    "control": "control row: shows what a score is worth, not a method, hence no rank",
    REFERENCE: "reference row: what one class everywhere in every frame gets on these videos, computed from the "
    "counts, not a run, hence no rank",
    "untrained": "untrained: weights filled by name, the numbers mean nothing, hence no rank",
}


def notes_for(
    group: Group,
    rows: Sequence[Row],
    protocol: Protocol | None,
    done: Sequence[Run],
    columns: Sequence[Column] = (),
    convention: str | None = None,
) -> tuple[str, ...]:
    """All footnotes of a table, the identity of what was measured first.

    `convention`: another than that of the summaries, or "all".
    """
    notes = [_identity(group.runs[0].protocol, done, convention)]
    notes += _conventions(columns, rows, protocol, done, convention)
    if group.runs[0].manifest.get("data", {}).get("dataset") == "world":
        notes.append("Synthetic world: nothing here says how methods rank on real video.")
    if group.partial:
        notes.append(f"PARTIAL: {group.partial}. Not comparable with whole runs.")
    notes += _reading(rows, protocol, columns)
    notes += _few(done, rows, columns)
    notes += [f"({mark}) {text}." for mark, text in MARKS.items() if any(mark in r.marks for r in rows)]
    notes += _remarks(done)
    notes += _absent(group, rows)
    notes += _label_free(columns)
    notes += _taxonomy(columns, done)
    if convention != "all":
        notes += _temporal(done)
    if any(c.key == SPEED for c in columns):
        notes += _speed(done)
    return tuple(notes)


def _identity(protocol: Mapping[str, Any], done: Sequence[Run], convention: str | None) -> str:
    text = f"Protocol {protocol['id']} v{protocol['version']}, hash {str(protocol['hash'])[:12]}"
    summary = done[0].summary if done else None
    if summary is None:
        return text + "."
    counts, rule = summary["counts"], summary["convention"]
    classes = ", ".join(
        f"{group} {counts['classes'][group]}/{size}"
        for group, size in counts["scored_classes"].items()
        if size
    )
    return (
        f"{text}; convention {convention or rule['id']}; {plural(counts['videos'], 'video')}, "
        f"{counts['annotated_frames']} annotated of {counts['frames']} frames; classes present/scored: {classes}."
    )


def _conventions(
    columns: Sequence[Column],
    rows: Sequence[Row],
    protocol: Protocol | None,
    done: Sequence[Run],
    convention: str | None,
) -> Iterator[str]:
    """What the conventions of a table mean, and what each averages."""
    if convention is None or protocol is None:
        return
    if convention == "all":
        yield (
            f"Each column is the same label maps under another convention; columns must not be compared. Rows are "
            f"sorted and ranked under the protocol's own, {protocol.convention}."
        )
        yield "n: how many classes enter the mean, seen and unseen for a harmonic one (per-image: in any image)."
        yield from explained(shown_conventions(protocol))
        return
    yield f"{convention}: {named_convention(convention).text} The protocol's own convention is {protocol.convention}."
    entering = [scores_under(protocol, run.records, convention)["classes"] for run in done]
    ranges = {g: sorted({found[g] for found in entering}) for g in (entering[0] if entering else ())}
    shown = [
        f"{g} {'-'.join(map(str, n[:: len(n) - 1] if len(n) > 1 else n))}" for g, n in ranges.items() if n[-1]
    ]
    if shown:
        yield f"Classes that enter the means (a range: depends on the run): {', '.join(shown)}."


def _label_free(columns: Sequence[Column]) -> Iterator[str]:
    names = [c.title for c in columns if label_free(c.key)]
    if names:
        yield (
            f"{', '.join(names)}: ask no label to be right, hence best for a constant prediction (row 'constant'); "
            "to be read beside an accuracy only."
        )


def _taxonomy(columns: Sequence[Column], done: Sequence[Run]) -> Iterator[str]:
    found = taxonomies(done)
    if len(found) > 1:
        yield "No merged and soft scores: these runs were scored with different versions of the taxonomy."
    elif any(c.key.endswith(("merged_miou", "soft_miou")) for c in columns):
        for taxonomy in found.values():
            yield (
                f"merged, soft: other questions than mIoU. Taxonomy {taxonomy['id']} v{taxonomy['version']}, hash "
                f"{str(taxonomy['hash'])[:12]}; merged: names that may be swapped count as one class; soft: part of "
                "the credit for a broader name."
            )


def _spans_shown(rows: Sequence[Row], columns: Sequence[Column]) -> bool:
    return any(c.interval and r.cell(c.key).low is not None for c in columns for r in rows)


def _few(done: Sequence[Run], rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[str]:
    videos = next((r.summary["counts"]["videos"] for r in done if r.summary is not None), None)
    if videos is not None and videos < FEW_VIDEOS:
        tied = any(row.rank is not None for row in rows)
        if tied or _spans_shown(rows, columns):
            yield (
                f"Only {plural(videos, 'video')}: with fewer than {FEW_VIDEOS} no interval means much, nor a rank "
                "or a tie that rests on one."
            )


def _reading(rows: Sequence[Row], protocol: Protocol | None, columns: Sequence[Column]) -> Iterator[str]:
    spans = "; [low, high] is a 95 % interval over videos" if _spans_shown(rows, columns) else ""
    yield f"Scores in percent{spans}."
    if any(row.seeds > 1 for row in rows):
        yield "a ± b (n): mean and standard deviation over n training seeds."
    if protocol is None:
        yield (
            "Ranks follow the values alone: this installation does not have this version of the protocol, "
            "so differences were not tested (--protocol FILE.toml names your own)."
        )
    elif any(row.tied for row in rows):
        yield (
            "=: shares its rank with a neighbouring row, as the 95 % interval of the difference (paired by video) "
            "holds 0."
        )


def _remarks(done: Sequence[Run]) -> Iterator[str]:
    """What a reader of a method's numbers must know: the method says it (`facts()["remark"]`), or its card does.

    A twin takes the remark of its method, which stands there once.
    """
    texts = [(str(run.method["id"]).partition("+")[0], remark_of(run)) for run in done]
    yield from dict.fromkeys(f"{name}: {text}" for name, text in texts if text)


def remark_of(run: Run) -> str:
    """What must stand below the numbers of a run, "" for nothing: its own remark, or its variant's in the card."""
    said = (run.manifest.get("facts") or {}).get("remark")
    card = cards().get(str(run.method["id"]).partition("+")[0])
    variant = None if card is None else card.variants.get(str(run.method.get("variant") or ""))
    return str(said or (variant.remark if variant is not None else ""))


def _absent(group: Group, rows: Sequence[Row]) -> Iterator[str]:
    gaps = [f"{row.name}: {row.note}" for row in rows if row.note]
    if gaps:
        yield f"No numbers for {'; '.join(gaps)}."
    if group.left_out:
        runs = "1 partial run" if group.left_out == 1 else f"{group.left_out} partial runs"
        yield f"Left out: {runs} (--partial shows them)."


def _temporal(done: Sequence[Run]) -> Iterator[str]:
    texts = [run.summary["temporal"].get("note") for run in done if run.summary is not None]
    yield from dict.fromkeys(str(text) for text in texts if text)


def _speed(done: Sequence[Run]) -> Iterator[str]:
    where = dict.fromkeys(text for run in done if run.timing and (text := _machine(run.timing)))
    if len(where) == 1:
        yield f"Speed: the method alone, {next(iter(where))}."
    elif where:
        yield f"Speeds were not measured alike and must not be compared: {'; '.join(where)}."


def _machine(timing: Mapping[str, Any]) -> str:
    hardware = timing.get("hardware") or {}
    if timing.get("device") == "cuda":
        return f"on {hardware.get('gpu') or 'a GPU'}"
    threads = timing.get("threads", 1)
    model = hardware.get("cpu") or "CPU"
    return f"{threads} thread{'s' if threads != 1 else ''} of {model}, {timing.get('jobs', 1)} at a time"
