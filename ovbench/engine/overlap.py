"""Reading ahead and writing behind: a thread each, so that decoding and encoding overlap with the method.

Neither changes a label map, a count or an error: what a thread has read or failed to read is handed out for
the frame it belongs to, and a video is published only when all that was queued for it is on disk. Both hold a
fixed number of frames, however long the video is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from ovbench.core.types import Image, LabelMap, RawMask
from ovbench.datasets.base import Video, VideoView

if TYPE_CHECKING:  # a run that does not overlap, and every score, does without
    from concurrent.futures import Future, ThreadPoolExecutor

AHEAD = 8
"""Pictures, and masks, that are read before they are asked for: the next batch of a method on a GPU."""
BEHIND = 8
"""Label maps that wait to be written."""
NOTICEABLE = 0.1
"""Share of a video's time spent on reading and writing from which overlapping is worth two threads on a CPU."""

T = TypeVar("T")


class FrameWriter(Protocol):
    """What takes the label maps of a video, frame by frame."""

    def write(self, frame_name: str, label_map: LabelMap) -> None:
        """Store one frame."""


class Choice:
    """Whether the next video is overlapped.

    Args:
        mode: "always", "never", or "measured": once reading and writing took a noticeable share of a video.
    """

    def __init__(self, mode: str) -> None:
        self.on = mode == "always"
        self._measures = mode == "measured"

    def learn(self, reading_and_writing: float, total: float) -> None:
        """Take the seconds of a video that was not overlapped."""
        if self._measures and reading_and_writing >= NOTICEABLE * total:
            self.on = True


class ReadAhead(VideoView):
    """A video whose next pictures and masks are read by a thread; use as a context manager.

    Reading begins when the first picture, or mask, is asked for: who asks for none pays for none. Frames that
    are asked for out of order are read when they are asked for. All reading is done by that one thread, so
    the video inside need not know of threads. Everything but the pictures is as in the video inside.

    Args:
        inner: the video of the data set.
        frames: how many frames will be looked at; None for all.
        every: False where pictures of frames without truth will not be asked for.

    `seconds` is how long the thread has worked.
    """

    def __init__(self, inner: Video, frames: int | None = None, every: bool = True) -> None:
        super().__init__(inner)
        self.seconds = 0.0
        self._pool = _one_thread("ovbench-read")
        shown = range(len(inner))[:frames]
        labelled = [i for i in shown if inner.annotated(i)]
        self._pictures = _Lane(self._pool, self._timed(inner._decode_image), shown if every else labelled)
        self._masks = _Lane(self._pool, self._timed(inner.truth), labelled)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._images.clear()  # a flow backend may hold on to its last video

    @property
    def listed_files(self) -> int:
        return self._inner.listed_files

    def wanted(self, index: int) -> bool:
        return self._inner.wanted(index)

    def tags(self, index: int) -> Mapping[str, Any]:
        return self._inner.tags(index)

    def fingerprint(self, frames: int | None = None) -> str:
        return self._inner.fingerprint(frames)

    def image(self, index: int) -> Image:
        return Video.image(self, index)  # its window of decoded frames takes the place of the inner one

    def images(self) -> Iterator[Image]:
        return (self.image(i) for i in range(len(self)))

    def truth(self, index: int) -> RawMask:
        return self._masks.take(self._check(index))

    def _decode_image(self, index: int) -> Image:
        return self._pictures.take(index)

    def _timed(self, read: Callable[[int], T]) -> Callable[[int], T]:
        def timed(index: int) -> T:
            began = time.perf_counter()
            try:
                return read(index)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def _one_thread(name: str) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, thread_name_prefix=name)


class _Lane(Generic[T]):
    """Reads the frames of a plan, at most `AHEAD` before they are taken.

    A frame read in vain (skipped by the method) is forgotten once it lies as far back.
    """

    def __init__(self, pool: ThreadPoolExecutor, read: Callable[[int], T], plan: Sequence[int]) -> None:
        self._pool, self._read, self._plan = pool, read, plan
        self._next = 0  # place in the plan of the first frame that is not yet asked of the thread
        self._pending: dict[int, Future[T]] = {}

    def take(self, index: int) -> T:
        """Frame `index`; raises what reading it raised."""
        future = self._pending.pop(index, None)
        in_order = future is not None
        if future is None:
            future = self._pool.submit(self._read, index)
            if self._next < len(self._plan) and self._plan[self._next] == index:
                self._next += 1
                in_order = True
        if in_order:
            self._fill(index)
        return future.result()

    def _fill(self, index: int) -> None:
        for late in [i for i in self._pending if i < index - AHEAD]:
            self._pending.pop(late).cancel()
        while len(self._pending) < AHEAD and self._next < len(self._plan):
            later = self._plan[self._next]
            self._pending[later] = self._pool.submit(self._read, later)
            self._next += 1


class WriteBehind:
    """Hands label maps to a writer in a thread; use as a context manager inside the writer's own.

    Leaving it normally waits until all are written. Leaving it by an error does too, for a label map of an
    earlier frame that could not be written is the error that would have come first; it is raised instead.
    An interrupt drops what waits, and the writer then removes the video's files.

    `seconds` is how long the thread has worked.
    """

    def __init__(self, writer: FrameWriter) -> None:
        self.seconds = 0.0
        self._writer = writer
        self._pool = _one_thread("ovbench-write")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def write(self, frame_name: str, label_map: LabelMap) -> None:
        """Queue one frame, of which a copy is taken; waits while `BEHIND` others are queued.

        Raises:
            OSError: an earlier frame could not be written.
        """
        while self._waiting and (len(self._waiting) >= BEHIND or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._write, frame_name, label_map.copy()))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and not issubclass(kind, Exception)
        try:
            while self._waiting and not stopped:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _write(self, frame_name: str, label_map: LabelMap) -> None:
        if self._failed:
            return  # nobody will see what comes after a frame that could not be written
        began = time.perf_counter()
        try:
            self._writer.write(frame_name, label_map)
        except BaseException:
            self._failed = True
            raise
        finally:
            self.seconds += time.perf_counter() - began
