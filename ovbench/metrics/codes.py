"""Truth as codes that can be compared with a prediction pixel by pixel.

Windows need truth and prediction in one alphabet. A look-up table over every pixel costs more than
all other arithmetic of a frame; but codes may be chosen freely, as long as the code of a class that
the vocabulary can name is its vocabulary index. So codes are chosen such that `raw - shift` is
right for nearly all ids, and the few others are patched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_MAX_PATCHES = 8  # beyond this the look-up table is cheaper

Patches: TypeAlias = tuple[tuple[np.uint8, np.uint8], ...]


def declared_ids(table: NDArray[Any]) -> NDArray[np.int64]:
    """Raw ids that may occur, ascending: those whose entry is not the second largest of the table's dtype."""
    undeclared = 254 if table.dtype == np.uint8 else 65534
    return np.flatnonzero(table != undeclared).astype(np.int64)


class TruthCodes:
    """Maps raw ids to codes and tells which codes are scored.

    Args:
        table: (65536,) raw id -> class index; the largest value of its dtype is void, the one
            below it undeclared.
        class_of_vocabulary: (V,) class index of each name, -1 for a name without a class.
        scored: class indices whose truth pixels are scored.
    """

    def __init__(
        self, table: NDArray[Any], class_of_vocabulary: NDArray[np.int64], scored: Sequence[int]
    ) -> None:
        ids = declared_ids(table)
        classes = table[ids].astype(int)
        code_of = _choose(ids, classes, class_of_vocabulary.tolist(), frozenset(scored))
        self.dtype = np.dtype(np.uint8 if max(code_of.values(), default=0) < 256 else np.uint16)
        self._table = np.zeros(65536, self.dtype)
        self._table[ids] = [code_of[c] for c in classes.tolist()]
        self._scored = np.zeros(256 if self.dtype == np.uint8 else 65536, np.bool_)
        self._scored[[code_of[c] for c in scored if c in code_of]] = True
        self._first_name = _first_names(class_of_vocabulary)
        count = int(self._scored.sum())
        self._prefix = count if self._scored[:count].all() else None
        self._shift = np.uint8(0)
        self._patches: Patches | None = None
        if self.dtype == np.uint8:
            self._shift, self._patches = _plan(ids, self._table)

    def encode(self, raw: NDArray[Any], out: NDArray[Any], scratch: NDArray[np.bool_]) -> None:
        """Flat raw ids (declared ones only) -> codes in `out`; `scratch` is a mask of the same size."""
        if raw.dtype != np.uint8 or self._patches is None:
            np.take(self._table, raw, out=out, mode="clip")
            return
        np.subtract(raw, self._shift, out=out)
        for value, change in self._patches:
            np.equal(raw, value, out=scratch)
            patch = scratch.view(np.uint8)
            patch *= change
            out ^= patch

    def scored(self, codes: NDArray[Any], out: NDArray[np.bool_]) -> None:
        """Which pixels are scored, written to `out`."""
        if self._prefix is not None:
            np.less(codes, self._prefix, out=out)
        else:
            np.take(self._scored, codes, out=out, mode="clip")

    def right(
        self, codes: NDArray[Any], prediction: NDArray[Any], scored: NDArray[np.bool_], out: NDArray[np.bool_]
    ) -> None:
        """Which scored pixels are predicted as their class, written to `out`."""
        if self._first_name is not None:
            prediction = self._first_name[prediction]
        np.equal(codes, prediction, out=out)
        out &= scored


def _first_names(class_of_vocabulary: NDArray[np.int64]) -> NDArray[np.uint16] | None:
    """(65536,) each index -> the first index of the same class; None where no two names share a class."""
    first: dict[int, int] = {}
    table = np.arange(65536, dtype=np.uint16)
    for index, class_index in enumerate(class_of_vocabulary.tolist()):
        table[index] = first.setdefault(class_index, index) if class_index >= 0 else index
    return None if (table == np.arange(65536)).all() else table


def _choose(
    ids: NDArray[Any], classes: NDArray[Any], vocabulary: list[int], scored: frozenset[int]
) -> dict[int, int]:
    """Class index (or void) -> code: its first vocabulary index, else a free code past the vocabulary."""
    code_of: dict[int, int] = {}
    for index, class_index in enumerate(vocabulary):
        if class_index >= 0:
            code_of.setdefault(class_index, index)
    first: dict[int, int] = {}
    for raw, class_index in zip(ids.tolist(), classes.tolist(), strict=True):
        first.setdefault(class_index, raw)
    votes = Counter((raw - code_of[c]) % 256 for c, raw in first.items() if c in code_of)
    shift = votes.most_common(1)[0][0] if votes else 0
    taken = set(range(len(vocabulary))) | set(code_of.values())
    free = (c for c in range(len(vocabulary), 1 << 17) if c not in taken and c % 256 != 255)
    for class_index, raw in first.items():
        if class_index in code_of:
            continue
        wish = (raw - shift) % 256
        # 255 in a prediction says "other": no scored class may look like it.
        barred = wish in taken or (wish == 255 and class_index in scored)
        code_of[class_index] = next(free) if barred else wish
        taken.add(code_of[class_index])
    return code_of


def _plan(ids: NDArray[Any], table: NDArray[Any]) -> tuple[np.uint8, Patches | None]:
    """The shift that is right for most 8-bit ids, and (id, xor) patches; None: use the table."""
    small = ids[ids < 256].astype(np.uint8)
    if not small.size:
        return np.uint8(0), None
    shift = np.uint8(np.bincount(small - table[small], minlength=256).argmax())
    change = (small - shift) ^ table[small]
    wrong = np.flatnonzero(change)
    if wrong.size > _MAX_PATCHES:
        return shift, None
    return shift, tuple((small[i], change[i]) for i in wrong)
