"""What counting leaves of a video: integers only, comparable with `==`, and the same JSON everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import IntegrityError

from .series import JointSeries

OTHER = -1
"""How a joint histogram writes "other": the method abstained."""

IntTuple: TypeAlias = tuple[int, ...]


class OtherLayout(IntegrityError):
    """Counts that lack something: another version of ovbench wrote them."""


@dataclass(frozen=True)
class Joint:
    """Sparse joint histogram: `pixels[i]` pixels have raw truth id `truth[i]` and prediction `prediction[i]`.

    Rows are sorted by (truth, prediction), each pair occurs once, every count is positive.
    `prediction` holds vocabulary indices, OTHER (-1) where the method abstained.
    """

    truth: IntTuple = ()
    prediction: IntTuple = ()
    pixels: IntTuple = ()

    @classmethod
    def of(cls, entries: Iterable[tuple[int, int, int]]) -> Joint:
        """From (truth, prediction, pixels) in any order; equal pairs are added, zeros dropped."""
        total: dict[tuple[int, int], int] = {}
        for truth, prediction, pixels in entries:
            total[truth, prediction] = total.get((truth, prediction), 0) + pixels
        rows = sorted((t, p, n) for (t, p), n in total.items() if n)
        return cls(*(tuple(column) for column in zip(*rows, strict=True))) if rows else cls()

    def __add__(self, other: Joint) -> Joint:
        return Joint.of([*self.entries(), *other.entries()])

    def entries(self) -> Iterable[tuple[int, int, int]]:
        """(truth, prediction, pixels) in canonical order."""
        return zip(self.truth, self.prediction, self.pixels, strict=True)

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The three columns as (E,) int64 arrays."""
        return (
            np.array(self.truth, np.int64),
            np.array(self.prediction, np.int64),
            np.array(self.pixels, np.int64),
        )


@dataclass(frozen=True)
class WindowCounts:
    """Pixels per window of one length, one entry per window in order of its first frame `start`."""

    start: IntTuple = ()
    script_num: IntTuple = ()  # truth constant (void compared like a class) and prediction constant
    script_den: IntTuple = ()  # truth constant; ids 0 and 255 are one void
    raw_num: IntTuple = ()  # like script, but 0 and 255 are two ids (the oldest scripts, DVIS_Plus)
    raw_den: IntTuple = ()
    clean_num: IntTuple = ()  # scored truth constant and prediction constant
    correct_num: IntTuple = ()  # ... and the prediction is the truth
    clean_den: IntTuple = ()  # scored truth constant


@dataclass(frozen=True)
class ChangeCounts:
    """Pixels that change from one frame to the next, one entry per pair of neighbours (frame - 1, frame).

    Only pairs of frames that were both segmented; truth columns are 0 where either frame has no truth.
    """

    frame: IntTuple = ()
    pixels: IntTuple = ()
    changed: IntTuple = ()  # prediction differs from the frame before
    aba_pixels: IntTuple = ()  # pixels, where the frame before the last was segmented too, else 0
    aba: IntTuple = ()  # ... where the prediction is that of frame - 2, but not of frame - 1
    scored: IntTuple = ()  # truth is scored in both frames
    scored_changed: IntTuple = ()  # ... and the prediction differs
    truth_changed: IntTuple = ()  # ... and the truth differs


@dataclass(frozen=True)
class FlowCounts:
    """Label maps compared along a flow: frame t against frame t + 1 warped back to it.

    `pairs` holds, for each t, a joint histogram of (label at t, warped label of t + 1) over the valid
    pixels; label -1 is "other". `excluded[i]`: pixels of pair i that left the picture or are occluded.
    """

    pairs: JointSeries
    excluded: IntTuple = ()


@dataclass(frozen=True)
class TagCounts:
    """The annotated frames that carry one tag."""

    frames: int
    joint: Joint


@dataclass(frozen=True)
class VideoCounts:
    """All that scoring needs to know about one video."""

    frames: int
    annotated: int  # frames with a truth mask
    listed_files: int  # files in the mask folder, hidden ones included
    height: int  # of the first frame; 0 for a video without frames
    width: int
    joint: Joint  # over all pixels of the annotated frames
    windows: dict[int, WindowCounts] = field(default_factory=dict)
    tags: dict[str, TagCounts] = field(default_factory=dict)
    per_frame: JointSeries = field(default_factory=JointSeries)  # of each annotated frame; adds up to `joint`
    changes: ChangeCounts = field(default_factory=ChangeCounts)
    flow: dict[str, FlowCounts] = field(default_factory=dict)  # by backend

    @property
    def dense(self) -> bool:
        """Every frame is annotated."""
        return self.annotated == self.frames

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; equal counts give equal values."""
        return {
            "frames": self.frames,
            "annotated": self.annotated,
            "listed_files": self.listed_files,
            "height": self.height,
            "width": self.width,
            "joint": _columns(self.joint),
            "windows": {str(n): _columns(self.windows[n]) for n in sorted(self.windows)},
            "tags": {
                tag: {"frames": self.tags[tag].frames, "joint": _columns(self.tags[tag].joint)}
                for tag in sorted(self.tags)
            },
            "per_frame": self.per_frame.to_json(),
            "changes": _columns(self.changes),
            "flow": {
                name: {"pairs": self.flow[name].pairs.to_json(), "excluded": list(self.flow[name].excluded)}
                for name in sorted(self.flow)
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> VideoCounts:
        """The inverse of `to_json`; raises `IntegrityError` for anything it would not have written."""
        try:
            counts = cls(
                **{name: _natural(value[name]) for name in _SCALARS},
                joint=_joint(value["joint"]),
                windows={int(n): _windows(w) for n, w in value["windows"].items()},
                tags={
                    str(tag): TagCounts(_natural(t["frames"]), _joint(t["joint"]))
                    for tag, t in value["tags"].items()
                },
                per_frame=JointSeries.from_json(value["per_frame"]),
                changes=_changes(value["changes"]),
                flow={str(name): _flow(f) for name, f in value["flow"].items()},
            )
        except KeyError as error:
            raise OtherLayout(
                f"the counts of a video lack {error}",
                hint="the same run command makes this record again",
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise _broken(f"{type(error).__name__}: {error}") from error
        if counts.annotated > counts.frames:
            raise _broken(f"{counts.annotated} annotated frames of {counts.frames}")
        if Joint(*counts.per_frame.total()) != counts.joint:
            raise _broken("the joint histograms of the frames do not add up to that of the video")
        return counts


_SCALARS = ("frames", "annotated", "listed_files", "height", "width")


def _columns(table: Joint | WindowCounts | ChangeCounts) -> dict[str, list[int]]:
    return {f.name: list(getattr(table, f.name)) for f in fields(table)}


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not an integer >= 0")
    return value


def _read(
    value: Mapping[str, Any], kind: type[Joint | WindowCounts | ChangeCounts], least: int
) -> list[IntTuple]:
    columns = [tuple(value[f.name]) for f in fields(kind)]
    if len({len(c) for c in columns}) != 1:
        raise ValueError("columns of different lengths")
    for column in columns:
        if not set(map(type, column)) <= {int} or min(column, default=0) < least:
            raise ValueError(f"a column holds something else than integers >= {least}")
    return columns


def _joint(value: Mapping[str, Any]) -> Joint:
    joint = Joint(*_read(value, Joint, OTHER))
    pairs = list(zip(joint.truth, joint.prediction, strict=True))
    if any(a >= b for a, b in pairwise(pairs)):
        raise ValueError("a joint histogram that is not in canonical order")
    if pairs and (min(joint.truth) < 0 or max(joint.truth) > 65535 or min(joint.pixels) < 1):
        raise ValueError("a joint histogram with an impossible raw id or an empty pair")
    return joint


def _windows(value: Mapping[str, Any]) -> WindowCounts:
    windows = WindowCounts(*_read(value, WindowCounts, 0))
    rows = zip(*(getattr(windows, f.name) for f in fields(windows)), strict=True)
    if not all(b <= c and x <= y <= c and x <= b and e <= d <= f <= c for _, b, c, x, y, d, e, f in rows):
        raise ValueError("a window holds more hits than pixels")
    return windows


def _changes(value: Mapping[str, Any]) -> ChangeCounts:
    changes = ChangeCounts(*_read(value, ChangeCounts, 0))
    rows = zip(*(getattr(changes, f.name) for f in fields(changes)), strict=True)
    if not all(b <= a and d <= c <= a and e <= a and max(f, g) <= e for _, a, b, c, d, e, f, g in rows):
        raise ValueError("more pixels change than there are")
    return changes


def _flow(value: Mapping[str, Any]) -> FlowCounts:
    flow = FlowCounts(JointSeries.from_json(value["pairs"]), tuple(_natural(n) for n in value["excluded"]))
    if len(flow.excluded) != len(flow.pairs):
        raise ValueError("columns of different lengths")
    return flow


def _broken(reason: str) -> IntegrityError:
    return IntegrityError(
        f"the counts of a video cannot be read ({reason})",
        hint="remove this record and run again; only this video is repeated",
    )
