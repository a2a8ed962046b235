"""What lies in a run folder before work begins: what is kept, what is done again, what must not be touched."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ovbench.core.errors import IntegrityError, UserError
from ovbench.datasets.base import Video
from ovbench.methods.predictions import StoredPredictions
from ovbench.store.predictions import frames_on_disk
from ovbench.store.rundir import RunDir

from .manifest import data_id
from .plan import Plan
from .progress import note

Stamp = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """The plan's videos that have a record.

    `finished` need not be done again. `again` are those that must, with the stamp of the record that their
    new one replaces; `changed` are those of them whose frames are others now.
    """

    finished: frozenset[str] = frozenset()
    again: Mapping[str, Stamp] = field(default_factory=dict)
    changed: tuple[str, ...] = ()

    def safe(self, directory: RunDir, plan: Plan) -> int:
        """How many videos are finished by now, counted on disk: stopped workers may have committed more than
        they could report, and records that are about to be replaced do not count."""
        here = directory.finished().intersection(plan.video_ids)
        return sum(v not in self.again or self.again[v] != _stamp(directory.record_path(v)) for v in here)


def look(directory: RunDir, plan: Plan) -> Found:
    """Compare the records with the plan.

    Raises:
        IntegrityError: a record is damaged or of another run.
        UserError: the run was made from other data; it is not touched.
    """
    present = directory.finished()
    finished, again, changed = set(), {}, []
    stored = _stored(plan)
    for video_id in (v for v in plan.video_ids if v in present):
        record = directory.record(video_id)
        if record is None:
            continue
        where = directory.record_path(video_id)
        if record.run_key != plan.run_key:
            raise IntegrityError(
                "a record of another run lies in this folder",
                where=where,
                hint="give another folder with --out, or --fresh to begin anew",
            )
        video = plan.dataset.open(video_id)
        if record.frames_sha256 != video.fingerprint(plan.request.frames):
            changed.append(video_id)
        elif _has_label_maps(directory, plan, video, stored):
            finished.add(video_id)
            continue
        again[video_id] = _stamp(where)
    if present and len(changed) == len(finished) + len(again):
        _refuse_other_data(directory, plan, len(changed))
    for video_id in changed:
        note(f"video '{video_id}' has changed on disk since it was counted: it is done again")
    return Found(frozenset(finished), again, tuple(changed))


def _stored(plan: Plan) -> StoredPredictions | None:
    """The label maps that are scored, where copies of them are to be kept: there may be none of some frames."""
    if not plan.request.save_predictions or plan.selection.card.id != "predictions":
        return None
    stored = StoredPredictions(Path(plan.selection.options["folder"]), plan.dataset.video_ids)
    stored.prepare(plan.protocol.vocabulary)
    return stored


def _has_label_maps(directory: RunDir, plan: Plan, video: Video, stored: StoredPredictions | None) -> bool:
    if not plan.request.save_predictions:
        return True
    due = len(video.frame_names[: plan.request.frames])
    if stored is not None:
        due -= sum(index < due and not video.annotated(index) for index in stored.absent(video))
    return len(frames_on_disk(directory.predictions_path / video.id)) == due


def _refuse_other_data(directory: RunDir, plan: Plan, changed: int) -> None:
    """No record would be kept: other data of the same names must not replace what is finished.

    A finished run of a single video is done again where it was made, for its one video may have been mended.
    """
    old = directory.manifest().get("data", {}).get("root_id") if directory.has_manifest() else None
    elsewhere = old is not None and old != data_id(plan)
    if not elsewhere and not (changed > 1 and directory.summary_path.is_file()):
        return
    reason = "was made from another data root" if elsewhere else "was made from other files"
    raise UserError(
        f"the run in this folder {reason}: none of its videos is the same here; it is left as it is",
        where=directory.path,
        hint="give another folder with --out, or --fresh to delete that run and begin anew",
    )


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino


def missing_folders(path: Path) -> tuple[Path, ...]:
    """`path` and the folders above it that do not exist yet, innermost first."""
    return tuple(p for p in (path, *path.parents) if not p.exists())


def withdraw(directory: RunDir, made: bool) -> None:
    """Remove a run that failed before its first record. Call it while holding the lock.

    Args:
        made: the folder was made for this run, so whatever lies in it is the run's.
    """
    directory.manifest_path.unlink(missing_ok=True)
    if made:
        shutil.rmtree(directory.predictions_path, ignore_errors=True)
    for folder in (directory.predictions_path, directory.records_path):
        with suppress(OSError):
            folder.rmdir()


def remove_empty(folders: tuple[Path, ...]) -> None:
    """Remove folders, innermost first, as long as they are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
