"""Counting frames with the compiled kernel `_count.c`; the same integers as with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ovbench.core.types import OTHER8

from .bits import Flat
from .changes import ChangeCounter
from .codes import TruthCodes
from .framecounts import Finished, Shape
from .joint import Columns, LabelError, Pairs, Runs
from .windows import WindowRows

_CHANGES, _PER_WINDOW = 5, 7  # sums that the kernel gives, as in _count.c
_LONGEST = 255  # frames that its byte counters can tell apart
_MOST_WINDOWS = 16


def fits(pairs: Pairs, codes: TruthCodes, windows: Sequence[int]) -> bool:
    """Whether the kernel can count with these tables: ids, codes and predictions of 8 bits, windows <= 255."""
    few = len(set(windows)) <= _MOST_WINDOWS and max(windows, default=0) <= _LONGEST
    small = not pairs.declared.size or pairs.declared[-1] < 256
    return few and small and codes.dtype == np.uint8 and pairs.names <= OTHER8


class NativeFrames:
    """Counts with the kernel, which keeps the last maps; here is only which of them may be compared."""

    def __init__(self, module: ModuleType, pairs: Pairs, codes: TruthCodes, windows: Sequence[int]) -> None:
        self._module, self._pairs, self._codes = module, pairs, codes
        self._lengths = tuple(sorted(set(windows)))
        self._rows = WindowRows(self._lengths)
        self._changes = ChangeCounter()
        self._kernel: Any = None
        self._shape: Shape = ()
        self.runs: Runs | None = None  # `_count.runs` finds them faster than they could be handed over
        self.skip()

    def skip(self) -> None:
        self._segmented = 0  # frames in a row, up to now
        self._run = 0  # annotated ones

    def update(self, frame: int, raw: Flat | None, prediction: Flat, shape: Shape) -> Columns | None:
        if shape != self._shape:
            self.skip()
            self._kernel, self._shape = self._new_kernel(prediction.size), shape
        if raw is not None and raw.dtype != np.uint8:
            raw = self._narrow(raw)
        known = (self._segmented > 0, self._segmented > 1, raw is not None and self._run > 0)
        pairs, sums = self._kernel.count(raw, prediction, *known)
        try:
            columns = None if raw is None else self._columns(pairs)
        except LabelError:
            self.skip()  # the kernel has seen this frame
            raise
        totals = np.frombuffer(sums, np.int64).tolist()
        if known[0]:
            self._add_changes(frame, prediction.size, totals, known)
        self._segmented += 1
        self._run = 0 if raw is None else self._run + 1
        for place, n in enumerate(self._lengths):
            if self._run >= n:
                begin = _CHANGES + _PER_WINDOW * place
                self._rows.add(n, frame - n + 1, totals[begin : begin + _PER_WINDOW])
        return columns

    def _narrow(self, raw: Flat) -> Flat:
        if raw.max() > 255:  # all declared ids are smaller
            raise LabelError(int(raw[~self._pairs.is_declared[raw]].min()), "truth")
        return raw.astype(np.uint8)

    def finish(self) -> Finished:
        return self._rows.finish(), self._changes.finish()

    def _columns(self, pairs: bytes) -> Columns:
        table = np.frombuffer(pairs, np.uint32).reshape(-1, 2)
        codes, pixels = table[:, 0], table[:, 1]
        return self._pairs.named(codes >> 8, codes & 255, pixels, np.dtype(np.uint8), ordered=True)

    def _add_changes(self, frame: int, size: int, totals: list[int], known: tuple[bool, ...]) -> None:
        kept, aba, scored, scored_changed, truth_changed = totals[:_CHANGES]
        back, both = known[1], known[2]
        self._changes.append(
            (frame, size, size - kept)
            + ((size, aba) if back else (0, 0))
            + ((scored, scored_changed, truth_changed) if both else (0, 0, 0))
        )

    def _new_kernel(self, size: int) -> Any:
        codes = self._codes
        patches = bytes(int(n) for patch in codes.patches or () for n in patch)
        name = None if codes.first_name is None else codes.first_name[:256].astype(np.uint8)
        return self._module.Counter(
            size,
            bytes(self._lengths),
            codes.table[:256].copy(),
            np.where(codes.is_scored, np.uint8(255), np.uint8(0)),
            name,
            patches,
            codes.patches is not None,
            int(codes.shift),
            codes.range or (0, -1),
            codes.aliased,
        )
