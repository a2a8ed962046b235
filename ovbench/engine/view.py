"""The video as a method may see it: pictures, and the truth only where its card says so."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ovbench.core.errors import UserError
from ovbench.core.types import Image, RawMask
from ovbench.datasets.base import Video, VideoView


class MethodView(VideoView):
    """A video cut to its first frames, that hides truth and tags and measures decoding.

    Args:
        inner: the video of the data set.
        frames: how many frames are shown; None for all.
        truth: whether the method may read masks (its card says `needs_truth`).
        every: whether label maps of frames without truth are wanted too (saved, or compared along a flow).
        absent: frames that the method has no label map for.

    `sizes[i]` is (height, width) of every frame that was looked at; `seconds` the time spent
    decoding, or waiting for a thread that does.
    """

    def __init__(
        self,
        inner: Video,
        frames: int | None,
        truth: bool,
        every: bool = True,
        absent: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(inner, frames)
        self._truth, self._every, self._absent = truth, every, absent
        self.sizes: dict[int, tuple[int, int]] = {}
        self.seconds = 0.0

    @property
    def listed_files(self) -> int:
        if len(self) == len(self._inner):
            return self._inner.listed_files
        return min(self._inner.listed_files, len(self))

    def wanted(self, index: int) -> bool:
        return self.annotated(index) or (self._every and index not in self._absent)

    def image(self, index: int) -> Image:
        began = time.perf_counter()
        image = self._inner.image(self._check(index))
        return self._seen(index, image, began)

    def images(self) -> Iterator[Image]:
        return (
            self.image(i) for i in range(len(self))
        )  # whether threads read ahead is decided by the worker

    def truth(self, index: int) -> RawMask:
        if not self._truth:
            raise UserError(
                "the method asked for the truth",
                where=f"video '{self.id}', frame '{self.frame_names[index]}'",
                hint="only control rows whose card says needs_truth = true may do that",
            )
        return super().truth(index)

    def _seen(self, index: int, image: Image, began: float) -> Image:
        self.seconds += time.perf_counter() - began
        self.sizes[index] = (image.shape[0], image.shape[1])
        return image
