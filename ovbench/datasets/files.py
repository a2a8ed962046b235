"""Videos that lie on disk as one file per frame: what every file-based reader shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import check_id
from ovbench.core.types import Image, RawMask
from ovbench.store.masks import read_image, read_mask

from .base import Dataset, Video
from .howto import layout
from .scan import Finding, Folder, natural

if TYPE_CHECKING:
    from concurrent.futures import Future

UNDECLARED = 254
"""What `Protocol.truth_table` holds for ids that nobody declared."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: stem, photograph (None where absent or not needed) and mask (None: unannotated)."""

    name: str
    image: Path | None
    mask: Path | None


@dataclass(frozen=True)
class VideoFiles:
    """A video's frames in order, the number of entries in its mask folder, and what is odd."""

    video_id: str
    frames: tuple[Frame, ...]
    listed_files: int
    findings: tuple[Finding, ...] = ()


def pair(video_id: str, images: Folder, masks: Folder, need_images: bool) -> VideoFiles:
    """Frames from an image folder and a mask folder, matched by stem, in natural order.

    An image without a mask is an unannotated frame. A mask without an image is an error, except
    that without any photograph and `need_images=False` (scoring) the masks give the frame list.
    """
    findings = [*masks.duplicates(), *masks.clutter()]
    if need_images:
        findings += [*images.duplicates(), *images.clutter()]
    stems = sorted({*images.by_stem, *masks.by_stem}, key=natural)
    frames = tuple(Frame(s, images.first(s), masks.first(s)) for s in stems)
    if not frames:
        findings.append(
            Finding("error", f"video '{video_id}' has no frames", str(images.path), "fetch this video again")
        )
    elif need_images:
        findings += _absent(video_id, [f for f in frames if f.image is None], images)
    return VideoFiles(video_id, frames, max(masks.count, 0), tuple(findings))


def _absent(video_id: str, frames: Sequence[Frame], images: Folder) -> list[Finding]:
    if not frames:
        return []
    return [
        Finding(
            "error",
            f"video '{video_id}': no image for {len(frames)} masks, first for frame '{frames[0].name}'",
            str(images.path),
            "fetch the missing frames again, or remove their masks",
        )
    ]


class FileVideo(Video):
    """A video of separate files.

    Args:
        files: what `FileDataset.files` found.
        decode_truth: reads a mask file; a data set may convert ids here.
    """

    def __init__(self, files: VideoFiles, decode_truth: Callable[[Path], RawMask] = read_mask) -> None:
        super().__init__(files.video_id, [f.name for f in files.frames])
        self.frames = files.frames
        self._listed = files.listed_files
        self._decode = decode_truth
        self._ahead: dict[int, Future[Image]] = {}

    @property
    def listed_files(self) -> int:
        return self._listed

    def annotated(self, index: int) -> bool:
        return self.frames[self._check(index)].mask is not None

    def _stamp(self, index: int) -> list[int]:
        frame = self.frames[index]
        stats = [path.stat() for path in (frame.image, frame.mask) if path is not None]
        return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]

    def images(self) -> Iterator[Image]:
        """All frames in order; the next one is decoded by a helper thread while this one is used."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, thread_name_prefix="ovbench-decode") as pool:
            try:
                for index in range(len(self)):
                    later = index + 1
                    if later < len(self) and later not in self._images:
                        self._ahead[later] = pool.submit(self._read, later)
                    yield self.image(index)
            finally:
                self._ahead.clear()

    def _decode_image(self, index: int) -> Image:
        future = self._ahead.pop(index, None)
        return self._read(index) if future is None else future.result()

    def _decode_truth(self, index: int) -> RawMask:
        path = self.frames[index].mask
        if path is None:
            raise UserError(f"frame '{self.frame_names[index]}' of video '{self.id}' has no mask")
        return self._decode(path)

    def _read(self, index: int) -> Image:
        path = self.frames[index].image
        if path is None:
            raise UserError(
                f"no image for frame '{self.frame_names[index]}' of video '{self.id}'",
                where=self.frames[index].mask,
                hint="`ovbench data verify` lists every missing frame",
            )
        return read_image(path)


class FileDataset(Dataset):
    """A split whose videos are files; subclasses say where the files of a video lie.

    Args:
        root: the data set's folder; each reader also takes the usual folders around it.
        split: as the data set names it.
        need_images: False for scoring, where the photographs may be absent.
        only: the videos to use, in this order; () for all of the split.
    """

    sparse = False  # whether unannotated frames are how the data set is made
    options: Mapping[str, tuple[str, ...]] = {}  # the reader's own options and their values
    released_videos: Mapping[str, int] = {}  # split -> videos in the published list, where that is known

    def __init__(self, root: Path, split: str, need_images: bool = True, only: Sequence[str] = ()) -> None:
        self.split, self.need_images, self.only = split, need_images, tuple(only)
        self.root = self._find_root(root)

    @abstractmethod
    def _find_root(self, given: Path) -> Path:
        """The folder that holds the layout; raises `UserError` that shows the layout."""

    @abstractmethod
    def _list(self) -> tuple[Sequence[str], Sequence[Finding]]:
        """Video ids in order, and what is odd about the list."""

    @abstractmethod
    def files(self, video_id: str) -> VideoFiles:
        """A video's files and what is odd about them; reads folders, decodes nothing."""

    def _present(self, video_id: str) -> bool:
        """Whether a listed video lies on the disk."""
        return True

    @cached_property
    def _listing(self) -> tuple[tuple[str, ...], tuple[Finding, ...], frozenset[str]]:
        listed, findings = self._list()
        if not listed:
            raise UserError(
                f"the split '{self.split}' of {self.name} is empty",
                where=self.root,
                hint=f"the layout expected is\n{layout(self.name)}",
            )
        ids = tuple(check_id("video", i) for i in self.only or listed)
        known = frozenset(listed)
        absent = [i for i in ids if i not in known or not self._present(i)]
        if absent:
            finding = Finding(
                "error",
                f"{len(absent)} of {len(ids)} listed videos are missing, first '{absent[0]}'",
                str(self.root),
                "the download may be incomplete: unpack it again; the layout expected is\n"
                + layout(self.name),
            )
            findings = [*findings, finding]
        return ids, tuple(findings), frozenset(absent)

    @property
    def video_ids(self) -> Sequence[str]:
        return self._listing[0]

    @property
    def missing(self) -> frozenset[str]:
        """Listed videos that are not on the disk."""
        return self._listing[2]

    @property
    def findings(self) -> Sequence[Finding]:
        """What is odd about the list of videos."""
        return self._listing[1]

    def decode_truth(self, path: Path) -> RawMask:
        """A mask file's raw ids; readers that convert ids do it here."""
        return read_mask(path)

    def open(self, video_id: str) -> FileVideo:
        if video_id not in self.video_ids:
            raise unknown(f"video of {self.name} {self.split}", video_id, self.video_ids)
        files = self.files(video_id)
        for finding in files.findings:
            if finding.severity == "error":
                raise finding.as_error()
        return FileVideo(files, self.decode_truth)

    def check(self) -> None:
        """Raise the first error of the list of videos (a missing video, ...)."""
        for finding in self.findings:
            if finding.severity == "error":
                raise finding.as_error()


def check_options(dataset: str, options: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]) -> None:
    """Raise `UserError` for an option that a reader does not have, or a value it does not take."""
    for key, value in options.items():
        if key not in known:
            raise unknown(f"option of data set '{dataset}'", key, known)
        if value not in known[key]:
            raise unknown(f"value of the option '{key}' of data set '{dataset}'", str(value), known[key])


def find_root(name: str, given: Path, below: Sequence[str], fits: Callable[[Path], bool]) -> Path:
    """The first of `given` and `given/<below>` that `fits`; else a `UserError` with the layout."""
    if not given.is_dir():
        raise UserError(
            "the data root is not a folder" if given.exists() else "the data root does not exist",
            where=given,
            hint=f"give the folder that holds {layout(name)}",
        )
    for folder in (given, *(given / b for b in below)):
        if fits(folder):
            return folder
    found = sorted(e.name + ("/" if e.is_dir() else "") for e in given.iterdir())[:8]
    raise UserError(
        f"this is not the layout of {name}; found {', '.join(found) if found else 'an empty folder'}",
        where=given,
        hint=f"the layout expected is\n{layout(name)}",
    )
