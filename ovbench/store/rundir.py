"""A run on disk: manifest first, one record per finished video, summary and timing last."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ovbench.core.errors import IncompleteError, UserError
from ovbench.core.paths import check_id, inside

from .atomic import is_temporary, write_json
from .lock import LOCK_NAME
from .record import Record, damaged, read_json, read_record

_OURS = ("manifest.json", "summary.json", "timing.json", LOCK_NAME)
_OUR_FOLDERS = ("records", "predictions")

FORMAT = 1
"""Of a run folder, in its manifest. Raised when the meaning of a file in it changes."""


class RunDir:
    """The folder of one run.

    Layout: `manifest.json`, `records/<video>.json`, `summary.json`, `timing.json` and, where asked
    for, `predictions/<video>/<frame>.png`. Every file is written atomically; `summary.json` is there
    only when all videos that were asked for have a record.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest_path = self.path / "manifest.json"
        self.summary_path = self.path / "summary.json"
        self.timing_path = self.path / "timing.json"
        self.records_path = self.path / "records"
        self.predictions_path = self.path / "predictions"

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r})"

    def has_manifest(self) -> bool:
        """Whether a run was begun here."""
        return self.manifest_path.is_file()

    def manifest(self) -> dict[str, Any]:
        """The manifest; raises `UserError` when this is no run folder."""
        if not self.has_manifest():
            raise UserError(
                "this is not the folder of a run: it has no manifest.json",
                where=self.path,
                hint="give a folder that `ovbench run` or `ovbench score` has written (--out)",
            )
        return _table(self.manifest_path)

    def summary(self) -> dict[str, Any]:
        """The summary; raises `IncompleteError` when the run is not finished."""
        if not self.summary_path.is_file():
            done = len(self.finished())
            raise IncompleteError(
                f"this run is not finished: {done} videos have a record and there is no summary",
                where=self.path,
                hint="run the same command again; it goes on where it stopped",
            )
        return _table(self.summary_path)

    def timing(self) -> dict[str, Any] | None:
        """Speed and memory, or None where they are not there."""
        return _table(self.timing_path) if self.timing_path.is_file() else None

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        write_json(self.manifest_path, manifest)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_json(self.summary_path, summary)

    def write_timing(self, timing: Mapping[str, Any]) -> None:
        write_json(self.timing_path, timing)

    def record_path(self, video_id: str) -> Path:
        return inside(self.records_path, f"{check_id('video', video_id)}.json")

    def write_record(self, record: Record) -> None:
        """Commit a video. Everything else about it must be on disk before."""
        write_json(self.record_path(record.video_id), record.to_json(), indent=None)

    def finished(self) -> set[str]:
        """Ids of the videos that have a record."""
        if not self.records_path.is_dir():
            return set()
        return {p.stem for p in self.records_path.glob("*.json") if not p.name.startswith(".")}

    def record(self, video_id: str) -> Record | None:
        """The record of a video, None where it has none; raises `IntegrityError` for a link or a damaged one."""
        path = self.records_path / f"{check_id('video', video_id)}.json"
        if path.is_symlink():  # it may lead anywhere, and what it leads to is packed by nobody
            raise damaged(path, "it is a link, not a file of ours")
        path = self.record_path(video_id)
        return read_record(path) if path.is_file() else None

    def records(self, video_ids: Iterable[str] | None = None) -> list[Record]:
        """Records in the order of `video_ids` (those that exist), else in the manifest's order.

        Their counts are plain JSON; `ovbench.engine.records.read_records` decodes them.
        """
        return list(self.iterate(video_ids))

    def iterate(self, video_ids: Iterable[str] | None = None) -> Iterator[Record]:
        """The same one by one."""
        if video_ids is None:
            video_ids = self.manifest().get("videos") or sorted(self.finished())
        for video_id in video_ids:
            record = self.record(video_id)
            if record is not None:
                yield record

    def forget_results(self) -> None:
        """Remove summary and timing: they must not stand beside records they were not made from."""
        self.summary_path.unlink(missing_ok=True)
        self.timing_path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes left half-written. Call it while holding the lock."""
        for folder in (self.path, self.records_path, self.predictions_path):
            if folder.is_dir():
                for entry in folder.iterdir():
                    if is_temporary(entry):
                        _remove(entry)

    def foreign(self) -> list[str]:
        """Names in the folder that no run has written."""
        if not self.path.is_dir():
            return []
        known = {*_OURS, *_OUR_FOLDERS}
        return sorted(e.name for e in self.path.iterdir() if e.name not in known and not is_temporary(e))

    def clear(self) -> None:
        """Delete the files of the run that lie here, and nothing else (`--fresh`)."""
        self.sweep()
        begun = self.manifest().get("videos", []) if self.has_manifest() else []
        for video_id in self.finished().union(begun):
            shutil.rmtree(self.predictions_path / video_id, ignore_errors=True)
            self.record_path(video_id).unlink(missing_ok=True)
        self.forget_results()
        self.manifest_path.unlink(missing_ok=True)
        for folder in (self.predictions_path, self.records_path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _table(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise damaged(path, "it is no JSON object")
    return found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
