"""Truth as codes that can be compared with a prediction pixel by pixel.

Windows need truth and prediction in one alphabet. A look-up table over every pixel costs more than
all other arithmetic of a frame; but codes may be chosen freely, as long as the code of a class that
the vocabulary can name is its vocabulary index. So codes are chosen such that `raw - shift` is
right for nearly all ids, and the few others are patched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_VOIDS = 1 << 20  # past every class index
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
        kinds = _kinds(ids, table)
        code_of = _choose(ids, kinds, class_of_vocabulary.tolist(), frozenset(scored))
        self.dtype = np.dtype(np.uint8 if max(code_of.values(), default=0) < 256 else np.uint16)
        self.table = np.zeros(65536, self.dtype)
        self.table[ids] = [code_of[c] for c in kinds.tolist()]
        self.is_scored = np.zeros(256 if self.dtype == np.uint8 else 65536, np.bool_)
        self.is_scored[[code_of[c] for c in scored if c in code_of]] = True
        self.first_name = _first_names(class_of_vocabulary)
        self.range = _range(self.is_scored, self.table[ids])
        self.shift = np.uint8(0)
        self.patches: Patches | None = None
        if self.dtype == np.uint8:
            self.shift, self.patches = _plan(ids, self.table)
        self._telling = tuple(patch for patch in self.patches or () if self._tells(*patch))
        several = Counter(kinds.tolist())
        self._shared = {i: k for i, k in zip(ids.tolist(), kinds.tolist(), strict=True) if several[k] > 1}

    @property
    def aliased(self) -> bool:
        """Whether two raw ids may have one code, so that equal codes do not mean equal ids."""
        return bool(self._shared)

    def mixed(self, seen: Collection[int]) -> bool:
        """Whether the raw ids `seen` hold two with one code."""
        shared = self._shared.keys() & seen
        return len(shared) > len({self._shared[i] for i in shared})

    def encode(
        self,
        raw: NDArray[Any],
        present: Collection[int],
        out: NDArray[Any],
        scratch: NDArray[np.bool_],
        scored_only: bool = False,
    ) -> None:
        """Flat raw ids -> codes in `out`.

        Args:
            present: the ids that occur. scratch: a mask of the same size.
            scored_only: pixels that are not scored may get any other code that is not scored.
        """
        if raw.dtype != np.uint8 or self.patches is None:
            np.take(self.table, raw, out=out, mode="clip")
            return
        np.subtract(raw, self.shift, out=out)
        for value, change in self._telling if scored_only else self.patches:
            if int(value) in present:
                np.equal(raw, value, out=scratch)
                patch = scratch.view(np.uint8)
                patch *= change
                out ^= patch

    def _tells(self, value: np.uint8, change: np.uint8) -> bool:
        """Whether an id or what its code would be without the patch is scored."""
        plain = np.array([value]) - self.shift
        codes = np.concatenate([plain, plain ^ change])
        found = np.empty(2, np.bool_)
        self.scored(codes, found)
        return bool(found.any())

    def scored(self, codes: NDArray[Any], out: NDArray[np.bool_]) -> None:
        """Which pixels are scored, written to `out`."""
        if self.range is None:
            np.take(self.is_scored, codes, out=out, mode="clip")
        elif self.range[0] == 0:
            np.less(codes, self.range[1], out=out)
        else:
            np.less(codes - codes.dtype.type(self.range[0]), self.range[1], out=out)

    def hits(self, codes: NDArray[Any], prediction: NDArray[Any], out: NDArray[np.bool_]) -> None:
        """Where the prediction names the truth's class, written to `out`; of use on scored pixels only."""
        if self.first_name is not None:
            prediction = self.first_name[prediction]
        np.equal(codes, prediction, out=out)


def _range(scored: NDArray[np.bool_], used: NDArray[Any]) -> tuple[int, int] | None:
    """(first, count) such that the used codes first..first + count - 1 are the scored ones; else None."""
    codes = np.flatnonzero(scored)
    if not codes.size:
        return (0, 0)
    first, last = int(codes[0]), int(codes[-1])
    between = used[(used >= first) & (used <= last)]
    if not scored[between].all() or last - first + 1 > np.iinfo(used.dtype).max:
        return None
    return first, last - first + 1


def _kinds(ids: NDArray[np.int64], table: NDArray[Any]) -> NDArray[Any]:
    """(D,) what each id counts as where constancy is asked: its class, or a void of its own.

    Ids 0 and 255 are one void, as in the VSPW scripts.
    """
    void = np.iinfo(table.dtype).max
    kinds = table[ids].astype(int)
    own = np.where(ids == 255, 0, ids) + _VOIDS if 0 in ids[kinds == void] else ids + _VOIDS
    return np.where(kinds == void, own, kinds)


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
