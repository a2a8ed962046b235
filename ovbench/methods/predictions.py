"""Label maps that lie on disk as a method: what `ovbench score` scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.core.paths import check_id, inside
from ovbench.core.types import LabelMap, RawMask, other_of
from ovbench.datasets.base import Dataset, Video
from ovbench.store.masks import read_mask
from ovbench.store.predictions import frames_on_disk
from ovbench.store.record import read_json

from .base import Segmenter, Setup
from .labels import label_dtype, narrow

_SHOWN = 5


def build(setup: Setup) -> Segmenter:
    """The method `predictions`; option `folder` holds `<video>/<frame>.png`."""
    folder = str(setup.options["folder"])
    if not folder:
        raise UserError(
            "the method 'predictions' needs a folder of label maps",
            hint="--set folder=DIR, or `ovbench score --predictions DIR --protocol P`",
        )
    return StoredPredictions(predictions_root(Path(folder)))


def predictions_root(folder: Path) -> Path:
    """The folder that holds the videos: `folder` itself, or its `predictions` when it is a run."""
    if not folder.is_dir():
        raise UserError("there is no folder of predictions here", where=folder)
    if (folder / "manifest.json").is_file():
        if not (folder / "predictions").is_dir():
            raise UserError(
                "this run saved no predictions",
                where=folder,
                hint="run it again with --save-predictions; what is finished is only redone for the files",
            )
        return folder / "predictions"
    return folder


class StoredPredictions(Segmenter):
    """Reads one PNG of vocabulary indices per frame; photographs are never opened.

    A frame without truth may be absent: it is given as "other" everywhere and counted nowhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def segment(self, video: Video) -> Iterator[LabelMap]:
        files = frames_on_disk(inside(self.folder, check_id("video", video.id)))
        shape: tuple[int, ...] | None = None
        for index, name in enumerate(video.frame_names):
            if name in files:
                label_map = narrow(_read(files[name]), len(self.vocabulary))
                shape = label_map.shape
            elif video.annotated(index):
                raise _missing([f"{video.id}/{name}.png"], self.folder)
            else:
                if shape is None:
                    shape = _read(next(iter(files.values()))).shape if files else (1, 1)
                dtype = label_dtype(len(self.vocabulary))
                label_map = np.full(shape, other_of(dtype), dtype)
            yield label_map


def _read(path: Path) -> RawMask:
    """`read_mask`, whose advice is about data sets, with advice about predictions."""
    try:
        return read_mask(path)
    except UserError as error:
        raise UserError(
            f"a prediction cannot be used: {error.what}",
            where=error.where,
            hint="write this label map again, as a grey or palette PNG with one vocabulary index per pixel; "
            "if a run saved it: delete it and give the same `ovbench run ... --save-predictions` again",
        ) from error


def check_and_hash(
    folder: Path,
    dataset: Dataset,
    video_ids: Sequence[str],
    frames: int | None,
    progress: Callable[[str, int], None] | None = None,
) -> str:
    """Check that every frame that is scored has a file and nothing is left over; hash all files.

    Args:
        progress: told each video that was read, and how many files of it.

    Returns:
        SHA-256 over the names and bytes of the files that are used, so that scoring never goes on
        with records of other predictions.

    Raises:
        IncompleteError: missing videos or frames (the first few are named).
        UserError: videos or frames that the protocol does not have.
    """
    _refuse_extra_videos(folder, dataset)
    total = hashlib.sha256()
    missing: list[str] = []
    for video_id in video_ids:
        video = dataset.open(video_id)
        files = frames_on_disk(inside(folder, check_id("video", video_id)))
        if not getattr(dataset, "sparse", False):
            _refuse_extra_frames(folder, video, files)
        names = video.frame_names[:frames]
        for index, name in enumerate(names):
            if name in files:
                total.update(f"{video_id}/{name}\n".encode())
                total.update(hashlib.sha256(files[name].read_bytes()).digest())
            elif video.annotated(index):
                missing.append(f"{video_id}/{name}.png")
        if progress is not None:
            progress(video_id, sum(name in files for name in names))
    if missing:
        raise _missing(missing, folder)
    return total.hexdigest()


def _missing(names: Sequence[str], folder: Path) -> IncompleteError:
    videos = sorted({n.split("/")[0] for n in names})
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return IncompleteError(
        f"{len(names)} label maps are missing, in {len(videos)} videos: {shown}",
        where=folder,
        hint="expected <folder>/<video>/<frame>.png, named like the data set's frames; nothing was scored\n"
        f"         {_partial_advice(folder)}",
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


def _refuse_extra_videos(folder: Path, dataset: Dataset) -> None:
    known = set(dataset.video_ids)
    here = sorted(e.name for e in folder.iterdir() if not e.name.startswith("."))
    extra = [name for name in here if name not in known]
    if extra:
        raise UserError(
            f"{len(extra)} entries are no videos of this protocol: {', '.join(extra[:_SHOWN])}",
            where=folder,
            hint=f"its videos are named like {', '.join(list(dataset.video_ids)[:3])}; "
            "remove what does not belong, or choose the protocol that these were made for",
        )


def _refuse_extra_frames(folder: Path, video: Video, files: dict[str, Path]) -> None:
    extra = [name for name in files if name not in video.frame_names]
    if extra:
        raise UserError(
            f"{len(extra)} label maps are no frames of video '{video.id}': {', '.join(extra[:_SHOWN])}",
            where=folder / video.id,
            hint=f"its frames are named like {', '.join(video.frame_names[:3])}",
        )
