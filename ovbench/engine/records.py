"""Records of a run with their counts decoded, as scores and comparisons read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ovbench.core.errors import IntegrityError
from ovbench.metrics.videocounts import VideoCounts
from ovbench.store.record import Record, damaged
from ovbench.store.rundir import RunDir


@dataclass(frozen=True)
class CountedVideo:
    """A record whose counts are decoded: what `summarize` and `run_sample` take."""

    video_id: str
    counts: VideoCounts
    timing: Mapping[str, Any]


def decode(record: Record, where: object = None) -> CountedVideo:
    """Decode a record's counts; raises `IntegrityError` naming the file when they are damaged."""
    try:
        counts = VideoCounts.from_json(record.counts)
    except IntegrityError as error:
        raise damaged(where, error.what) from error
    return CountedVideo(record.video_id, counts, record.timing)


def read_records(run: RunDir, video_ids: Iterable[str] | None = None) -> list[CountedVideo]:
    """Finished videos in the order of `video_ids` (default: the manifest's); others are left out.

    One is read at a time: its JSON takes several times the memory of its counts.
    """
    return [decode(r, run.record_path(r.video_id)) for r in run.iterate(video_ids)]
