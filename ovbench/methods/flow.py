"""Neighbouring frames carried along optical flow to the current one, then fused: `+vote` where things move.

A plain vote compares what neighbouring frames say about the same place in the picture. Here they are asked
about the same thing: flows are chained from the current frame to each neighbour, and every pixel fetches what
the neighbour says where the flow leads. Where a flow leaves the picture, or the way back does not confirm it (the
thing is hidden there, or a bad frame has misled the flow), no motion is known and none is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap, other_of
from ovbench.datasets.base import Video
from ovbench.flow.base import FlowBackend
from ovbench.flow.open import FlowSpec, open_backend
from ovbench.flow.opencv import TooSmall
from ovbench.metrics.flow import Flow, landing, occluded
from ovbench.protocol.vocabulary import Vocabulary

from .base import FrameSegmenter, Segmenter, check_image, check_video, place, unused
from .labels import label_dtype
from .window import WindowView, check_window, reach, sliding

FLOW_OPTIONS: dict[str, Any] = {
    "flow_window": 4,
    "flow_fuse": "labels",
    "flow_backend": "dis",
    "flow_unconfirmed": "stay",
    "flow_decay": 1.0,
}
"""The window is that of `+vote`, and neighbours count as much as there: what differs between the two twins is
the motion alone, and only where it is confirmed. Masks of the world's training clips speak for "stay"
(benchmarks/flow_twin.py): there the right class of an unconfirmed pixel is found where it was in 96 % of cases,
where the flow leads in 84 % (it may leave the picture); of a confirmed one, in 95 % and 97 %."""

FLOW_CHOICES = {
    "flow_fuse": ("labels", "scores"),
    "flow_backend": ("dis", "dis-fast", "dis-ultrafast", "farneback"),
    "flow_unconfirmed": ("stay", "drop", "follow"),
}

Scores = NDArray[np.float32]
Scorer = Callable[[Image], Scores]
T = TypeVar("T")


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `UserError` for a value out of its range."""
    check_window("flow_window", options["flow_window"])
    if not 0 < options["flow_decay"] <= 1:
        raise UserError(
            f"option 'flow_decay' cannot be {options['flow_decay']}",
            hint="give a number above 0, up to 1: what a neighbour counts, per frame that it is away",
        )


def check_stored(options: Mapping[str, Any]) -> None:
    """Raise `UserError` where label maps from disk are not enough."""
    if options["flow_fuse"] == "scores":
        raise UserError(
            "scores are fused here, and a run saves label maps only",
            where="--set flow_fuse=scores",
            hint="leave --from out, or fuse label maps (flow_fuse=labels)",
        )


def key(options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the flow besides the pictures and our code; raises `UserError` where OpenCV is missing."""
    from ovbench.flow.opencv import options as settings

    return settings(options["flow_backend"])


def wrap(inner: Segmenter, options: Mapping[str, Any]) -> Segmenter:
    """The wrapper with its options, by name."""
    return FlowSegmenter(inner, **{name.removeprefix("flow_"): options[name] for name in FLOW_OPTIONS})


class FlowSegmenter(Segmenter):
    """Fuses a window of frames after carrying each of them to the current one.

    Args:
        inner: the method whose label maps or scores are fused.
        window: number of frames, placed as `ovbench.methods.window.reach` says: 4 means offsets -2, -1, 0, +1.
        fuse: "labels": each pixel takes the label with most votes; ties go to the current frame, then to the
            nearest (the earlier one of two), as in `VoteSegmenter`. "scores": the argmax of the weighted sum of
            the scores, for methods that look at single frames and give scores; "other" where every sum is 0:
            so say methods that abstain, and nobody else in the window has said anything.
        backend: an OpenCV flow of `ovbench.flow.open.KINDS`, always computed by one thread.
        unconfirmed: what becomes of a pixel whose flow leaves the picture, or that the way back does not confirm
            (`ovbench.metrics.flow.occluded`). "stay": it is sought where it is, as in a plain vote. "drop": the
            neighbour, and those beyond, say nothing about it. "follow": no check; "drop" outside the picture.
        decay: what a frame counts is `decay` to the power of its distance.

    Flows between neighbours are added up along the way, each hop read at the pixel nearest to where the flow so
    far leads; only then is a label fetched. Memory: `window` label maps and their flows; with "scores" that many
    (K, H, W) float32 arrays.

    Raises:
        UserError: OpenCV is missing; "scores" from a method that gives none; pictures too small for the flow.
    """

    def __init__(
        self,
        inner: Segmenter,
        window: int = 4,
        fuse: str = "labels",
        backend: str = "dis",
        unconfirmed: str = "stay",
        decay: float = 1.0,
    ) -> None:
        check_options({"flow_window": window, "flow_decay": decay})
        self.inner, self.window, self.fuse, self.decay = inner, window, fuse, decay
        self.before, self.after = reach(window)
        self.backend, self.unconfirmed = backend, unconfirmed
        self._scorer = _scorer(inner) if fuse == "scores" else None
        self._backend = open_backend(FlowSpec(backend))

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        self.inner.prepare(vocabulary)

    def segment(self, video: Video) -> Iterator[LabelMap]:
        paths = _Paths(self._backend, check_video(video), self.unconfirmed)
        if self._scorer is not None:
            dtype = label_dtype(len(self.vocabulary))
            for carried in self._carried(self._scores(video), video, paths):
                yield unused() if carried is None else _best(carried, dtype)
            return
        seen = WindowView(video, self.before, self.after)
        for carried in self._carried(self.inner.segment(seen), video, paths):
            yield unused() if carried is None else _majority(carried)

    def absent(self, video: Video) -> frozenset[int]:
        return self.inner.absent(video)

    def facts(self) -> dict[str, Any]:
        return {
            **self.inner.facts(),
            **{name: getattr(self, name.removeprefix("flow_")) for name in FLOW_OPTIONS},
        }

    def _scores(self, video: Video) -> Iterator[Scores]:
        """(K, H, W) of every frame that is in somebody's window."""
        assert self._scorer is not None
        seen = WindowView(video, self.before, self.after)
        for index in range(len(video)):
            if seen.wanted(index):
                yield self._scorer(check_image(video.image(index), place(video, index)))
            else:
                yield np.empty((1, 1, 1), np.float32)

    def _carried(
        self, frames: Iterator[NDArray[Any]], video: Video, paths: _Paths
    ) -> Iterator[list[_Carried] | None]:
        """What the window's frames say about each pixel of the current one, nearest first; None: not wanted.

        `frames` are (H, W) label maps or (K, H, W) scores. Frames of another size than the current one say
        nothing, nor does what lies beyond them. More of them than the video has are for the engine to name.
        """
        for index, (held, current) in enumerate(sliding(frames, self.before, self.after)):
            paths.forget(index - current)
            if index >= len(video) or not video.wanted(index):
                yield None
                continue
            now = held[current]
            found = [_Carried(now, None, 1.0)]
            for step in (-1, 1):
                path: Flow | None = None
                for place_ in range(current + step, len(held) if step > 0 else -1, step):
                    away = place_ - current
                    if index + away >= len(video) or held[place_].shape != now.shape:
                        break
                    path = paths.extend(path, index + away - step, index + away)
                    if path is None or path.shape[:2] != now.shape[-2:]:
                        break  # label maps of a wrong size are for the engine to name
                    where, valid = landing(path)
                    fetched = np.take(held[place_].reshape(*now.shape[:-2], -1), where, axis=-1)
                    found.append(_Carried(fetched, valid, self.decay ** abs(away), away))
            found.sort(key=lambda c: (abs(c.away), c.away))
            yield found


class _Carried:
    """A frame as seen from the current one: values per pixel, where they are valid (None: all), their weight."""

    def __init__(
        self, values: NDArray[Any], valid: NDArray[np.bool_] | None, weight: float, away: int = 0
    ) -> None:
        self.values, self.valid, self.weight, self.away = values, valid, weight, away


class _Paths:
    """The flows of one video between neighbours, each computed once while it is needed."""

    def __init__(self, backend: FlowBackend, video: Video, unconfirmed: str) -> None:
        self._backend, self._video, self._unconfirmed = backend, video, unconfirmed
        self._flows: dict[tuple[int, int], Flow] = {}  # as the backend gives them
        self._hops: dict[tuple[int, int], Flow] = {}
        self._sizes: dict[int, tuple[int, ...]] = {}

    def extend(self, path: Flow | None, source: int, target: int) -> Flow | None:
        """The path (None: it begins at `source`) and on to the neighbour `target`; None where sizes differ."""
        if self._size(source) != self._size(target):
            return None
        if (source, target) not in self._hops:
            self._hops[source, target] = self._hop(source, target)
        hop = self._hops[source, target]
        return hop if path is None else chained(path, hop)

    def forget(self, first: int) -> None:
        """Drop the flows of frames before `first`."""
        for flows in (self._flows, self._hops):
            for pair in [pair for pair in flows if min(pair) < first]:
                del flows[pair]

    def _size(self, index: int) -> tuple[int, ...]:
        if index not in self._sizes:
            self._sizes[index] = self._video.image(index).shape[:2]
        return self._sizes[index]

    def _hop(self, source: int, target: int) -> Flow:
        """The flow to a neighbour; where it is not to be followed, 0 ("stay") or NaN."""
        flow = self._flow(source, target)
        if self._unconfirmed == "follow":
            return flow
        refused = occluded(flow, self._flow(target, source))
        hop = flow.copy()
        if self._unconfirmed == "drop":
            hop[refused] = np.nan
        else:
            hop[refused | ~landing(flow)[1]] = 0
        return hop

    def _flow(self, source: int, target: int) -> Flow:
        if (source, target) not in self._flows:
            try:
                self._flows[source, target] = self._backend.of(self._video, source, target)
            except TooSmall as error:
                raise UserError(
                    error.what,
                    where=place(self._video, source),
                    hint="--set flow_backend=farneback takes any size; so does the twin without motion, +vote",
                ) from error
        return self._flows[source, target]


def chained(first: Flow, second: Flow) -> Flow:
    """The flow along `first`, then along `second`; NaN where either is unknown or leaves the picture.

    `second` is read at the pixel nearest to where `first` leads; both are (H, W, 2).
    """
    where, valid = landing(first)
    total: Flow = first + second.reshape(-1, 2)[where]
    total[~valid] = np.nan
    return total


def _majority(carried: Sequence[_Carried]) -> LabelMap:
    """(H, W) label with most weight; of equals the first one's."""
    maps = [c.values for c in carried]
    if len(maps) == 1:
        return maps[0]
    weights = [np.float32(c.weight) * _ones(c) for c in carried]
    counts = np.stack(weights)
    for i in range(len(maps)):
        for j in range(i):
            equal = maps[i] == maps[j]
            counts[i] += weights[j] * equal
            counts[j] += weights[i] * equal
    for i, one in enumerate(carried):
        if one.valid is not None:
            counts[i][~one.valid] = -1
    winner = counts.argmax(0)  # the first of equals: the nearest frame
    result: LabelMap = np.take_along_axis(np.stack(maps), winner[None], 0)[0]
    return result


def _ones(carried: _Carried) -> NDArray[np.float32]:
    """(H, W): 1 where the frame has a say."""
    if carried.valid is None:
        return np.ones(carried.values.shape, np.float32)
    return carried.valid.astype(np.float32)


def _best(carried: Sequence[_Carried], dtype: np.dtype[Any]) -> LabelMap:
    """(H, W) argmax of the weighted sum of (K, H, W) scores, "other" where the sum is 0 for every class."""
    total = carried[0].values.astype(np.float32)
    for one in carried[1:]:
        weight = np.float32(one.weight)
        total += one.values * (weight if one.valid is None else weight * one.valid)
    best = total.argmax(0)
    silent = np.take_along_axis(total, best[None], 0)[0] == 0
    if silent.any():
        silent[silent] = ~total[:, silent].any(0)
    result: LabelMap = np.where(silent, other_of(dtype), best).astype(dtype)
    return result


def _scorer(inner: Segmenter) -> Scorer:
    """The method's own scores of a single frame; raises `UserError` where it has none."""
    found = getattr(inner, "scores", None)
    if isinstance(inner, FrameSegmenter) and callable(found):
        return cast(Scorer, found)
    raise UserError(
        f"{type(inner).__name__} gives no scores of single frames that could be fused",
        where="--set flow_fuse=scores",
        hint="fuse label maps: flow_fuse=labels",
    )
