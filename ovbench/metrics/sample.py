"""A run as per-video sums and a score function: what the bootstrap and paired comparisons work on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import Sample

from .conventions import Convention, convention
from .groups import scored_groups, scored_parts
from .images import image_scores, no_images
from .iou import COLUMNS, harmonic, pooled_scores
from .openvocab import Merged
from .released import matrix_width, with_fwiou
from .sums import ClassSums, class_sums, sums_of, total_sums
from .taxonomy import taxonomy_for
from .temporal import TemporalColumns, backends_of
from .videocounts import VideoCounts

Floats = NDArray[np.float64]


class RecordLike(Interface):
    """What scoring reads of a record."""

    @property
    def video_id(self) -> str: ...

    @property
    def counts(self) -> VideoCounts: ...


def score_names(protocol: Protocol) -> tuple[str, ...]:
    """Names of the scores of a summary, "<group>.<metric>" first, then the rest."""
    names = [f"{g}.{m}" for g in scored_groups(protocol) for m in COLUMNS]
    return (*names, "harmonic.miou", "seen_bias")


class ScoreColumns:
    """Scores under one convention as a function of integers that add up over videos.

    Attributes:
        names: `score_names`, then "<group>.merged_miou" where there is a taxonomy. Merged scores rest on the
            counts of the default convention, so one that counts otherwise has none.
        width: F, the number of sums of a video.
    """

    def __init__(self, protocol: Protocol, rule: Convention) -> None:
        self._protocol, self._rule = protocol, rule
        taxonomy = taxonomy_for(protocol)
        plain = not (rule.abstain_shrinks or rule.base_ignored or rule.as_released)
        self._merged = Merged(protocol, taxonomy) if plain and taxonomy is not None else None
        self._swaps = len(taxonomy.groups) if self._merged and taxonomy else 0
        self.names = (*score_names(protocol), *(self._merged.names() if self._merged else ()))
        images = 0 if rule.pooled else len(no_images(protocol))
        self._matrix = matrix_width(protocol) if rule.as_released else 0
        self.width = 3 * len(protocol.classes) + 1 + self._swaps + images + self._matrix

    def row(self, sums: ClassSums) -> NDArray[np.int64]:
        """(F,) sums of one video."""
        swaps = sums.merged[: self._swaps]
        pixels = (sums.intersection, sums.truth, sums.prediction, [sums.unseen_as_seen])
        return np.concatenate([*pixels, swaps, sums.images, sums.matrix])

    def scores(self, sums: Floats) -> Floats:
        """(R, F) sums -> (R, len(names)) percent; NaN where a score is undefined."""
        count = len(self._protocol.classes)
        rows = np.ascontiguousarray(sums.T)  # classes first: adding up classes is then fast, and in one order
        hit, truth, guess = (rows[i * count : (i + 1) * count] for i in range(3))
        lost, swapped = rows[3 * count], rows[3 * count + 1 : 3 * count + 1 + self._swaps]
        groups = scored_parts(self._protocol)
        found = pooled_scores(groups.values(), (hit, truth, guess), self._rule)
        if not self._rule.pooled:
            found = image_scores(rows[3 * count + 1 + self._swaps :], found, self._rule)
        if self._matrix:
            wholes = (parts[0] for parts in groups.values())
            found = with_fwiou(found, rows[-self._matrix :], wholes)
        miou = {name: scores[0] for name, scores in zip(groups, found, strict=True)}
        columns = [column for scores in found for column in scores]
        columns.append(harmonic(miou["seen"], miou["unseen"]))
        columns.append(self._seen_bias(lost, truth[groups["unseen"][0]].sum(axis=0)))
        if self._merged:
            columns += list(self._merged.miou(hit, truth, guess, swapped)[0])
        return np.stack(columns, axis=1)

    def _seen_bias(self, lost: Floats, unseen: Floats) -> Floats:
        """Share of unseen truth given to a seen class; undefined where no seen name competes."""
        competes = bool(set(self._protocol.vocabulary_classes) & set(self._protocol.groups["seen"]))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = 100.0 * lost / unseen
        return np.where((unseen > 0) & competes, share, np.nan)


def run_sample(
    protocol: Protocol,
    records: Sequence[RecordLike],
    sums: Sequence[ClassSums] | None = None,
    convention: str | None = None,
) -> Sample:
    """The run as a `Sample`: names of `ScoreColumns`, then those of `TemporalColumns`.

    Args:
        sums: the records' `class_sums` under the same convention, where the caller has them already.
        convention: id of a convention; default: the protocol's.

    Raises:
        UserError: an unknown convention.
        IntegrityError: labels that the protocol does not know.
    """
    rule = rule_for(protocol, convention)
    if sums is None:
        sums = sums_of(protocol, [r.counts for r in records], rule)
    columns = ScoreColumns(protocol, rule)
    temporal = TemporalColumns(protocol, backends_of([r.counts for r in records]))
    rows = [
        np.concatenate([columns.row(s), temporal.row(r.counts)]) for r, s in zip(records, sums, strict=True)
    ]
    return Sample(
        units=tuple(r.video_id for r in records),
        sums=np.array(rows, np.float64).reshape(len(records), columns.width + temporal.width),
        names=(*columns.names, *temporal.names),
        scores=partial(_all_scores, columns, temporal),
    )


def _all_scores(columns: ScoreColumns, temporal: TemporalColumns, sums: Floats) -> Floats:
    parts = (columns.scores(sums[:, : columns.width]), temporal.scores(sums[:, columns.width :]))
    return np.concatenate(parts, axis=1)


def rule_for(protocol: Protocol, convention_id: str | None) -> Convention:
    """The convention of that id, the protocol's for None; raises `UserError` for an unknown one."""
    return convention(protocol.convention if convention_id is None else convention_id)


__all__ = [
    "ClassSums",
    "RecordLike",
    "ScoreColumns",
    "class_sums",
    "rule_for",
    "run_sample",
    "score_names",
    "sums_of",
    "total_sums",
]
