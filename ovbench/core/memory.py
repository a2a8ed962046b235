"""One setting of the C library's allocator that matters to whoever handles a frame at a time."""

from __future__ import annotations

from functools import cache

import numpy as np

_LARGEST_KEPT = 8 << 20  # bytes; several label maps of 1080p


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory of freed label maps instead of returning it between frames.

    glibc hands freed memory back to the system above a limit that starts low, and fresh pages then cost more
    than inflating a mask (measured: 84 page faults and 0.16 ms a frame). The limit follows the largest mapped block
    that was ever freed (mallopt(3), M_MMAP_THRESHOLD), so one large block, never touched, is allocated and freed.
    The most memory that is in use at a time does not change. With another C library nothing happens.
    """
    block = np.empty(_LARGEST_KEPT, np.uint8)
    del block
