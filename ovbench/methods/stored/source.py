"""What every kind of stored label maps can tell, and how their values become label maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import OTHER8, OTHER16, LabelMap

SHOWN = 5
"""How many names a message lists."""


class Hash(Protocol):
    """The part of `hashlib`'s objects that sources use."""

    def update(self, data: bytes, /) -> None: ...


class Source(ABC):
    """Label maps on disk, one video at a time in memory at most.

    `path` is what the user gave; `layout` says in a word or two how a label map is found in it.
    """

    layout: str
    suffix = ""  # of the names that a message about missing label maps lists

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def video_ids(self) -> Sequence[str]:
        """Everything that stands where a video should: ids, or names of what does not belong there."""

    @abstractmethod
    def frames(self, video_id: str, expected: Sequence[str]) -> Collection[str]:
        """Names of a video's label maps; () for a video that is not here.

        Args:
            expected: the names of the video's frames, which arrays without names have by their position.

        Raises:
            UserError: a damaged file, or more label maps without names than frames.
        """

    @abstractmethod
    def read(self, video_id: str, frame: str) -> LabelMap:
        """(H, W) uint8 or uint16 of a frame that `frames` named.

        Raises:
            UserError: unreadable, or no label map; the message names the file, or video and frame.
        """

    @abstractmethod
    def hash_video(self, video_id: str, names: Sequence[str], total: Hash) -> None:
        """Feed `total` with all bytes that the label maps `names` of a video are made from."""

    def file(self, video_id: str, frame: str) -> Path:
        """The file that a frame's label map is read from, for messages."""
        return self.path

    def remark(self, video_id: str, expected: Sequence[str]) -> str:
        """Why label maps of this video may be missing, as part of a message; empty where nothing is known."""
        return ""


def mixed(path: Path, problem: str) -> UserError:
    """The error for a folder whose files do not go together."""
    return UserError(
        problem,
        where=path,
        hint="keep one kind of label maps in a folder: <video>/<frame>.png, <video>.json, "
        "or <video>.npy and <video>.npz",
    )


def place(video_id: str, frame: str) -> str:
    """How messages name a frame."""
    return f"video '{video_id}', frame '{frame}'"


def as_label_map(values: NDArray[Any], names: int, where: str) -> LabelMap:
    """Numbers of any type as (H, W) uint8 or uint16.

    Signed and wide integers and floats of whole numbers are taken where they fit into 16 bits. "Other" is
    65535; beside at most 255 names, for which 255 can be no index, it is 255 too.

    Raises:
        UserError: not two-dimensional, not finite, not whole, negative or too large; names the value.
    """
    if values.ndim != 2 or values.size == 0:
        raise UserError(
            f"a label map is (height, width), this has the shape {values.shape}",
            where=where,
            hint="write one vocabulary index per pixel (the arg-max, not scores or colours)",
        )
    if values.dtype.kind == "f":
        values = _whole(values, where)
    if values.dtype.kind in "bif":
        low, high = values.min(), values.max()
        if low < 0 or high > OTHER16:
            raise UserError(
                f"the label {int(low if low < 0 else high)} does not fit",
                where=where,
                hint=f"allowed: 0 to {names - 1}, and {OTHER8 if names <= OTHER8 else OTHER16} for 'other'",
            )
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "u" and values.dtype.itemsize > 2 and values.max() > OTHER16:
        raise UserError(f"the label {int(values.max())} does not fit into 16 bits", where=where)
    wide = values.astype(np.uint16)
    if names <= OTHER8:
        wide[wide == OTHER8] = OTHER16
    return wide


def _whole(values: NDArray[Any], where: str) -> NDArray[Any]:
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        raise UserError(
            f"the label map is not finite: {values[row, column]} at row {row}, column {column}",
            where=where,
            hint="write vocabulary indices as integers",
        )
    whole = values == np.floor(values)
    if not whole.all():
        value = values[~whole][0]
        raise UserError(
            f"the label map holds {value:g}, which is no vocabulary index",
            where=where,
            hint="write the arg-max as integers, not scores or probabilities",
        )
    return values
