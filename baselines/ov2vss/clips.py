"""Which frames a clip consists of."""

from __future__ import annotations

from collections.abc import Sequence

OFFSETS = (9, 6, 3, 0)
"""How far before the target the clip's frames lie (the paper's t-9, t-6, t-3 and t)."""


def clip_indices(target: int, offsets: Sequence[int] = OFFSETS) -> list[int]:
    """Frame numbers of a clip, oldest first; before the video's start the first frame is repeated.

    >>> clip_indices(12)
    [3, 6, 9, 12]
    >>> clip_indices(4)
    [0, 0, 1, 4]
    """
    return [max(0, target - offset) for offset in offsets]


def farthest(target: int, length: int) -> int:
    """The frame farthest from the target (the last one where both ends are equally far).

    >>> farthest(2, 10), farthest(8, 10)
    (9, 0)
    """
    return length - 1 if length - 1 - target >= target else 0
