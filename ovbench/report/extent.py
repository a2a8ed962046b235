"""How much of its protocol a run covers: held against the protocol's own videos, whatever the manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import IntegrityError
from ovbench.protocol.schema import Protocol
from ovbench.store.rundir import RunDir

if TYPE_CHECKING:
    from .model import Run

Listed = Mapping[str, int | None]
"""Video -> number of its frames (None: not known here), in protocol order."""

_known: dict[tuple[str, str, str], Listed | None] = {}


def listed_videos(protocol: Protocol, data_root: Path | None = None) -> Listed | None:
    """The videos of a protocol, where they are known: the world's, those that the protocol lists, or a data set's.

    Args:
        data_root: the data set's folder; without it None is returned for real data of which the protocol takes all.

    Raises:
        UserError: a data root that does not hold the data set.
    """
    if protocol.dataset.name == "world":
        data_root = None
    key = (protocol.hash, protocol.dataset.name, "" if data_root is None else str(data_root))
    if key not in _known:
        _known[key] = _listed(protocol, data_root)
    return _known[key]


def limits(run: Run, protocol: Protocol, data_root: Path | None = None) -> str | None:
    """Why a run is not whole, in the words of a manifest ("first 2 of 36 videos"); None for a whole run.

    Where the protocol's videos are not known (`listed_videos`), what the manifest says of them has to be believed.

    Raises:
        IntegrityError: a video that the protocol does not have.
        UserError: as `listed_videos`.
    """
    there, frames = listed_videos(protocol, data_root), frames_limit(run.manifest)
    if there is None:
        stated: str | None = run.manifest.get("partial")
        return stated or _words([], frames)
    foreign = [v for v in run.videos if v not in there]
    if foreign:
        raise IntegrityError(
            f"{len(foreign)} videos of this run are none of protocol '{protocol.id}', first: '{foreign[0]}'",
            where=run.path,
        )
    count, total = len(run.videos), len(there)
    parts = []
    if run.videos != tuple(there)[:count]:
        parts = [f"{count} of {total} videos, not the first"]
    elif count < total:
        parts = [f"first {count} of {total} videos"]
    return _words([*parts, *_short(run, there, frames)], frames)


def check_extent(run: Run, protocol: Protocol, data_root: Path | None) -> None:
    """That the manifest says itself how much of the protocol's videos and frames the run leaves out."""
    stated, true = run.manifest.get("partial"), limits(run, protocol, data_root)
    if stated != true:
        says = f"is partial ({str(stated)[:80]})" if stated else "is whole"
        does = f"covers only: {true}" if true else "covers every video and frame"
        raise IntegrityError(
            f"the manifest says that this run {says}; against the list of protocol '{protocol.id}' it {does}",
            where=run.path / "manifest.json",
        )


def check_frames(run: Run, protocol: Protocol, data_root: Path | None) -> None:
    """That every record counts as many frames as the video has, or the run was limited to."""
    there = listed_videos(protocol, data_root)
    if there is None:
        return
    for record in run.records:
        expected = expected_frames(there, record.video_id, frames_limit(run.manifest))
        if expected is not None and record.counts.frames != expected:
            raise IntegrityError(
                f"the record of video '{record.video_id}' counts {record.counts.frames} frames; it has {expected}",
                where=RunDir(run.path).record_path(record.video_id),
            )


def unlisted(run: Run, protocol: Protocol, data_root: Path | None) -> str | None:
    """That nobody could check which videos the protocol has."""
    if listed_videos(protocol, data_root) is not None:
        return None
    return f"list of videos not checked ({len(run.videos)} here): the data set is not here; --data-root DIR checks it"


def frames_limit(manifest: Mapping[str, Any]) -> int | None:
    """The number of frames that each video was cut to, by the manifest or by its run key."""
    key = manifest.get("key")
    found = manifest.get("frames")
    if found is None and isinstance(key, Mapping):
        found = key.get("frames")
    return found if isinstance(found, int) else None


def expected_frames(there: Listed, video_id: str, frames: int | None) -> int | None:
    """How many frames of a video a run counts; None where it is not known."""
    count = there[video_id]
    return count if count is None or frames is None else min(count, frames)


def _short(run: Run, there: Listed, frames: int | None) -> list[str]:
    """That the summary counts fewer frames than its videos have."""
    counted = ((run.summary or {}).get("counts") or {}).get("frames")
    expected = [expected_frames(there, v, frames) for v in run.videos]
    total = sum(n for n in expected if n is not None)
    if not run.complete or None in expected or not isinstance(counted, int) or counted == total:
        return []
    return [f"{counted} of {total} frames"]


def _words(parts: list[str], frames: int | None) -> str | None:
    cut = [] if frames is None else [f"first {frames} frames of each video"]
    return ", ".join([*parts, *cut]) or None


def _listed(protocol: Protocol, data_root: Path | None) -> Listed | None:
    from ovbench.datasets.open import open_dataset

    if protocol.dataset.name == "world" or data_root is not None:
        dataset = open_dataset(protocol, data_root, need_images=False)
        return {v: dataset.frame_count(v) for v in dataset.video_ids}
    return dict.fromkeys(protocol.dataset.videos) or None
