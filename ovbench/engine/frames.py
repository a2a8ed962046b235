"""The border between a method and the counts: every label map is checked before it is counted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ovbench.core.errors import UserError
from ovbench.core.types import LabelMap, RawMask, other_of
from ovbench.datasets.base import Video
from ovbench.flow.compare import FlowComparison
from ovbench.methods.base import Segmenter
from ovbench.methods.labels import identity, narrow, outside
from ovbench.methods.predictions import StoredPredictions
from ovbench.metrics.counts import (
    LabelError,
    SizeError,
    VideoCounter,
    VideoCounts,
    counter_for,
)
from ovbench.metrics.joint import Runs
from ovbench.protocol.schema import Protocol

from .overlap import FrameWriter
from .view import MethodView
from .wrong import MOST, WrongLabelMap, named_together

UNDECLARED = 254
"""In a protocol's table of truth ids: ids that mean no class, this one and above."""
_VERIFY = "`ovbench data verify` lists every such frame of the data set"


@dataclass
class Clock:
    """Seconds of one video by kind of work, and per frame spent in the method (decoding taken off).

    `background`: work of the threads of `ovbench.engine.overlap`, None without them. With them `decode`,
    `truth` and `write` are what is left of it: how long the method and the counting waited.
    """

    decode: float = 0.0
    truth: float = 0.0
    count: float = 0.0
    flow: float = 0.0
    write: float = 0.0
    background: float | None = None
    frames: list[float] = field(default_factory=list)

    @property
    def reading_and_writing(self) -> float:
        """Seconds that overlapping could hide."""
        return self.decode + self.truth + self.write


@dataclass(frozen=True)
class Counted:
    """What came of one video."""

    counts: VideoCounts
    frames_sha256: str
    predictions_sha256: str
    clock: Clock


@dataclass(frozen=True)
class _Frame:
    """What an error message says about a frame."""

    method: str
    where: str
    fits_image: bool  # its picture was looked at, and the label map has its size


def _gave(method: str) -> str:
    """How a message about a label map begins."""
    return "the predictions hold" if method == "predictions" else f"method '{method}' gave"


def _where(segmenter: Segmenter, video: Video, index: int) -> str:
    name = video.frame_names[index]
    text = f"video '{video.id}', frame '{name}'"
    if isinstance(segmenter, StoredPredictions):
        text += f" ({segmenter.file(video.id, name)})"
    return text


def count_video(
    protocol: Protocol,
    method: str,
    segmenter: Segmenter,
    video: Video,
    view: MethodView,
    writer: FrameWriter | None = None,
    flow: FlowComparison | None = None,
) -> Counted:
    """Segment and count one video, frame by frame; nothing of it stays in memory.

    Args:
        video: with truth and tags; `view` is what the method gets of it.
        writer: stores the label maps as they come.
        flow: compares them with their neighbours.

    Raises:
        UserError: a label map of wrong type, size or value, or one too many or too few; a truth id
            that the protocol does not declare, or a mask of another size than its picture. The
            message names the method, video, frame and value. Of label maps on disk, up to ten wrong
            ones of the video are named at once.
    """
    clock, digest = Clock(), hashlib.sha256()
    counter, names = counter_for(protocol), len(protocol.vocabulary)
    wrong: list[WrongLabelMap] = []
    number = 0
    for number, label_map in enumerate(_timed(segmenter, view, clock), 1):
        index = number - 1
        if number > len(view):
            raise _wrong_number(method, view, f"more than {len(view)}")
        if not view.wanted(index):
            clock.frames.pop()  # a frame without work is no measurement
            counter.skip()
            if flow is not None:
                flow.skip()
            continue
        where = _where(segmenter, video, index)
        try:
            label_map = check_label_map(label_map, names, method, where, protocol)
            if index in view.sizes and view.sizes[index] != label_map.shape:
                raise _wrong_size(method, label_map, view.sizes[index], where)
            described = _Frame(method, where, index in view.sizes)
            runs = _count(counter, video, index, label_map, clock, described, flow is not None)
        except WrongLabelMap as error:
            wrong.append(error)
            if len(wrong) == MOST or not isinstance(segmenter, StoredPredictions):
                break
        if wrong:
            continue  # nothing is counted any more; the rest is only looked at
        if flow is not None:
            _compare(flow, label_map, clock)
        began = time.perf_counter()
        digest.update(identity(label_map, runs))
        if writer is not None:
            writer.write(video.frame_names[index], label_map)
        clock.write += time.perf_counter() - began
    if wrong:
        raise named_together(wrong, video.id)
    if number < len(view):
        raise _wrong_number(method, view, f"only {number}")
    counts = counter.finish(view.listed_files)
    if flow is not None:
        counts = replace(counts, flow=flow.finish())
    return Counted(counts, video.fingerprint(len(view)), digest.hexdigest(), clock)


def _compare(flow: FlowComparison, label_map: LabelMap, clock: Clock) -> None:
    began = time.perf_counter()
    flow.update(label_map)
    clock.flow += time.perf_counter() - began


def check_label_map(
    label_map: LabelMap, names: int, method: str, where: str, protocol: Protocol | None = None
) -> LabelMap:
    """The label map in the vocabulary's dtype; raises `UserError` for a wrong type, shape or value.

    `protocol`: with it, the message tells raw ids of the data set from other mistakes.
    """
    if not isinstance(label_map, np.ndarray):
        raise WrongLabelMap(f"{_gave(method)} a {type(label_map).__name__} as a label map", where=where)
    if label_map.ndim != 2 or label_map.dtype not in (np.uint8, np.uint16):
        raise WrongLabelMap(
            f"{_gave(method)} a label map of {label_map.dtype} {label_map.shape}",
            where=where,
            hint="a label map is (height, width) uint8 or uint16",
        )
    label_map = narrow(label_map, names)
    bad = outside(label_map, names)
    if bad is not None:
        raise _wrong_value(method, bad, label_map, where, names, protocol)
    return label_map


def _timed(segmenter: Segmenter, view: MethodView, clock: Clock) -> Iterator[LabelMap]:
    maps = iter(segmenter.segment(view))
    while True:
        began, decoded = time.perf_counter(), view.seconds
        try:
            label_map = next(maps)
        except StopIteration:
            break
        spent = view.seconds - decoded
        clock.frames.append(time.perf_counter() - began - spent)
        yield label_map
    clock.decode = view.seconds


def _count(
    counter: VideoCounter,
    video: Video,
    index: int,
    label_map: LabelMap,
    clock: Clock,
    frame: _Frame,
    every: bool,
) -> Runs | None:
    """Count a frame; the runs of the label map, where counting has found them.

    `every`: all frames are segmented, whoever asks, so those without truth count for changes too.
    """
    began = time.perf_counter()
    truth = video.truth(index) if video.annotated(index) else None
    read = time.perf_counter()
    clock.truth += read - began
    try:
        if truth is None and not every:
            counter.skip()  # whether such a frame is segmented depends on who asks, and counts must not
        else:
            counter.update(truth, label_map, _tag(video, index))
    except SizeError as error:
        raise _size_error(error, truth, label_map, frame) from error
    except LabelError as error:  # label maps were checked: this is the mask
        raise UserError(
            f"the mask holds the id {error.value}, which the protocol neither maps nor ignores",
            where=frame.where,
            hint=f"wrong protocol or wrong masks? {_VERIFY}",
        ) from error
    clock.count += time.perf_counter() - read
    return None if truth is None else counter.runs


def _tag(video: Video, index: int) -> str | None:
    """The world says which frames it spoiled; both kinds are also scored apart."""
    corruption = video.tags(index).get("corruption")
    if corruption is None:
        return None
    return "clean" if corruption == "clean" else "corrupted"


def _size_error(error: SizeError, truth: RawMask | None, label_map: LabelMap, frame: _Frame) -> UserError:
    if truth is None or truth.shape == label_map.shape:
        return UserError(str(error), where=frame.where, hint=_VERIFY)
    if frame.fits_image:
        return UserError(
            f"mask and picture differ in size: the mask is {_size(truth.shape)}, the picture "
            f"{_size(label_map.shape)} (height x width)",
            where=frame.where,
            hint=_VERIFY,
        )
    return _wrong_size(frame.method, label_map, truth.shape, frame.where)


def _wrong_size(method: str, label_map: LabelMap, expected: tuple[int, ...], where: str) -> WrongLabelMap:
    return WrongLabelMap(
        f"{_gave(method)} a label map of {_size(label_map.shape)}, the frame is "
        f"{_size(expected)} (height x width)",
        where=where,
        hint="label maps must have the frame's own size",
    )


def _wrong_value(
    method: str, value: int, label_map: LabelMap, where: str, names: int, protocol: Protocol | None
) -> WrongLabelMap:
    hint = f"allowed: 0 to {names - 1}, and {other_of(label_map.dtype)} for 'other'"
    if protocol is not None and method == "predictions":
        hint += (
            "; a label is the position of a name in the vocabulary, counted from 0 "
            f"(`ovbench protocols show {protocol.id}`)"
        )
        if protocol.truth_table[value] < UNDECLARED:
            hint += (
                f"; {value} is a raw id of the data set's masks: raw ids must be turned into positions first"
            )
    return WrongLabelMap(
        f"{_gave(method)} the label {value}, outside the vocabulary",
        where=where,
        hint=hint,
    )


def _wrong_number(method: str, view: MethodView, given: str) -> UserError:
    return UserError(
        f"method '{method}' gave {given} label maps for {len(view)} frames",
        where=f"video '{view.id}'",
        hint="a segmenter yields exactly one label map per frame",
    )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
