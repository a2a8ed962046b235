"""Does a folder hold what a protocol reads? Every file is decoded once; findings say what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ovbench.core.errors import UserError
from ovbench.core.types import RawMask
from ovbench.core.words import plural
from ovbench.protocol.schema import IGNORE, Protocol
from ovbench.store.masks import read_image

from .files import UNDECLARED, FileDataset, VideoFiles
from .open import open_unchecked
from .scan import Finding

__all__ = ["SEVERITIES", "Finding", "Progress", "verify"]

SEVERITIES = ("error", "warning", "info")

Progress = Callable[[int, int, str], None]
"""Called with (videos done, videos in all, video id) before each video."""


@dataclass
class _Tally:
    """What was seen so far, over all videos."""

    videos: int = 0
    frames: int = 0
    annotated: int = 0
    class_pixels: Counter[int] = field(default_factory=Counter)


def verify(
    protocol: Protocol,
    data_root: Path | None,
    train: bool = False,
    progress: Progress | None = None,
) -> list[Finding]:
    """Check the split that a protocol evaluates (or trains on), file by file.

    Problems of the data become findings, not exceptions; the last finding, an info, counts what
    was checked. Equal problems of one video are reported once, with their number and first place.

    Raises:
        UserError: no data root although one is needed, or no training split.
    """
    if protocol.dataset.name == "world":
        from .verify_world import verify_world

        return verify_world(protocol, train, progress)
    if data_root is None:
        open_unchecked(protocol, None, train=train)  # raises, saying how the data are obtained
    tally = _Tally()
    try:
        dataset = open_unchecked(protocol, data_root, train=train)
        assert isinstance(dataset, FileDataset)
        ids = [v for v in dataset.video_ids if v not in dataset.missing]
    except UserError as error:
        return [_from_error(error, data_root)]
    findings = list(dataset.findings)
    for done, video_id in enumerate(ids):
        if progress is not None:
            progress(done, len(ids), video_id)
        findings += _check_video(protocol, dataset, video_id, tally)
    return [*findings, *_absent_classes(protocol, tally, dataset), _summary(dataset, tally)]


def _check_video(protocol: Protocol, dataset: FileDataset, video_id: str, tally: _Tally) -> list[Finding]:
    files = dataset.files(video_id)
    findings = list(files.findings)
    findings += _annotation(files, dataset)
    findings += _lengths(protocol, files, dataset)
    findings += _merge(_decode(protocol, dataset, files, tally))
    tally.videos += 1
    tally.frames += len(files.frames)
    tally.annotated += sum(f.mask is not None for f in files.frames)
    return findings


def _annotation(files: VideoFiles, dataset: FileDataset) -> list[Finding]:
    bare = [f for f in files.frames if f.mask is None]
    if dataset.sparse or not bare or len(bare) == len(files.frames):
        return []
    return [
        Finding(
            "warning",
            f"video '{files.video_id}': {len(bare)} of {len(files.frames)} frames have no mask, "
            f"first '{bare[0].name}'",
            str(bare[0].image),
            "fetch the masks again if they should exist; otherwise these frames are segmented but "
            "not scored, and no VC window crosses them",
        )
    ]


def _lengths(protocol: Protocol, files: VideoFiles, dataset: FileDataset) -> list[Finding]:
    short = [n for n in protocol.windows if 0 < len(files.frames) < n]
    if not short or dataset.sparse:
        return []
    return [
        Finding(
            "warning",
            f"video '{files.video_id}' has {len(files.frames)} frames, fewer than a window of "
            f"{' or '.join(map(str, short))}",
            str(dataset.root),
            "nothing to do if the video is complete: it adds nothing to "
            + " and ".join(f"VC{n}" for n in short),
        )
    ]


def _decode(protocol: Protocol, dataset: FileDataset, files: VideoFiles, tally: _Tally) -> Iterator[Finding]:
    """Every problem of every image and mask, each placed at its file."""
    first: tuple[int, ...] | None = None
    for frame in files.frames:
        for kind, path, decode in (
            ("image", frame.image, read_image),
            ("mask", frame.mask, dataset.decode_truth),
        ):
            if path is None:
                continue
            try:
                pixels = decode(path)
            except UserError as error:
                yield _from_error(error)
                continue
            size = pixels.shape[:2]
            first = first or size
            if size != first:
                yield Finding(
                    "error",
                    f"{kind} of {_by(size)} pixels in a video of {_by(first)}",
                    str(path),
                    "fetch the file again: images and masks of one video share one size",
                )
            if kind == "mask":
                yield from _ids(protocol, pixels, path, tally)


def _ids(protocol: Protocol, mask: RawMask, path: Path, tally: _Tally) -> Iterator[Finding]:
    pixels = np.bincount(mask.ravel())
    for raw in np.flatnonzero(pixels):
        index = int(protocol.truth_table[raw])
        if index == UNDECLARED:
            yield Finding(
                "error",
                f"id {raw} is neither a class nor an ignore id of protocol '{protocol.id}'",
                str(path),
                "fetch the mask again; if the id is meant, declare it in a protocol of your own "
                "(ignore_ids, or a class)",
            )
        elif index != IGNORE:
            tally.class_pixels[index] += int(pixels[raw])


def _merge(findings: Iterable[Finding]) -> list[Finding]:
    """Equal findings become one, which says how many there are and where the first one is."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        places.setdefault(replace(finding, where=""), []).append(finding.where)
    return [
        replace(
            finding,
            what=finding.what if len(where) == 1 else f"{finding.what} ({len(where)} files, the first shown)",
            where=where[0],
        )
        for finding, where in places.items()
    ]


def _absent_classes(protocol: Protocol, tally: _Tally, dataset: FileDataset) -> list[Finding]:
    scored = protocol.scored_classes if dataset.split == protocol.dataset.split else ()
    absent = [protocol.classes[c].name for c in scored if not tally.class_pixels[c]]
    if not absent:
        return []
    return [
        Finding(
            "warning",
            f"{len(absent)} of {len(scored)} scored classes never occur: {', '.join(absent)}",
            str(dataset.root),
            "if the data are complete the classes are left out of every mean (and named there)",
        )
    ]


def _summary(dataset: FileDataset, tally: _Tally) -> Finding:
    what = (
        f"checked {dataset.name} {dataset.split}: {plural(tally.videos, 'video')}, {plural(tally.frames, 'frame')}, "
        f"{plural(tally.annotated, 'mask')}"
    )
    whole = dataset.released_videos.get(dataset.split)
    if whole is None or dataset.only or len(dataset.video_ids) == whole:
        return Finding("info", what, str(dataset.root))
    return Finding(
        "info",
        f"{what}; the list names {len(dataset.video_ids)} videos, the published one {whole}",
        str(dataset.root),
        "nothing to do for a subset of your own, but its numbers belong beside no others; otherwise "
        "fetch the list again",
    )


def _from_error(error: UserError, where: object = "") -> Finding:
    return Finding("error", error.what, error.where or str(where), error.hint or "")


def _by(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"
