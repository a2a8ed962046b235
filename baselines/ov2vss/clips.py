"""Which frames a clip consists of, by profile."""

from __future__ import annotations

from collections.abc import Sequence

OFFSETS = (9, 6, 3, 0)
"""How far before the target the clip's frames lie (the paper's t-9, t-6, t-3 and t)."""

REACH = OFFSETS[0]
"""No clip looks further back than this, the far frame aside."""

_EARLY = {
    3: (0, 1, 2, 3),
    4: (0, 2, 3, 4),
    5: (0, 2, 4, 5),
    6: (0, 2, 4, 6),
    7: (0, 3, 5, 7),
    8: (0, 3, 6, 8),
}
"""What the released code takes for t-9, t-6, t-3 and t where the video has no t-9 yet."""


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


def released_clip(target: int) -> tuple[int, ...]:
    """Frame numbers of the released code's clip, oldest first; only the target where it has no references.

    >>> released_clip(12), released_clip(8), released_clip(2)
    ((3, 6, 9, 12), (0, 3, 6, 8), (2,))
    """
    if target >= REACH:
        return tuple(target - offset for offset in OFFSETS)
    return _EARLY.get(target, (target,))


def released_far(target: int, length: int) -> int:
    """The released code's far frame: the last frame, or 0.

    It holds the distance to the video's end against the number of the oldest reference, not against the target's
    own, hence changes over at t > (length + 9) / 2 instead of the middle.

    >>> [released_far(t, 31) for t in (9, 15, 19, 20, 30)]
    [30, 30, 30, 0, 0]
    """
    return length - 1 if length - target > released_clip(target)[0] else 0
