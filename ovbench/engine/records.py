"""Records of a run with their counts decoded, as scores and comparisons read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ovbench.core.errors import IntegrityError
from ovbench.metrics.videocounts import OtherLayout, VideoCounts
from ovbench.store.record import Record, damaged, of_another_version
from ovbench.store.rundir import RunDir


@dataclass(frozen=True)
class CountedVideo:
    """A record whose counts are decoded: what `summarize` and `run_sample` take."""

    video_id: str
    counts: VideoCounts
    timing: Mapping[str, Any]


def decode(record: Record, where: object = None) -> CountedVideo:
    """Decode a record's counts; raises `IntegrityError` naming the file when they are damaged or of another version."""
    try:
        counts = VideoCounts.from_json(record.counts)
    except OtherLayout as error:
        raise of_another_version(where, error.what) from error
    except IntegrityError as error:
        raise damaged(where, error.what) from error
    return CountedVideo(record.video_id, counts, record.timing)


def read_records(
    run: RunDir, video_ids: Iterable[str] | None = None, run_key: str | None = None
) -> list[CountedVideo]:
    """Finished videos in the order of `video_ids` (default: the manifest's); others are left out.

    One is read at a time: its JSON takes several times the memory of its counts.

    Raises:
        IntegrityError: one is damaged, or (with `run_key`) was made by another run.
    """
    found = []
    for record in run.iterate(video_ids):
        where = run.record_path(record.video_id)
        if run_key is not None and record.run_key != run_key:
            raise IntegrityError(
                "a record of another run lies in this folder",
                where=where,
                hint="delete it and give the command of this run again, or leave this folder out",
            )
        found.append(decode(record, where))
    return found
