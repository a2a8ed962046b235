"""Label maps that lie on disk as a method: what `ovbench score` scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.core.types import LabelMap, other_of
from ovbench.datasets.base import Dataset, Video
from ovbench.protocol.vocabulary import Vocabulary
from ovbench.store.pack import is_pack, unpacked
from ovbench.store.record import read_json

from .base import Segmenter, Setup, unused
from .labels import label_dtype, narrow
from .stored.open import FORMS, open_source
from .stored.source import SHOWN, Source

MAX_NAME = 80
"""Characters of a name in tables."""


def build(setup: Setup) -> Segmenter:
    """The method `predictions`; option `folder` says where the label maps lie."""
    folder = str(setup.options["folder"])
    if not folder:
        raise UserError(
            "the method 'predictions' needs a folder of label maps",
            hint="--set folder=DIR, or `ovbench score --predictions DIR --protocol P`",
        )
    known = () if setup.open_split is None else setup.open_split("test").video_ids
    return StoredPredictions(predictions_root(Path(folder)), known)


def predictions_root(path: Path) -> Path:
    """What holds the label maps: `path` itself, or its `predictions` when it is a run or the pack of one."""
    if not path.exists():
        raise UserError("there is no folder of predictions here", where=path, hint=f"give {FORMS}")
    if is_pack(path):
        path = _only_run(path)
    if (path / "manifest.json").is_file():
        if not (path / "predictions").is_dir():
            method = _manifest_beside(path / "predictions").get("method", {})
            if method.get("id") == "predictions":
                raise UserError(
                    "this run scored label maps from elsewhere, and holds none itself",
                    where=path,
                    hint="score them again with --save-predictions, which keeps copies here; or give what it scored: "
                    f"'{method.get('folder') or method.get('source')}'; where that is no run folder, `ovbench export` "
                    "also needs --protocol P",
                )
            raise UserError(
                "this run saved no predictions",
                where=path,
                hint="run it again with --save-predictions; what is finished is only redone for the files",
            )
        return path / "predictions"
    return path


def _only_run(path: Path) -> Path:
    """The run of a pack, unpacked; raises `UserError` where it holds several."""
    runs = sorted(entry for entry in unpacked(path).iterdir() if entry.is_dir())
    if len(runs) > 1:
        raise UserError(
            f"this pack holds {len(runs)} runs",
            where=path,
            hint=f"unpack it and name one of: {', '.join(run.name for run in runs[:5])}",
        )
    return runs[0]


def checked_name(name: str) -> str:
    """A name for tables; raises `UserError` for one that would spoil them."""
    name = name.strip()
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        raise UserError(
            "this name cannot be shown in tables",
            where="--name",
            hint=f"1 to {MAX_NAME} characters, in one line",
        )
    return name


def default_name(folder: Path) -> str:
    """What tables call label maps: the method whose run saved them, else the folder's or file's name."""
    method = _manifest_beside(folder).get("method", {})
    if not method.get("id"):
        return folder.resolve().name
    if method["id"] == "predictions" and method.get("source"):
        return str(method["source"])  # a run that kept copies of label maps from elsewhere
    base, plus, wrapper = str(method["id"]).partition("+")
    return (f"{base}:{method['variant']}" if method.get("variant") else base) + plus + wrapper


class StoredPredictions(Segmenter):
    """Label maps from disk, in any form that `open_source` knows; photographs are never opened.

    A frame without truth may be absent: it is given as "other" everywhere and counted nowhere.

    Args:
        path: as `predictions_root` gives it.
        video_ids: the data set's videos, see `open_source`.
    """

    def __init__(self, path: Path, video_ids: Collection[str] = ()) -> None:
        self.path, self._known = path, video_ids
        self._source: Source | None = None

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        self._source = None

    @property
    def source(self) -> Source:
        """The label maps, opened when they are first wanted."""
        if self._source is None:
            self._source = open_source(self.path, self.vocabulary, self._known)
        return self._source

    def file(self, video_id: str, frame: str) -> Path:
        """The file that holds a frame's label map, for messages."""
        return self.source.file(video_id, frame)

    def absent(self, video: Video) -> frozenset[int]:
        here = self.source.frames(video.id, video.frame_names)
        return frozenset(i for i, name in enumerate(video.frame_names) if name not in here)

    def segment(self, video: Video) -> Iterator[LabelMap]:
        source, names = self.source, len(self.vocabulary)
        here = source.frames(video.id, video.frame_names)
        shape: tuple[int, ...] | None = None
        for index, name in enumerate(video.frame_names):
            if name in here and video.wanted(index):
                label_map = narrow(source.read(video.id, name), names)
                shape = label_map.shape
            elif not video.wanted(index):
                label_map = unused()
            elif video.annotated(index):
                raise _missing([f"{video.id}/{name}{source.suffix}"], source, "")
            else:
                if shape is None:
                    first = next((n for n in video.frame_names if n in here), None)
                    shape = (1, 1) if first is None else source.read(video.id, first).shape
                dtype = label_dtype(names)
                label_map = np.full(shape, other_of(dtype), dtype)
            yield label_map


def check_and_hash(
    source: Source,
    dataset: Dataset,
    video_ids: Sequence[str],
    frames: int | None,
    progress: Callable[[str, int], None] | None = None,
) -> str:
    """Check that every frame that is scored has a label map and nothing is left over; hash all that is used.

    Args:
        progress: told each video that was read, and how many label maps of it.

    Returns:
        SHA-256 over the names and bytes of what is used, so that scoring never goes on with records of
        other predictions.

    Raises:
        IncompleteError: missing videos or frames (the first few are named).
        UserError: videos or frames that the protocol does not have; a file that cannot be used.
    """
    _refuse_extra_videos(source, dataset)
    total = hashlib.sha256()
    missing: list[str] = []
    remark = ""
    for video_id in video_ids:
        video = dataset.open(video_id)
        here = source.frames(video_id, video.frame_names)
        if not getattr(dataset, "sparse", False):
            _refuse_extra_frames(source, video, here)
        names = video.frame_names[:frames]
        found = [name for name in names if name in here]
        lost = [
            f"{video_id}/{name}{source.suffix}"
            for index, name in enumerate(names)
            if name not in here and video.annotated(index)
        ]
        if lost:
            missing += lost
            remark = remark or source.remark(video_id, video.frame_names)
        source.hash_video(video_id, found, total)
        if progress is not None:
            progress(video_id, len(found))
    if missing:
        raise _missing(missing, source, remark)
    return total.hexdigest()


def _missing(names: Sequence[str], source: Source, remark: str) -> IncompleteError:
    videos = sorted({n.split("/")[0] for n in names})
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return IncompleteError(
        f"{len(names)} label maps are missing, in {len(videos)} videos: {shown}" + (remark and f"; {remark}"),
        where=source.path,
        hint=f"expected {source.layout}, named like the data set's frames; nothing was scored\n"
        f"         {_partial_advice(source.path)}",
    )


def _partial_advice(folder: Path) -> str:
    """How to score a part: what the manifest beside a run's predictions says, else in general."""
    manifest = _manifest_beside(folder)
    if not manifest.get("partial"):
        return "to score a part of the protocol, say which: --videos N (the first N), --frames N (of each)"
    limits = f"--videos {len(manifest.get('videos', ()))}"
    if manifest.get("frames"):
        limits += f" --frames {manifest['frames']}"
    return f"they are of a partial run ({manifest['partial']}); to score that part: {limits}"


def _manifest_beside(folder: Path) -> dict[str, Any]:
    path = folder.parent / "manifest.json"
    if folder.name != "predictions" or not path.is_file():
        return {}
    try:
        return dict(read_json(path))
    except (IntegrityError, TypeError, ValueError):
        return {}  # the missing label maps are the message, not this


def _refuse_extra_videos(source: Source, dataset: Dataset) -> None:
    known = set(dataset.video_ids)
    extra = [name for name in source.video_ids() if name not in known]
    if extra:
        raise UserError(
            f"{len(extra)} entries are no videos of this protocol: {', '.join(extra[:SHOWN])}",
            where=source.path,
            hint=f"its videos are named like {', '.join(list(dataset.video_ids)[:3])}; "
            "remove what does not belong, or choose the protocol that these were made for",
        )


def _refuse_extra_frames(source: Source, video: Video, here: Collection[str]) -> None:
    frames = set(video.frame_names)
    extra = [name for name in here if name not in frames]
    if extra:
        raise UserError(
            f"{len(extra)} label maps are no frames of video '{video.id}': {', '.join(extra[:SHOWN])}",
            where=source.path,
            hint=f"its frames are named like {', '.join(video.frame_names[:3])}; expected {source.layout}",
        )
