"""Random numbers, sines and noise made of integers only, hence the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

TURN = 1024
"""Angles are counted in 1/1024 of a full turn."""
ONE = 4096
"""Sines are scaled so that 1.0 is 4096."""


class Stream:
    """A stream of integers from a name: SHA-256 in counter mode."""

    def __init__(self, *name: object) -> None:
        self._key = hashlib.sha256("/".join(map(str, name)).encode()).digest()
        self._count = 0
        self._buffer = b""

    def bits32(self) -> int:
        """The next 32 random bits."""
        if not self._buffer:
            self._buffer = hashlib.sha256(self._key + self._count.to_bytes(8, "big")).digest()
            self._count += 1
        word, self._buffer = self._buffer[:4], self._buffer[4:]
        return int.from_bytes(word, "big")

    def between(self, low: int, high: int) -> int:
        """An integer of low..high, both included."""
        return low + (self.bits32() * (high - low + 1) >> 32)

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 cases."""
        return self.between(0, 99) < percent

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.between(0, len(items) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher-Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.between(0, i)
            out[i], out[j] = out[j], out[i]
        return out


@lru_cache(maxsize=1)
def _sine_table() -> NDArray[np.int32]:
    scale = 10**30
    pi = 3141592653589793238462643383279  # times 10**30
    quarter = []
    for i in range(TURN // 4 + 1):
        x = 2 * pi * i // TURN
        term, total, n = x, x, 1
        while term:
            term = -term * x // scale * x // scale // ((n + 1) * (n + 2))
            if term == -1:
                break
            total += term
            n += 2
        quarter.append((total * ONE + scale // 2) // scale)
    up = quarter[:-1]
    down = quarter[:0:-1]
    half = up + down
    return np.asarray(half + [-v for v in half], np.int32)


def sine(angle: int) -> int:
    """4096 * sin of an angle in 1/1024 turns."""
    return int(_sine_table()[angle % TURN])


def cosine(angle: int) -> int:
    """4096 * cos of an angle in 1/1024 turns."""
    return sine(angle + TURN // 4)


def sines(angles: NDArray[np.int32]) -> NDArray[np.int32]:
    """`sine` for an array of angles."""
    return np.asarray(_sine_table()[angles & (TURN - 1)])


def noise(key: int, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Bell-shaped integer noise, mean 0, standard deviation 147.8 (sum of four random bytes - 510).

    A 32-bit mixing function of (key, position); no state, so any frame can be made alone.
    """
    x = np.arange(int(np.prod(shape)), dtype=np.uint32)
    x = x * np.uint32(0x9E3779B1) + np.uint32(key & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    total = x.view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.int32)
    return np.asarray(total - 510).reshape(shape)
