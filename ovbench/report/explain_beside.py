"""What stands beside the score: other conventions, the published scripts, the merged taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovbench.metrics.conventions import CONVENTIONS, convention
from ovbench.metrics.parity import SCRIPTS, script_notes, script_scores
from ovbench.metrics.score import scores_under
from ovbench.metrics.taxonomy import taxonomy_for
from ovbench.protocol.schema import Protocol

from .conventions import explained
from .explain_counts import ClassFacts, facts_from_records
from .explain_model import Grid, Part, percent
from .explain_source import Source
from .explain_temporal import label_free_part, temporal_part

_GROUPS = ("harmonic", "unseen", "seen", "all")


def beside_parts(source: Source) -> list[Part | None]:
    """Everything beside the score of a run, as far as the source allows."""
    found: list[Part | None] = [temporal_part(source), label_free_part(source), taxonomy_part(source)]
    if source.full and source.protocol is not None:
        found += [conventions_part(source.protocol, source), scripts_part(source.protocol, source)]
    return found


def taxonomy_part(source: Source) -> Part | None:
    """mIoU over merged classes, and credit for near misses: apart from mIoU, never in its place."""
    found = source.summary.get("open_vocabulary")
    if found is None:
        return None
    taxonomy = found.get("taxonomy")
    if taxonomy is None:
        body = ["No taxonomy knows the classes of this protocol, so nothing is merged."]
        return Part("open_vocabulary", "Merged taxonomy", found, body)
    grid = Grid(
        ("group", "mIoU", "merged mIoU", "merged classes", "soft mIoU"),
        tuple(_taxonomy_row(source, found, g) for g in found["merged"]),
    )
    parts: list[str | Grid] = [
        f"Taxonomy {taxonomy['id']} v{taxonomy['version']}, hash {str(taxonomy['hash'])[:12]}: which names may be "
        "swapped, and which contain others. These are other questions than mIoU and must not be compared with it.",
        "merged: names that may be swapped (a group of the taxonomy) count as one class. soft: a broader name "
        "(its parent in the taxonomy) earns part of the credit. Both rest on the convention gt-present.",
        grid,
    ]
    return Part("open_vocabulary", "Merged taxonomy (apart from mIoU)", found, parts)


def _taxonomy_row(source: Source, found: Mapping[str, Any], group: str) -> tuple[str, ...]:
    merged, soft = found["merged"][group], found["soft"].get(group) or {}
    plain = (source.summary["scores"].get(group) or {}).get("miou")
    classes = merged.get("classes")
    return (
        group,
        percent(plain),
        percent(merged.get("miou")),
        "-" if classes is None else str(classes),
        percent(soft.get("miou")),
    )


def conventions_part(protocol: Protocol, source: Source) -> Part:
    """The same counts under every convention."""
    found = {i: scores_under(protocol, source.records, i) for i in _with_own(source)}
    groups = [g for g in _GROUPS if any(_miou(f, g) is not None for f in found.values())]
    rows = []
    for name, under in found.items():
        classes = [f"{under['classes'][g]}" if g in under["classes"] else "" for g in groups]
        cells = [
            percent(_miou(under, g)) + (f" ({n})" if n else "") for g, n in zip(groups, classes, strict=True)
        ]
        rows.append((name, *cells))
    own = source.summary["convention"]["id"]
    body: list[str | Grid] = [
        "mIoU of the very same label maps, with the number of classes that enter (per-image: in any image). "
        f"Numbers of different rows must not be compared. This protocol's own: {own}.",
        Grid(("convention", *groups), tuple(rows)),
        *explained([convention(i) for i in found]),
    ]
    data = {i: {"scores": f["scores"], "classes": f["classes"]} for i, f in found.items()}
    return Part("conventions", "The same counts under every convention", data, body)


def _with_own(source: Source) -> list[str]:
    return list(dict.fromkeys([str(source.summary["convention"]["id"]), *CONVENTIONS]))


def _miou(under: Mapping[str, Any], group: str) -> float | None:
    found = under["scores"].get(group)
    return found.get("miou") if isinstance(found, Mapping) else None


def scripts_part(protocol: Protocol, source: Source) -> Part:
    """What the published evaluation scripts would print for these label maps."""
    found = script_scores(protocol, [r.counts for r in source.records])
    body: list[str | Grid] = [
        "Restated from the counts, bugs included, for comparison with printed numbers; not for tables."
    ]
    notes = script_notes(protocol, [r.counts for r in source.records])
    data = {}
    for name, scores in found.items():
        script, remarks = SCRIPTS[name], notes.get(name, ())
        data[name] = {
            "scores": dict(scores), "text": script.text, "source": script.source, "notes": list(remarks),
        }  # fmt: skip
        numbers = ", ".join(f"{key} {percent(value)}" for key, value in scores.items() if value is not None)
        body.append(f"{name}: {numbers or 'nothing'}. {script.text} ({script.source}.)")
        body += [f"    {name} here: {remark}." for remark in remarks]
    return Part("scripts", "What published scripts would print", data, body)


def class_conventions_part(protocol: Protocol, source: Source, fact: ClassFacts) -> list[Part]:
    """How a class enters each convention, and its place in the taxonomy."""
    rows, data = [], {}
    for name in _with_own(source):
        rule = convention(name)
        if not rule.pooled:
            continue
        same = [f for f in facts_from_records(protocol, source.records, rule) if f.index == fact.index]
        rows.append((name, *_under(same)))
        data[name] = same[0].as_dict() if same else None
    grid = Grid(("convention", "enters mIoU", "IoU", "TP", "FP", "FN"), tuple(rows))
    body: list[str | Grid] = [
        "per-image means have no IoU of a class: they average over the images first.",
        grid,
    ]
    return [Part("conventions", "How it enters each convention", data, body), *_taxonomy_of(protocol, fact)]


def _under(same: Sequence[ClassFacts]) -> tuple[str, ...]:
    if not same:
        return ("no", "-", "-", "-", "-")
    f = same[0]
    iou = percent(f.iou or 0.0) if f.enters_iou else "-"
    pixels = (f.right, f.prediction - f.right, f.truth - f.right)
    return ("yes" if f.enters_iou else "no", iou, *(f"{n:,}" for n in pixels))


def _taxonomy_of(protocol: Protocol, fact: ClassFacts) -> list[Part]:
    taxonomy = taxonomy_for(protocol)
    if taxonomy is None:
        return []
    place = int(taxonomy.group_of(len(protocol.classes))[fact.index])
    name, group = list(taxonomy.groups.items())[place] if place >= 0 else (None, (fact.index,))
    members = [protocol.classes[c].name for c in group]
    broader = [protocol.classes[p].name for p, c in taxonomy.parents if c == fact.index]
    about = f"taxonomy {taxonomy.id} v{taxonomy.version}"
    body = [f"In no group of {about}: it stays a class of its own in merged mIoU."]
    if name is not None:
        body = [f"In group '{name}' of {about}, one class in merged mIoU: {', '.join(members)}."]
    if broader:
        body.append(f"Broader names that earn soft credit for it: {', '.join(broader)}.")
    data = {
        "id": taxonomy.id, "version": taxonomy.version, "group": name, "classes": members, "broader": broader,
    }  # fmt: skip
    return [Part("taxonomy", "Taxonomy", data, body)]
