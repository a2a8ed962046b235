"""A protocol in plain words, and as plain data."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from .check import RELEASED
from .schema import Protocol

WIDTH = 100

CONVENTION_WORDS = {
    "gt-present": "means run over the classes that occur in the truth",
    "union-present": "means run over the classes that occur in the truth or in the predictions",
    "all-classes": "means run over all scored classes, absent ones counting as zero",
    "per-image": "every image is scored by itself, then the mean is taken over images",
    "per-image-class": "means run over all pairs of an image and a class in it",
    "": "abstaining counts as a miss",
    "abstain-shrinks": "pixels on which the method abstains leave the truth",
    "base-ignored": "pixels of seen classes are void for unseen ones and the other way round",
}
RELEASED_WORDS = (
    "means and their bugs as in the evaluation released with OV2VSS: the last scored class is in no truth, though "
    "its pixels stay in and false alarms on them count; the first extra name is counted as that class; mIoU runs "
    "over classes in truth or predictions, mAcc over those in the truth; fwIoU comes from a second matrix, in which "
    "an extra name counts as the first class on a pixel of the next one"
)
VARIANT_WORDS = {
    "raw": "as the data set spells them",
    "clean": "in readable spelling",
    "clean+synonyms": "in readable spelling, each with its synonyms",
}
MODE_WORDS = {
    "script": "as the released VSPW script counts",
    "clean": "all windows, void left out",
    "correct": "the prediction must also equal the truth",
}


def describe(protocol: Protocol) -> str:
    """Several paragraphs that say what is evaluated and how, ending with the class names and notes."""
    paragraphs = [
        ("Hash", protocol.hash),
        ("Purpose", protocol.description),
        ("Data", _data(protocol)),
        ("Classes", _classes(protocol)),
        ("Vocabulary", _vocabulary(protocol)),
        ("Prompts", _prompts(protocol)),
        ("Scored", _scored(protocol)),
        ("Averages", _averages(protocol.convention)),
        ("Temporal", _temporal(protocol)),
        ("Label maps", _positions(protocol)),
        ("Board", _board(protocol)),
        *((f"Group {name}", _names(protocol, name)) for name in protocol.groups if name != "all"),
        *((f"Note {i}", note) for i, note in enumerate(protocol.notes, 1)),
    ]
    head = f"{protocol.id}, version {protocol.version}: {protocol.title}"
    indent = max(len(label) for label, _ in paragraphs) + 2
    return "\n".join([head, "", *(_paragraph(label, text, indent) for label, text in paragraphs)])


def _averages(convention: str) -> str:
    if convention == RELEASED:
        return f"{convention}: {RELEASED_WORDS}."
    rule, *options = convention.split("+")
    words = [rule, *([] if "abstain-shrinks" in options else [""]), *options]
    return f"{convention}: {'; '.join(CONVENTION_WORDS[word] for word in words)}."


def _positions(protocol: Protocol) -> str:
    """What each value of a label map means."""
    names = protocol.vocabulary.names
    other = 255 if len(names) <= 255 else 65535
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    extra = f"; {_quoted(protocol.extra_names)} is no class" if protocol.extra_names else ""
    return f"values are positions in the vocabulary, {other} abstains{extra}: {listed}."


def as_dict(protocol: Protocol) -> dict[str, Any]:
    """The protocol as plain JSON types: its summary, class table and groups."""
    return {
        **brief(protocol),
        "description": protocol.description,
        "notes": list(protocol.notes),
        "options": dict(protocol.dataset.options),
        "videos": list(protocol.dataset.videos),
        "ignore_ids": list(protocol.ignore_ids),
        "name_variant": protocol.name_variant,
        "template_set": protocol.template_set,
        "templates": list(protocol.templates),
        "resize": protocol.resize,
        "convention": protocol.convention,
        "windows": list(protocol.windows),
        "temporal_modes": list(protocol.temporal_modes),
        "headline": protocol.headline_group,
        "board": list(protocol.board),
        "vocabulary_names": list(protocol.vocabulary.names),
        "extra_names": list(protocol.extra_names),
        "groups": {
            name: [protocol.classes[c].name for c in members] for name, members in protocol.groups.items()
        },
        "classes": [
            {
                "index": index,
                "raw_ids": list(row.raw_ids),
                "name": row.name,
                "clean": row.clean,
                "synonyms": list(row.synonyms),
                "seen": row.seen,
                "kind": row.kind,
                "color": "#{:02x}{:02x}{:02x}".format(*row.color),
            }
            for index, row in enumerate(protocol.classes)
        ],
    }


def brief(protocol: Protocol) -> dict[str, Any]:
    """One row of the list of protocols."""
    return {
        "id": protocol.id,
        "version": protocol.version,
        "title": protocol.title,
        "dataset": protocol.dataset.name,
        "split": protocol.dataset.split,
        "train_split": protocol.dataset.train_split,
        "seen": len(protocol.groups["seen"]),
        "unseen": len(protocol.groups["unseen"]),
        "vocabulary": protocol.vocabulary_mode,
        "vocabulary_size": len(protocol.vocabulary_classes),
        "scored": protocol.scored,
        "scored_size": len(protocol.scored_classes),
        "hash": protocol.hash,
    }


def _paragraph(label: str, text: str, indent: int) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        initial_indent=f"{label}:".ljust(indent),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )


def _data(protocol: Protocol) -> str:
    data = protocol.dataset
    options = "".join(f", {key} = {value}" for key, value in sorted(data.options.items()))
    videos = f"{len(data.videos)} listed videos" if data.videos else "all videos"
    train = (
        f"Methods may train on the seen classes of the split '{data.train_split}'."
        if data.train_split
        else "No training split: nothing of this data set may be trained on."
    )
    return f"data set '{data.name}'{options}, {videos} of the split '{data.split}'. {train}"


def _classes(protocol: Protocol) -> str:
    seen, unseen = len(protocol.groups["seen"]), len(protocol.groups["unseen"])
    kinds = [row.kind for row in protocol.classes]
    return (
        f"{len(protocol.classes)} classes, {seen} seen and {unseen} unseen; "
        f"{kinds.count('thing')} things, {kinds.count('stuff')} stuff, {kinds.count('')} undecided. "
        f"Void: raw ids {_numbers(protocol.ignore_ids)}."
    )


def _vocabulary(protocol: Protocol) -> str:
    count = len(protocol.groups[protocol.vocabulary_mode])
    spelling = f"{VARIANT_WORDS[protocol.name_variant]} (variant '{protocol.name_variant}')"
    extra = ""
    if protocol.extra_names:
        extra = f" It is also told {_quoted(protocol.extra_names)}, which is no class: always wrong, like 'other'."
    if protocol.vocabulary_mode == "all":
        return f"the method is told all {count} names, {spelling}; seen and unseen names compete.{extra}"
    return f"the method is told the {count} unseen names only, {spelling}; seen names never compete.{extra}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _prompts(protocol: Protocol) -> str:
    count = len(protocol.templates)
    plural = "s" if count != 1 else ""
    return f"{count} template{plural} of the set '{protocol.template_set}', first '{protocol.templates[0]}'."


def _scored(protocol: Protocol) -> str:
    size = "Label maps are compared at the size of the truth mask."
    if protocol.scored == "all":
        return f"every labelled pixel counts ({len(protocol.scored_classes)} classes). {size}"
    return (
        f"only pixels whose truth is one of the {len(protocol.scored_classes)} unseen classes count; "
        f"seen pixels are ignored like void, so false alarms on them cost nothing. {size}"
    )


def _temporal(protocol: Protocol) -> str:
    if not protocol.windows:
        return "no consistency scores."
    names = " and ".join(f"VC{n}" for n in protocol.windows)
    return f"{names}; " + "; ".join(f"'{mode}': {MODE_WORDS[mode]}" for mode in protocol.temporal_modes) + "."


def _board(protocol: Protocol) -> str:
    rows = ", ".join(protocol.board) if protocol.board else "none set"
    return f"sorted by mIoU '{protocol.headline_group}'; default rows: {rows}."


def _names(protocol: Protocol, group: str) -> str:
    members = [protocol.classes[c].name for c in protocol.groups[group]]
    return f"({len(members)}) {', '.join(members) or 'none'}"


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(values))) or "none"
