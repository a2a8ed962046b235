"""Label maps as NumPy files: one file per video, or one .npz for all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.core.hashing import hash_file
from ovbench.core.types import LabelMap
from ovbench.store.arrays import ArrayOnDisk, Npz, open_npy

from .source import Hash, Source, as_label_map, mixed, place

STACK = "label_maps"
"""Name of an array (T, H, W) in an .npz file of one video."""


@dataclass
class _Video:
    """The label maps of a video: a stack, whose frames go by their position, or an array per frame."""

    stack: ArrayOnDisk | None
    single: dict[str, ArrayOnDisk]
    position: dict[str, int]


class _Arrays(Source):
    """What both kinds share: the arrays of one video at a time are open."""

    def __init__(self, path: Path, names: int) -> None:
        super().__init__(path)
        self._names = names
        self._id: str | None = None
        self._open = _Video(None, {}, {})

    def _load(self, video_id: str) -> _Video:
        """Open a video that `video_ids` named, or nothing."""
        raise NotImplementedError

    def frames(self, video_id: str, expected: Sequence[str]) -> Collection[str]:
        if video_id != self._id:
            self._open, self._id = self._load(video_id), video_id
        stack = self._open.stack
        if stack is None:
            return self._open.single.keys()
        if len(stack.shape) != 3:
            raise UserError(
                f"the label maps of video '{video_id}' must be (frames, height, width), not {stack.shape}",
                where=stack.name,
                hint="write one vocabulary index per pixel (the arg-max, not scores or colours)",
            )
        if not expected:
            raise UserError(
                f"the label maps of video '{video_id}' have no names, and which frames there are is not known",
                where=stack.name,
                hint="--data-root DIR (the folder of the data set) says so",
            )
        if stack.shape[0] > len(expected):
            raise UserError(
                f"the array of video '{video_id}' holds {stack.shape[0]} maps, the video has {len(expected)} frames",
                where=stack.name,
                hint="leave out what is no frame, or give every label map its frame's name "
                "(numpy.savez_compressed(file, **{frame: label_map}))",
            )
        self._open.position = {name: i for i, name in enumerate(expected[: stack.shape[0]])}
        return self._open.position.keys()

    def read(self, video_id: str, frame: str) -> LabelMap:
        video = self._open
        assert video_id == self._id, "ask for frames(video) first"
        values = (
            video.single[frame].whole() if video.stack is None else video.stack.frame(video.position[frame])
        )
        return as_label_map(values, self._names, f"{place(video_id, frame)} ({self.file(video_id, frame)})")

    def remark(self, video_id: str, expected: Sequence[str]) -> str:
        self.frames(video_id, expected)
        stack = self._open.stack
        if stack is None or stack.shape[0] == len(expected):
            return ""
        return f"the array of video '{video_id}' holds {stack.shape[0]} maps, the video has {len(expected)} frames"


class ArrayFolder(_Arrays):
    """`<video>.npy` (T, H, W), or `<video>.npz` with an array per frame name or one named `label_maps`."""

    layout = (
        "<folder>/<video>.npy (frames, height, width), or <folder>/<video>.npz with one array per frame name or "
        f"a single array named `{STACK}` (frames, height, width)"
    )

    def __init__(self, path: Path, names: int) -> None:
        super().__init__(path, names)
        self._files: dict[str, Path] = {}
        self._others: list[str] = []
        for entry in sorted(e for e in path.iterdir() if not e.name.startswith(".")):
            if entry.suffix not in (".npy", ".npz"):
                self._others.append(entry.name)
            elif entry.stem in self._files:
                raise mixed(path, f"both {self._files[entry.stem].name} and {entry.name} are here")
            else:
                self._files[entry.stem] = entry

    def video_ids(self) -> Sequence[str]:
        return [*self._files, *self._others]

    def file(self, video_id: str, frame: str) -> Path:
        return self._files[video_id]

    def _load(self, video_id: str) -> _Video:
        path = self._files.get(video_id)
        if path is None:
            return _Video(None, {}, {})
        if path.suffix == ".npy":
            return _Video(open_npy(path), {}, {})
        npz = Npz(path)
        if npz.names == (STACK,):
            return _Video(npz.open(STACK), {}, {})
        return _Video(None, {name: npz.open(name) for name in npz.names}, {})

    def hash_video(self, video_id: str, names: Sequence[str], total: Hash) -> None:
        if video_id in self._files:
            total.update(f"{self._files[video_id].name} {hash_file(self._files[video_id])}\n".encode())


class ArrayFile(_Arrays):
    """One .npz file: arrays named `<video>/<frame>`, or `<video>` for (T, H, W)."""

    layout = "an .npz file with arrays named <video>/<frame>, or <video> (frames, height, width)"

    def __init__(self, path: Path, names: int) -> None:
        super().__init__(path, names)
        self._npz = Npz(path)
        self._hash: str | None = None
        self._arrays: dict[str, dict[str, str]] = {}  # video -> frame ("" for a stack) -> name
        for name in self._npz.names:
            video, _, frame = name.partition("/")
            self._arrays.setdefault(video, {})[frame] = name
        for video, frames in self._arrays.items():
            if "" in frames and len(frames) > 1:
                raise UserError(
                    f"video '{video}' is here both as a stack and frame by frame",
                    where=path,
                    hint="keep one of them",
                )

    def video_ids(self) -> Sequence[str]:
        return list(self._arrays)

    def _load(self, video_id: str) -> _Video:
        arrays = self._arrays.get(video_id, {})
        if "" in arrays:
            return _Video(self._npz.open(arrays[""]), {}, {})
        return _Video(None, {frame: self._npz.open(name) for frame, name in arrays.items()}, {})

    def hash_video(self, video_id: str, names: Sequence[str], total: Hash) -> None:
        if self._hash is None:
            self._hash = hash_file(self.path)
        total.update(f"{video_id} {self._hash}\n".encode())
