"""Flow that was computed elsewhere and lies on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ovbench.core.errors import IncompleteError, UserError
from ovbench.core.paths import check_id, inside
from ovbench.datasets.base import Video
from ovbench.metrics.flow import Flow
from ovbench.store.arrays import open_npy

from .base import FlowBackend

BACK = "back"
"""Subfolder of a video with the flows from frame t + 1 to t, named after frame t."""

_LAYOUT = (
    "expected <folder>/<video>/<frame>.npy, (height, width, 2) float16 or float32 [dx, dy] in pixels, "
    "from this frame to the next one"
)


class FileFlow(FlowBackend):
    """Reads `<folder>/<video>/<frame>.npy`, the flow from `frame` to the next one.

    The way back, from the next frame to `frame`, is `<folder>/<video>/back/<frame>.npy`; only the
    forward-backward check asks for it.

    Raises:
        UserError: no such folder; a file that is no array, of another shape or type, or without any finite value.
        IncompleteError: the file of a pair is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = check_folder(folder)

    def of(self, video: Video, source: int, target: int) -> Flow:
        name = check_id("frame", video.frame_names[min(source, target)])
        parts = (f"{name}.npy",) if source < target else (BACK, f"{name}.npy")
        return _read(inside(self.folder, check_id("video", video.id), *parts))


def check_folder(folder: Path | None) -> Path:
    """The folder; raises `UserError` where there is none."""
    if folder is None or not folder.is_dir():
        what = "--flow files=DIR needs a folder" if folder is None else "there is no folder of flows here"
        raise UserError(what, where=folder, hint=_LAYOUT)
    return folder


def stamp(folder: Path, video_ids: Iterable[str]) -> str:
    """SHA-256 over names, sizes and times of change of the videos' files: flows are too large to be read twice."""
    total = hashlib.sha256()
    for video_id in video_ids:
        for path in sorted(inside(folder, check_id("video", video_id)).rglob("*.npy")):
            stat = path.stat()
            name = path.relative_to(folder).as_posix()
            total.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return total.hexdigest()


def _read(path: Path) -> Flow:
    if not path.exists():
        raise IncompleteError("a flow is missing", where=path, hint=_LAYOUT)
    try:
        stored = open_npy(path)  # what the header claims must be there before anything is read
    except UserError as error:
        raise UserError(
            f"this file is no array of numbers: {error.what}", where=path, hint=_LAYOUT
        ) from error
    if len(stored.shape) != 3 or stored.shape[2] != 2 or stored.dtype.char not in "ef":
        got = f"{stored.shape} {stored.dtype}"
        raise UserError(f"this file is no flow: {got}", where=path, hint=_LAYOUT)
    flow: Flow = stored.whole().astype(np.float32)
    if flow.size and not np.isfinite(flow).any():
        raise UserError("this flow is not finite anywhere", where=path, hint="compute it again")
    return flow
