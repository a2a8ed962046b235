"""Pixels per class and the fractions they make: the arithmetic of an explanation, from records or a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.engine.records import CountedVideo
from ovbench.metrics.conventions import Convention
from ovbench.metrics.groups import scored_groups
from ovbench.metrics.released import matrix_cells
from ovbench.metrics.sample import class_sums, total_sums
from ovbench.protocol.schema import Protocol

THIN = 2
"""Classes in at most so many videos have thin support: a resample of the videos often lacks them."""


@dataclass(frozen=True)
class ClassFacts:
    """One scored class: pixels, and whether it enters the means. `frames`: None where not known."""

    index: int
    name: str
    group: str  # "seen" or "unseen"
    kind: str
    right: int  # pixels of the class that were given to it
    truth: int
    prediction: int
    videos: int
    frames: int | None
    enters_iou: bool
    enters_acc: bool
    matrix: tuple[int, int, int] | None = None  # of `metrics.released`: diagonal, row and column sum

    @property
    def union(self) -> int:
        """Pixels that are the class in truth or prediction."""
        return self.truth + self.prediction - self.right

    @property
    def iou(self) -> float | None:
        """Percent; None where the class is in neither truth nor prediction."""
        return 100.0 * self.right / self.union if self.union else None

    @property
    def acc(self) -> float | None:
        """Percent of the truth pixels; None without any."""
        return 100.0 * self.right / self.truth if self.truth else None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; tp, fp and fn in pixels."""
        return {
            "index": self.index,
            "name": self.name,
            "group": self.group,
            "kind": self.kind,
            "iou": self.iou,
            "acc": self.acc,
            "tp": self.right,
            "fp": self.prediction - self.right,
            "fn": self.truth - self.right,
            "videos": self.videos,
            "frames": self.frames,
            "enters_iou": self.enters_iou,
            "enters_acc": self.enters_acc,
        }


def facts_from_records(
    protocol: Protocol, records: Sequence[CountedVideo], rule: Convention
) -> list[ClassFacts]:
    """All scored classes in the order of the class table."""
    sums = [class_sums(protocol, r.counts.joint, rule) for r in records]
    zero = np.zeros(len(protocol.classes), np.int64)
    right, truth, guess = (
        sum((np.asarray(getattr(s, name)) for s in sums), zero)
        for name in ("intersection", "truth", "prediction")
    )
    videos = sum(((s.truth > 0).astype(np.int64) for s in sums), zero)
    matrix = sum((s.matrix for s in sums), total_sums(protocol, (), rule).matrix)
    frames = frames_per_class(protocol, records)
    iou, acc = (
        f(truth.astype(np.float64), guess.astype(np.float64)) for f in (rule.enters_iou, rule.enters_acc)
    )
    return [
        ClassFacts(
            c,
            protocol.classes[c].name,
            "seen" if protocol.classes[c].seen else "unseen",
            protocol.classes[c].kind,
            int(right[c]),
            int(truth[c]),
            int(guess[c]),
            int(videos[c]),
            int(frames[c]),
            bool(iou[c]),
            bool(acc[c]),
            _cells(matrix_cells(matrix, c) if rule.as_released else None),
        )
        for c in sorted(protocol.scored_classes)
    ]


def _cells(found: Sequence[int] | None) -> tuple[int, int, int] | None:
    return None if found is None else (found[0], found[1], found[2])


def frames_per_class(protocol: Protocol, records: Sequence[CountedVideo]) -> NDArray[np.int64]:
    """(C,) annotated frames in which a class occurs."""
    total = np.zeros(len(protocol.classes), np.int64)
    for record in records:
        series = record.counts.per_frame
        classes = protocol.truth_table[series.truth].astype(np.int64)
        known = classes < len(protocol.classes)
        pairs = np.unique(np.stack([series.frame_of_entry[known], classes[known]]), axis=1)
        np.add.at(total, pairs[1], 1)
    return total


def facts_from_summary(summary: Mapping[str, Any], rule: Convention) -> list[ClassFacts]:
    """The same as far as a summary goes: right pixels follow from accuracy and truth, frames are not known."""
    rows = summary["per_class"]
    truth, guess = (np.array([r[key] for r in rows], np.float64) for key in ("truth", "prediction"))
    iou, acc = rule.enters_iou(truth, guess), rule.enters_acc(truth, guess)
    return [
        ClassFacts(
            r["index"],
            r["name"],
            r["group"],
            r["kind"],
            round((r["acc"] or 0.0) * r["truth"] / 100),
            r["truth"],
            r["prediction"],
            r["videos"],
            None,
            bool(iou[i]),
            bool(acc[i]),
            _cells(r.get("matrix")),
        )
        for i, r in enumerate(rows)
    ]


def members(facts: Sequence[ClassFacts], protocol: Protocol | None) -> dict[str, list[ClassFacts]]:
    """Group -> its scored classes; without a protocol only all, seen and unseen are known."""
    if protocol is None:
        return {
            "all": list(facts),
            **{g: [f for f in facts if f.group == g] for g in ("seen", "unseen")},
        }
    by_index = {f.index: f for f in facts}
    return {
        name: [by_index[c] for c in classes.tolist() if c in by_index]
        for name, classes in scored_groups(protocol).items()
    }


def group_arithmetic(group: Sequence[ClassFacts], rule: Convention | None = None) -> dict[str, Any]:
    """Numerators, denominators and values of a group's four scores; None without a truth pixel.

    Args:
        rule: the convention; needed only where fwIoU comes from a matrix of its own.
    """
    truth, right = sum(f.truth for f in group), sum(f.right for f in group)
    acc = [f.acc or 0.0 for f in group if f.enters_acc]
    fwiou = _matrix_fwiou(group) if rule is not None and rule.as_released else _fwiou(group)
    return {
        "scored": len(group),
        "present": sum(f.truth > 0 for f in group),
        "miou": _mean_iou(group),
        "fwiou": fwiou,
        "macc": _mean(fsum(acc), len(acc), truth),
        "pacc": {"right": right, "pixels": truth, "value": 100.0 * right / truth if truth else None},
        "things_miou": _mean_iou([f for f in group if f.kind == "thing"]),
        "stuff_miou": _mean_iou([f for f in group if f.kind == "stuff"]),
    }


def _fwiou(group: Sequence[ClassFacts]) -> dict[str, Any]:
    truth = sum(f.truth for f in group)
    weighted = fsum(f.truth * (f.iou or 0.0) for f in group)
    return {"weighted_sum": weighted, "pixels": truth, "value": weighted / truth if truth else None}


def _matrix_fwiou(group: Sequence[ClassFacts]) -> dict[str, Any]:
    """fwIoU of the matrix of `metrics.released`; no value where the script stops."""
    cells = [f.matrix for f in group if f.matrix is not None]
    pixels = sum(row for _, row, _ in cells)
    weighted = fsum(row * 100.0 * hit / (row + column - hit) for hit, row, column in cells if row)
    value = weighted / pixels if pixels and len(cells) == len(group) else None
    return {"weighted_sum": weighted, "pixels": pixels, "value": value}


def _mean_iou(group: Sequence[ClassFacts]) -> dict[str, Any]:
    values = [f.iou or 0.0 for f in group if f.enters_iou]
    return _mean(fsum(values), len(values), sum(f.truth for f in group))


def _mean(total: float, classes: int, truth: int) -> dict[str, Any]:
    return {"sum": total, "classes": classes, "value": total / classes if classes and truth else None}


def harmonic_of(seen: float | None, unseen: float | None) -> float | None:
    """2su / (s + u): None where either is, 0 where both are 0."""
    if seen is None or unseen is None:
        return None
    return 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0


def pixel_split(protocol: Protocol, records: Sequence[CountedVideo]) -> dict[str, int]:
    """Pixels of annotated frames: scored, void, of classes that are not scored; abstentions and extra names on
    scored ones."""
    split = {"total": 0, "scored": 0, "void": 0, "not_scored": 0, "abstained": 0}
    split |= {"extra": 0} if protocol.extra_names else {}
    names = len(protocol.vocabulary_classes) - len(protocol.extra_names)
    scored = np.isin(protocol.truth_table, np.array(protocol.scored_classes, protocol.truth_table.dtype))
    for record in records:
        raw, guess, pixels = record.counts.joint.arrays()
        void = np.isin(raw, np.array(protocol.ignore_ids, np.int64))
        split["total"] += int(pixels.sum())
        split["void"] += int(pixels[void].sum())
        split["scored"] += int(pixels[scored[raw] & ~void].sum())
        split["abstained"] += int(pixels[scored[raw] & ~void & (guess < 0)].sum())
        if protocol.extra_names:
            split["extra"] += int(pixels[scored[raw] & ~void & (guess >= names)].sum())
    split["not_scored"] = split["total"] - split["scored"] - split["void"]
    return split


def confusion(protocol: Protocol, records: Sequence[CountedVideo]) -> NDArray[np.int64]:
    """(C, C + 1) scored truth pixels by truth class and predicted class; last column: no class (abstained)."""
    count = len(protocol.classes)
    table = np.zeros((count, count + 1), np.int64)
    guess_of = np.append(protocol.class_of_vocabulary, -1)
    scored = np.array(protocol.scored_classes, np.int64)
    for record in records:
        raw, guess, pixels = record.counts.joint.arrays()
        truth = protocol.truth_table[raw].astype(np.int64)
        kept = np.isin(truth, scored)
        # [-1] of either array is "no class", so both abstention and a name without a class end there
        np.add.at(table, (truth[kept], guess_of[guess[kept]]), pixels[kept])
    return table
