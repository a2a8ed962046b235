"""What a protocol is: plain frozen data, checked when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .vocabulary import Vocabulary

IGNORE = 255
"""Truth index of pixels that are not evaluated at all (void)."""


@dataclass(frozen=True)
class ClassInfo:
    """One row of a class table. Its position in the table is its *class index*."""

    raw_ids: tuple[int, ...]  # ids in the data set's mask files that mean this class
    name: str  # as the data set (or the paper) spells it
    clean: str  # readable spelling
    synonyms: tuple[str, ...]  # further words, used by the "clean+synonyms" name variant
    seen: bool  # True: masks of this class may be trained on under this protocol
    kind: str  # "thing", "stuff" or "" where nobody has decided
    color: tuple[int, int, int]


@dataclass(frozen=True)
class DatasetSpec:
    """Which frames: data set, splits and the options its reader takes."""

    name: str  # "vspw", "cityscapes", "camvid", "folder", "world"
    split: str
    train_split: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    videos: tuple[str, ...] = ()  # the evaluated videos, in order; () = all of the split


@dataclass(frozen=True)
class Protocol:
    """A loaded protocol. Truth is counted in class indices, predictions in vocabulary indices.

    `vocabulary_classes[v]` is the class index of vocabulary index v, -1 for an extra name: a name that
    a method may answer, but that is no class. Extra names come last.
    `scored_classes` are the class indices whose truth pixels are counted at all;
    truth pixels of any other class are ignored exactly like void.
    """

    id: str
    version: int
    title: str
    description: str
    dataset: DatasetSpec
    classes: tuple[ClassInfo, ...]
    ignore_ids: tuple[int, ...]
    groups: Mapping[str, tuple[int, ...]]  # name -> class indices; always has all, seen, unseen
    vocabulary_mode: str  # "all" | "unseen"
    vocabulary_classes: tuple[int, ...]
    scored: str  # "all" | "unseen"
    scored_classes: tuple[int, ...]
    name_variant: str  # "raw" | "clean" | "clean+synonyms"
    template_set: str
    templates: tuple[str, ...]
    resize: str  # "native": label maps are scored at the size of the mask
    convention: str  # see ovbench.metrics.conventions
    windows: tuple[int, ...]  # window lengths of VC, e.g. (8, 16); () where truth is sparse
    temporal_modes: tuple[str, ...]  # of "script", "clean", "correct"
    headline_group: str  # the group a leaderboard is sorted by ("unseen", "harmonic", ...)
    notes: tuple[str, ...]
    hash: str  # SHA-256 over everything that can change a number
    board: tuple[str, ...] = ()  # rows of the default leaderboard; not part of the hash
    extra_names: tuple[str, ...] = ()  # names beside the classes', e.g. "background"; counted as "other"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What a method is told: names in vocabulary order, in this protocol's name variant."""
        rows = [self.classes[c] for c in self.vocabulary_classes if c >= 0]
        names = [r.name if self.name_variant == "raw" else r.clean for r in rows]
        words = None
        if self.name_variant == "clean+synonyms":
            words = [*((r.clean, *r.synonyms) for r in rows), *((name,) for name in self.extra_names)]
        seen = [*(r.seen for r in rows), *(False for _ in self.extra_names)]
        return Vocabulary([*names, *self.extra_names], seen, words, self.templates)

    @cached_property
    def truth_table(self) -> NDArray[np.uint8]:
        """(65536,) uint8: raw mask id -> class index; IGNORE for void; 254 for ids nobody declared."""
        table = np.full(65536, 254, np.uint8)
        for index, row in enumerate(self.classes):
            table[list(row.raw_ids)] = index
        table[list(self.ignore_ids)] = IGNORE
        return table

    @cached_property
    def class_of_vocabulary(self) -> NDArray[np.int64]:
        """(len(vocabulary),) class index of each vocabulary index; -1 for an extra name."""
        return np.asarray(self.vocabulary_classes, np.int64)

    def raw_ids(self, group: str) -> frozenset[int]:
        """All raw mask ids of a group's classes."""
        return frozenset(i for c in self.groups[group] for i in self.classes[c].raw_ids)
