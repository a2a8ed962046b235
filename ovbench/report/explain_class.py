"""One class explained: its pixels as fractions, what it is taken for, and how it differs over videos."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from ovbench.core.errors import UserError, unknown
from ovbench.core.words import plural
from ovbench.metrics.conventions import Convention
from ovbench.metrics.sample import class_sums
from ovbench.protocol.schema import Protocol

from .explain_counts import ClassFacts, confusion, group_arithmetic, members
from .explain_model import Grid, Part, percent, share
from .explain_source import Source

MOST = 8
"""So many confusions are listed."""
_ENDS = 3  # best and worst videos


def find_class(source: Source, facts: Sequence[ClassFacts], wanted: str) -> ClassFacts:
    """The scored class of that name, clean name or index.

    Raises:
        UserError: no such class (with near names), or one that this protocol does not score.
    """
    by_name = {f.name: f for f in facts}
    by_index = {str(f.index): f for f in facts}
    protocol = source.protocol
    if protocol is not None:
        rows = list(enumerate(protocol.classes))
        index = next((i for i, c in rows if c.name == wanted), None)
        index = next((i for i, c in rows if c.clean == wanted), None) if index is None else index
        if index is None and wanted.isascii() and wanted.isdigit() and int(wanted) < len(rows):
            index = int(wanted)
        if index is not None:
            if str(index) not in by_index:
                raise UserError(
                    f"class '{wanted}' is not scored in protocol {protocol.id}: its pixels count like void",
                    hint=f"scored: {', '.join(by_name)}",
                )
            return by_index[str(index)]
        raise unknown("class", wanted, {n for _, c in rows for n in (c.name, c.clean)})
    found = by_name.get(wanted) or by_index.get(wanted)
    if found is None:
        raise unknown("class", wanted, by_name)
    return found


def pixels_part(fact: ClassFacts, protocol: Protocol | None) -> Part:
    """IoU and accuracy as fractions, and the support."""
    wrong, missed = fact.prediction - fact.right, fact.truth - fact.right
    body: list[str] = [
        f"Class {fact.index}, {fact.group}" + (f", {fact.kind}." if fact.kind else "."),
        f"TP {fact.right:,}: its truth pixels that were given to it.",
        f"FP {wrong:,}: scored pixels of other classes that were given to it.",
        f"FN {missed:,}: its truth pixels that went elsewhere.",
        f"IoU {percent(fact.iou)} = TP / (TP + FP + FN) = {fact.right:,} / {fact.union:,}",
        f"accuracy {percent(fact.acc)} = TP / (TP + FN) = {fact.right:,} / {fact.truth:,}",
    ]
    if not fact.truth:
        body.append("It does not occur in the truth of these videos.")
    frames = "" if fact.frames is None else f" and {plural(fact.frames, 'annotated frame')}"
    body.append(f"Support: {fact.truth:,} truth pixels in {plural(fact.videos, 'video')}{frames}.")
    data = fact.as_dict()
    if protocol is not None:
        row = protocol.classes[fact.index]
        named = [g for g, m in protocol.groups.items() if fact.index in m]
        data |= {"clean": row.clean, "synonyms": list(row.synonyms), "groups": named}
        names = protocol.vocabulary
        if fact.index in protocol.vocabulary_classes:
            place = protocol.vocabulary_classes.index(fact.index)
            data["queried_as"] = list(names.synonyms[place])
            body.insert(1, f"The method was asked for it as: {', '.join(names.synonyms[place])}.")
        else:
            data["queried_as"] = []
            body.insert(1, "It is not in the vocabulary that the method was given, so it cannot be named.")
    return Part("class", f"'{fact.name}'", data, body)


def confusion_parts(protocol: Protocol, source: Source, fact: ClassFacts) -> list[Part]:
    """Where its truth pixels went, and whose pixels it took."""
    table = confusion(protocol, source.records)
    names = [*(c.name for c in protocol.classes), "(abstained)"]
    lost = table[fact.index].copy()
    truth = int(lost.sum())
    taken = table[:, fact.index].copy()
    guessed = int(taken.sum())
    went = _ranked(lost, names, truth)
    came = _ranked(taken, names, guessed)
    return [
        Part(
            "went_to",
            "Where its truth pixels went",
            went,
            _listing(went, f"Of {truth:,} truth pixels:", "given to", "of its truth", fact.name),
        ),
        Part(
            "came_from",
            "Whose pixels it got",
            came,
            _listing(
                came,
                f"Of {guessed:,} scored pixels that were given to it:",
                "truth",
                "of its pixels",
                fact.name,
            ),
        ),
    ]


def _ranked(pixels: Any, names: Sequence[str], whole: int) -> list[dict[str, Any]]:
    order = [i for i in np.argsort(-pixels, kind="stable").tolist() if pixels[i] > 0]
    return [
        {"name": names[i], "pixels": int(pixels[i]), "share": share(int(pixels[i]), whole)} for i in order
    ]


def _listing(
    rows: Sequence[dict[str, Any]], intro: str, first: str, last: str, own: str
) -> Sequence[str | Grid]:
    if not rows:
        return ["None."]
    cells = [
        (r["name"] + (" (right)" if r["name"] == own else ""), f"{r['pixels']:,}", percent(r["share"], 1))
        for r in rows[:MOST]
    ]
    rest = rows[MOST:]
    if rest:
        pixels, part = sum(r["pixels"] for r in rest), sum(r["share"] for r in rest)
        cells.append((f"{len(rest)} more", f"{pixels:,}", percent(part, 1)))
    return [intro, Grid((first, "pixels", f"% {last}"), tuple(cells))]


def videos_part(protocol: Protocol, source: Source, fact: ClassFacts, rule: Convention) -> Part:
    """Its IoU in each video that shows it (or gives pixels to it)."""
    rows: list[dict[str, Any]] = []
    for record in source.records:
        sums = class_sums(protocol, record.counts.joint, rule)
        right, truth, guess = (int(x[fact.index]) for x in (sums.intersection, sums.truth, sums.prediction))
        if truth or guess:
            iou = 100.0 * right / (truth + guess - right)
            rows.append(
                {"video": record.video_id, "iou": iou, "truth": truth, "prediction": guess, "tp": right}
            )
    shown = sorted((r for r in rows if r["truth"]), key=lambda r: (-r["iou"], r["video"]))
    only = sum(not r["truth"] for r in rows)
    if not shown:
        return Part("per_video", "Over videos", rows, ["No video shows it."])
    values = [r["iou"] for r in shown]
    body: list[str | Grid] = [
        f"IoU within each of the {plural(len(shown), 'video')} that show it: median "
        f"{percent(statistics.median(values), 1)}, from {percent(min(values), 1)} to {percent(max(values), 1)}. "
        "(The score pools the pixels of all videos; it is not the mean of these.)"
    ]
    ends = shown if len(shown) <= 2 * _ENDS else [*shown[:_ENDS], *shown[-_ENDS:]]
    cells = tuple(
        (r["video"], percent(r["iou"], 1), f"{r['tp']:,}", f"{r['truth']:,}", f"{r['prediction']:,}")
        for r in ends
    )
    body.append(Grid(("video", "IoU", "TP", "truth", "given to it"), cells))
    if only:
        body.append(f"{plural(only, 'further video')} without it in the truth gave pixels to it.")
    return Part("per_video", "Over videos: best and worst", rows, body)


def weight_part(fact: ClassFacts, facts: Sequence[ClassFacts], source: Source, rule: Convention) -> Part:
    """How it moves the means of the groups it is in."""
    body, data = [], {}
    for name, group in members(facts, source.protocol).items():
        if fact not in group:
            continue
        whole = group_arithmetic(group)
        without = group_arithmetic([f for f in group if f != fact])["miou"]["value"]
        miou, pixels = whole["miou"], whole["fwiou"]["pixels"]
        weight = 1 / miou["classes"] if fact.enters_iou and miou["classes"] else 0.0
        data[name] = {
            "weight": weight,
            "miou": miou["value"],
            "miou_without_it": without,
            "truth_share": share(fact.truth, pixels),
        }
        if not fact.enters_iou:
            body.append(f"{name}: it does not enter mIoU under {rule.id}.")
            continue
        body.append(
            f"{name}: one of {miou['classes']} classes in mIoU {percent(miou['value'])} "
            f"({percent(without)} without it); {percent(share(fact.truth, pixels), 2)} % of the truth pixels, its "
            "weight in fwIoU."
        )
    return Part("weight", "How it moves the means", data, body)
