"""What a flow backend is: pictures in, displacements out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any

from ovbench.core.types import Image
from ovbench.datasets.base import Video
from ovbench.metrics.flow import Flow


class FlowBackend(ABC):
    """Gives the flow between neighbouring frames of a video.

    A flow is (H, W, 2) float32: the displacement [dx, dy] in pixels that leads from each pixel of one frame
    to its place in the other one; x to the right, y down.
    """

    @abstractmethod
    def of(self, video: Video, source: int, target: int) -> Flow:
        """The flow from frame `source` to its neighbour `target`, before or after it."""


class ImageFlow(FlowBackend):
    """A backend that looks at two pictures. What it makes of a picture is kept for the next pair."""

    def __init__(self) -> None:
        self._video: Video | None = None
        self._ready: OrderedDict[int, Any] = OrderedDict()

    @abstractmethod
    def prepare(self, image: Image) -> Any:
        """(H, W, 3) uint8 RGB -> whatever `between` takes; done once per frame."""

    @abstractmethod
    def between(self, first: Any, second: Any) -> Flow:
        """The flow from a prepared picture to another one of the same size."""

    def flow(self, image: Image, following: Image) -> Flow:
        """The flow from one (H, W, 3) uint8 RGB picture to another one of the same size."""
        return self.between(self.prepare(image), self.prepare(following))

    def of(self, video: Video, source: int, target: int) -> Flow:
        if self._video is not video:
            self._video = video
            self._ready.clear()
        return self.between(self._prepared(video, source), self._prepared(video, target))

    def _prepared(self, video: Video, index: int) -> Any:
        if index not in self._ready:
            self._ready[index] = self.prepare(video.image(index))
        self._ready.move_to_end(index)
        while len(self._ready) > 2:
            self._ready.popitem(last=False)
        return self._ready[index]
