"""The draws of NumPy's `RandomState`, a stream that NumPy has frozen, without loading `numpy.random`.

That module costs a short command a tenth of its time. Python's own generator is the same Mersenne Twister
(Matsumoto and Nishimura, 1998); what differs is how a seed fills its state, and how words become numbers below a bound.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

_WORDS = 624  # of the generator's state
_FILL = 1_812_433_253  # multiplier of the published initialisation


class Draws:
    """The numbers of `RandomState(seed).randint(0, below, dtype=int64)`, however they are asked for in parts.

    Args:
        seed: 0 .. 2**32 - 1.
    """

    def __init__(self, seed: int) -> None:
        state = [seed]
        for i in range(1, _WORDS):
            state.append((_FILL * (state[-1] ^ state[-1] >> 30) + i) % 2**32)
        self._generator = random.Random()
        self._generator.setstate((3, (*state, _WORDS), None))

    def integers(self, below: int, count: int) -> NDArray[np.int64]:
        """(count,) numbers 0 .. below - 1; `below` at most 2**32 - 1. One that is 1 draws nothing."""
        if below == 1:
            return np.zeros(count, np.int64)
        mask = np.uint32((1 << (below - 1).bit_length()) - 1)
        found = np.empty(count, np.int64)
        done = 0
        while done < count:  # words whose masked value is too large are thrown away
            words = np.frombuffer(self._generator.randbytes(4 * (count - done)), "<u4") & mask
            kept = words[words < below]
            found[done : done + len(kept)] = kept
            done += len(kept)
        return found
