"""A run as per-video sums and a score function: what the bootstrap and paired comparisons work on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import IntegrityError
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import Sample

from .conventions import convention
from .groups import of_kind, scored_groups
from .iou import METRICS, group_scores, harmonic, mean_iou
from .temporal import MODES, window_ratios
from .videocounts import Joint, VideoCounts

Floats = NDArray[np.float64]

_FIXED = float(1 << 30)
# Sums of window scores are kept as integers in this unit, so that resampled sums are exact whatever
# the order of addition.


class RecordLike(Interface):
    """What scoring reads of a record."""

    @property
    def video_id(self) -> str: ...

    @property
    def counts(self) -> VideoCounts: ...


@dataclass(frozen=True)
class ClassSums:
    """Pixels per class of the protocol's table, over scored truth pixels only: three (C,) int64 arrays.

    `unseen_as_seen`: unseen truth pixels predicted as a seen class.
    """

    intersection: NDArray[np.int64]
    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    unseen_as_seen: int

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(
            self.intersection + other.intersection,
            self.truth + other.truth,
            self.prediction + other.prediction,
            self.unseen_as_seen + other.unseen_as_seen,
        )

    def row(self) -> NDArray[np.int64]:
        """(3C + 1,) everything in one row."""
        return np.concatenate([self.intersection, self.truth, self.prediction, [self.unseen_as_seen]])


def class_sums(protocol: Protocol, joint: Joint) -> ClassSums:
    """Reduce a joint histogram; raises `IntegrityError` for labels that the protocol does not know."""
    raw, predicted, pixels = joint.arrays()
    truth = protocol.truth_table[raw].astype(np.int64)
    if (truth == 254).any() or (predicted >= len(protocol.class_of_vocabulary)).any():
        raise IntegrityError(
            "counts hold labels that are not in the protocol",
            where=f"protocol {protocol.id}",
            hint="the record was made with another protocol; run again with --fresh",
        )
    classes = len(protocol.classes)
    scored = np.isin(truth, np.array(protocol.scored_classes, np.int64))
    truth, pixels = truth[scored], pixels[scored]
    guess = np.append(protocol.class_of_vocabulary, -1)[predicted[scored]]  # [-1]: "other"
    named = guess >= 0
    unseen = np.isin(truth, protocol.groups["unseen"])
    seen_guess = np.isin(guess, protocol.groups["seen"])
    return ClassSums(
        _add_up(truth[guess == truth], pixels[guess == truth], classes),
        _add_up(truth, pixels, classes),
        _add_up(guess[named], pixels[named], classes),
        int(pixels[unseen & seen_guess].sum()),
    )


def total_sums(protocol: Protocol, parts: Iterable[ClassSums]) -> ClassSums:
    """Add up any number of videos, none included."""
    zero = np.zeros(len(protocol.classes), np.int64)
    return sum(parts, ClassSums(zero, zero, zero, 0))


def _add_up(index: NDArray[np.int64], pixels: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    total = np.zeros(size, np.int64)
    np.add.at(total, index, pixels)
    return total


def score_names(protocol: Protocol) -> tuple[str, ...]:
    """Names of the columns of `scores`, "<group>.<metric>" first, then the rest."""
    names = [f"{g}.{m}" for g in scored_groups(protocol) for m in (*METRICS, "things_miou", "stuff_miou")]
    return (*names, "harmonic.miou", "seen_bias")


def scores(protocol: Protocol, sums: Floats) -> Floats:
    """(R, 3C + 1) sums as `ClassSums.row` gives them -> (R, S) percent, columns as `score_names`."""
    rule = convention(protocol.convention)
    count = len(protocol.classes)
    inter, truth, guess = (sums[:, i * count : (i + 1) * count] for i in range(3))
    columns: list[Floats] = []
    miou: dict[str, Floats] = {}
    groups = scored_groups(protocol)
    for name, members in groups.items():
        found = group_scores(inter[:, members], truth[:, members], guess[:, members], rule)
        miou[name] = found[:, 0]
        columns += list(found.T)
        for kind in ("thing", "stuff"):
            part = of_kind(protocol, members, kind)
            columns.append(mean_iou(inter[:, part], truth[:, part], guess[:, part], rule))
    columns.append(harmonic(miou["seen"], miou["unseen"]))
    columns.append(_seen_bias(protocol, sums[:, 3 * count], truth[:, groups["unseen"]].sum(axis=1)))
    return np.stack(columns, axis=1)


def _seen_bias(protocol: Protocol, taken: Floats, unseen: Floats) -> Floats:
    """Share of unseen truth given to a seen class; undefined where no seen name competes."""
    competes = bool(set(protocol.vocabulary_classes) & set(protocol.groups["seen"]))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 100.0 * taken / unseen
    return np.where((unseen > 0) & competes, share, np.nan)


def run_sample(
    protocol: Protocol, records: Sequence[RecordLike], sums: Sequence[ClassSums] | None = None
) -> Sample:
    """The run as a `Sample`: names of `score_names`, then "vc<n>.<mode>".

    `sums` are the records' `class_sums` where the caller has them already.
    """
    if sums is None:
        sums = [class_sums(protocol, r.counts.joint) for r in records]
    temporal = [(n, m) for n in protocol.windows for m in MODES if m in protocol.temporal_modes]
    rows = [
        np.concatenate([s.row(), *_vc_sums(r.counts, temporal)]) for r, s in zip(records, sums, strict=True)
    ]
    width = 3 * len(protocol.classes) + 1 + 2 * len(temporal)
    return Sample(
        units=tuple(r.video_id for r in records),
        sums=np.array(rows, np.float64).reshape(len(records), width),
        names=(*score_names(protocol), *(f"vc{n}.{m}" for n, m in temporal)),
        scores=partial(_all_scores, protocol, len(temporal)),
    )


def _vc_sums(counts: VideoCounts, temporal: Sequence[tuple[int, str]]) -> list[NDArray[np.int64]]:
    columns = []
    for n, mode in temporal:
        ratios = window_ratios(counts, n, mode)
        defined = ratios[~np.isnan(ratios)]
        columns.append(np.array([np.rint(defined * _FIXED).sum(), len(defined)], np.int64))
    return columns


def _all_scores(protocol: Protocol, temporal: int, sums: Floats) -> Floats:
    split = sums.shape[1] - 2 * temporal
    windows = sums[:, split:].reshape(len(sums), temporal, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        consistency = 100.0 * (windows[:, :, 0] / windows[:, :, 1] / _FIXED)
    return np.concatenate([scores(protocol, sums[:, :split]), consistency], axis=1)
