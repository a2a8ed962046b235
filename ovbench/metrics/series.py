"""Joint histograms of many frames, kept small: a few dozen entries a frame, packed in JSON."""

from __future__ import annotations

import base64
import binascii
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVEL = 3  # of zlib
_BYTES = range(1, 5)  # that a number may take
_CHUNK = 1 << 15
_TABLE_CELLS = 1 << 20  # sums over more pairs than this are kept sparse

Ints = NDArray[np.int32]
Columns = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _none() -> Ints:
    return np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class JointSeries:
    """Sparse joint histograms, one per frame (or pair of frames).

    Attributes:
        index: (F,) int32 frame numbers, ascending.
        entries: (F,) int32, how many of the E entries belong to each frame, in order.
        truth, prediction, pixels: (E,) int32; within a frame sorted by (truth, prediction), each pair
            once, pixels >= 1. Prediction -1 is "other".
    """

    index: Ints = field(default_factory=_none)
    entries: Ints = field(default_factory=_none)
    truth: Ints = field(default_factory=_none)
    prediction: Ints = field(default_factory=_none)
    pixels: Ints = field(default_factory=_none)

    @classmethod
    def of(cls, frames: Iterable[tuple[int, Any, Any, Any]]) -> JointSeries:
        """From (frame number, truth, prediction, pixels) with canonical columns per frame."""
        builder = SeriesBuilder()
        for row in frames:
            builder.add(*row)
        return builder.series()

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[tuple[int, Ints, Ints, Ints]]:
        """(frame number, truth, prediction, pixels) of each frame."""
        end = 0
        for index, count in zip(self.index.tolist(), self.entries.tolist(), strict=True):
            start, end = end, end + count
            yield index, self.truth[start:end], self.prediction[start:end], self.pixels[start:end]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JointSeries):
            return NotImplemented
        pairs = zip(self._columns(), other._columns(), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def frame_of_entry(self) -> NDArray[np.int64]:
        """(E,) position of each entry's frame in `index`."""
        return np.repeat(np.arange(len(self)), self.entries)

    def total(self, frames: NDArray[np.bool_] | None = None) -> Columns:
        """Truth, prediction and pixels added up over all frames, or those that `frames` marks: the columns of a
        `Joint`, in canonical order."""
        truth, prediction, pixels = self.truth, self.prediction, self.pixels
        if frames is not None:
            chosen = np.repeat(frames, self.entries)
            truth, prediction, pixels = truth[chosen], prediction[chosen], pixels[chosen]
        if not len(truth):
            return (), (), ()
        first, width = int(truth.min()), int(prediction.max()) + 2
        cells = (int(truth.max()) - first + 1) * width
        if cells < _TABLE_CELLS:
            table = np.zeros(cells)
            for begin in range(0, len(truth), _CHUNK):  # a long video needs no more memory than a short one
                part = slice(begin, begin + _CHUNK)
                code = (truth[part] - first) * width + prediction[part] + 1
                table += np.bincount(code, pixels[part], cells)
            pairs = np.flatnonzero(table > 0)
            sums = table[pairs].astype(np.int64)
        else:
            code = (truth.astype(np.int64) - first) * width + prediction + 1
            pairs, place = np.unique(code, return_inverse=True)
            sums = np.bincount(place.reshape(-1), pixels, len(pairs)).astype(np.int64)
        columns = (pairs // width + first, pairs % width - 1, sums)
        first_column, second, third = (tuple(c.tolist()) for c in columns)
        return first_column, second, third

    def to_json(self) -> dict[str, Any]:
        """`packed`: base64 of zlib of the five columns, one after the other, labels plus 1 so that nothing is
        negative: byte 0 (the lowest) of all numbers, then byte 1, ... up to `bytes`, the length of the largest."""
        numbers = np.concatenate(self._columns())
        labels = slice(2 * len(self), 2 * len(self) + 2 * len(self.truth))
        numbers[labels] += 1
        count = max(1, -(-int(numbers.max(initial=0)).bit_length() // 8))
        planes = numbers.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)[:, :count].T.tobytes()
        packed = base64.b64encode(zlib.compress(planes, _LEVEL)).decode("ascii")
        return {"frames": len(self), "entries": len(self.truth), "bytes": count, "packed": packed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> JointSeries:
        """The inverse of `to_json`; raises `ValueError` for anything it would not have written."""
        frames, entries, count = (value[name] for name in ("frames", "entries", "bytes"))
        if (
            {type(frames), type(entries), type(count)} != {int}
            or min(frames, entries) < 0
            or count not in _BYTES
        ):
            raise ValueError("a series without its sizes")
        size = count * (2 * frames + 3 * entries)
        try:
            inflate = zlib.decompressobj()
            data = inflate.decompress(base64.b64decode(value["packed"], validate=True), size + 1)
        except (binascii.Error, zlib.error) as error:
            raise ValueError(f"a packed series is damaged: {error}") from error
        if len(data) != size or not inflate.eof and size:
            raise ValueError("a packed series has another length than it says")
        planes = np.frombuffer(data, np.uint8).reshape(count, -1)
        numbers = planes[0].astype(np.int32)
        for place, plane in enumerate(planes[1:], 1):
            numbers |= plane.astype(np.int32) << 8 * place
        numbers[2 * frames : 2 * frames + 2 * entries] -= 1
        series = cls(*np.split(numbers, np.cumsum([frames, frames, entries, entries])))
        series._check()
        return series

    def _columns(self) -> tuple[Ints, ...]:
        return self.index, self.entries, self.truth, self.prediction, self.pixels

    def _check(self) -> None:
        if (np.diff(self.index) <= 0).any() or (self.index < 0).any() or (self.entries < 0).any():
            raise ValueError("a series whose frames are not in order")
        if self.entries.sum() != len(self.truth):
            raise ValueError("a series whose frames do not hold its entries")
        if (self.pixels < 1).any() or (self.prediction < -1).any() or (self.truth < -1).any():
            raise ValueError("a series with an impossible entry")
        later, same = np.diff(self.truth), np.diff(self.prediction)
        wrong = (later < 0) | ((later == 0) & (same <= 0))
        starts = np.cumsum(self.entries)[:-1]
        wrong[starts[(starts > 0) & (starts < len(self.truth))] - 1] = False
        if wrong.any():
            raise ValueError("a series that is not in canonical order")


class SeriesBuilder:
    """Takes joint histograms frame by frame; a frame takes little more than its entries' 12 bytes each."""

    def __init__(self) -> None:
        self._columns = tuple(array("i") for _ in range(5))

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, index: int, truth: NDArray[Any], prediction: NDArray[Any], pixels: NDArray[Any]) -> None:
        """Frame number `index`, larger than the last; columns in canonical order."""
        indices, entries, *columns = self._columns
        indices.append(index)
        entries.append(len(truth))
        for column, values in zip(columns, (truth, prediction, pixels), strict=True):
            column.frombytes(np.ascontiguousarray(values, np.int32).data.cast("B"))

    def series(self) -> JointSeries:
        """Everything added so far, without a copy: nothing can be added any more."""
        return JointSeries(*(np.frombuffer(c, np.int32) if c else _none() for c in self._columns))
