"""Neighbouring label maps of a video compared along the flows that a run asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video
from ovbench.metrics.flow import Flow, FlowCounter
from ovbench.metrics.videocounts import FlowCounts

from .base import FlowBackend
from .open import FlowSpec, open_backend


class FlowSet:
    """The backends of a run, built once; `video` begins a video.

    A backend that is asked for with and without the forward-backward check is built, and its forward flow
    computed, once.
    """

    def __init__(self, specs: Sequence[FlowSpec], threads: int = 1, device: str = "cpu") -> None:
        self.specs = tuple(specs)
        self._backends: dict[tuple[str, Path | None], FlowBackend] = {}
        for spec in specs:
            if (spec.kind, spec.path) not in self._backends:
                self._backends[spec.kind, spec.path] = open_backend(spec, threads, device)

    def video(self, video: Video) -> FlowComparison:
        """A comparison that takes the video's label maps in order."""
        return FlowComparison(self, video)

    def flows(self, video: Video, frame: int) -> dict[str, tuple[Flow, Flow | None]]:
        """Name -> the flow from `frame` to the next one, and the way back where it is to be checked."""
        forward: dict[tuple[str, Path | None], Flow] = {}
        found: dict[str, tuple[Flow, Flow | None]] = {}
        for spec in self.specs:
            key = (spec.kind, spec.path)
            backend = self._backends[key]
            if key not in forward:
                forward[key] = backend.of(video, frame, frame + 1)
            back = backend.of(video, frame + 1, frame) if spec.checked else None
            found[spec.name] = (forward[key], back)
        return found


class FlowComparison:
    """Takes the label maps of one video, frame by frame; only one of them stays in memory."""

    def __init__(self, flows: FlowSet, video: Video) -> None:
        self._flows, self._video = flows, video
        self._counters = {spec.name: FlowCounter() for spec in flows.specs}
        self._last: LabelMap | None = None
        self._frame = -1

    def skip(self) -> None:
        """The next frame has no label map: it is in no pair."""
        self._frame += 1
        self._last = None

    def update(self, label_map: LabelMap) -> None:
        """The next frame.

        Raises:
            UserError: a flow cannot be computed, or has another size than the label maps; or these are not
                all of one size.
            IncompleteError: a flow that should lie on disk does not.
        """
        self._frame += 1
        last, first = self._last, self._frame - 1
        if last is not None and last.shape != label_map.shape:
            raise UserError(
                f"the label map is {_size(label_map)}, that of the frame before {_size(last)} (height x width): "
                "nothing flows between them",
                where=f"video '{self._video.id}', frame '{self._video.frame_names[self._frame]}'",
                hint="label maps must have their frame's own size, also on frames without truth",
            )
        if last is not None:
            for name, (flow, back) in self._flows.flows(self._video, first).items():
                self._check(name, first, label_map.shape, flow, back)
                self._counters[name].add(first, last, label_map, flow, back)
        self._last = label_map.copy()

    def finish(self) -> dict[str, FlowCounts]:
        """The counts of all pairs, by backend."""
        return {name: counter.finish() for name, counter in self._counters.items()}

    def _check(self, name: str, frame: int, shape: tuple[int, ...], flow: Flow, back: Flow | None) -> None:
        for found in (flow, back):
            if found is not None and found.shape != (*shape, 2):
                raise UserError(
                    f"the flow '{name}' is {found.shape[0]}x{found.shape[1]}, the label maps are "
                    f"{shape[0]}x{shape[1]} (height x width)",
                    where=f"video '{self._video.id}', frame '{self._video.frame_names[frame]}'",
                    hint="flow is needed at the label maps' own size",
                )


def _size(label_map: LabelMap) -> str:
    return "x".join(map(str, label_map.shape))
