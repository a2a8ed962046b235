"""A window that slides over the frames of a video: what the wrappers that use neighbouring frames have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ovbench.core.errors import UserError
from ovbench.datasets.base import Video, VideoView

T = TypeVar("T")

MOST_FRAMES = 255


def check_window(option: str, window: int) -> None:
    """Raise `UserError` for a window that holds no frame or more votes than a byte counts."""
    if not 1 <= window <= MOST_FRAMES:
        raise UserError(
            f"option '{option}' cannot be {window}", hint=f"give a number from 1 to {MOST_FRAMES}"
        )


def reach(window: int) -> tuple[int, int]:
    """How many frames before and after the current one a window holds.

    Odd: as many before as after. Even: one more before than after, so 4 means offsets -2, -1, 0, +1.
    """
    return window // 2, (window - 1) // 2


def sliding(items: Iterable[T], before: int, after: int) -> Iterator[tuple[deque[T], int]]:
    """For each item in turn: the window around it and its position there; shorter at both ends.

    At most `after` items are looked ahead, and at most `before + 1 + after` are held. The deque is one and
    the same throughout, and changes when the iterator moves on.
    """
    held: deque[T] = deque()
    current = 0  # position in `held` of the next item to give out
    for item in items:
        held.append(item)
        if len(held) - 1 - current == after:
            yield held, current
            current = _forward(held, current, before)
    while current < len(held):
        yield held, current
        current = _forward(held, current, before)


def _forward(held: deque[T], current: int, before: int) -> int:
    """Move on by one item, dropping the one that left the window."""
    if current < before:
        return current + 1
    held.popleft()
    return current


class WindowView(VideoView):
    """The same video; wanted are also the frames in the window around a wanted one."""

    def __init__(self, inner: Video, before: int, after: int) -> None:
        super().__init__(inner)
        self._before, self._after = before, after

    def wanted(self, index: int) -> bool:
        first, last = max(0, index - self._after), min(len(self) - 1, index + self._before)
        return any(self._inner.wanted(i) for i in range(first, last + 1))
