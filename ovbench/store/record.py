"""One finished video: its integer counts, hashes and timing. Its file appears last and is never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovbench.core.errors import IntegrityError

_DEEPEST = 32
_LARGEST = 1 << 63


@dataclass(frozen=True)
class Record:
    """What a run keeps of one video.

    `counts` is everything a score is made from, as plain JSON; `ovbench.engine.records` turns it into
    `VideoCounts`. `frames_sha256` is the fingerprint of the frames that were counted,
    `predictions_sha256` over the label maps (dtype, shape and bytes, in order). `timing` holds
    seconds and is never read by a score.
    """

    video_id: str
    run_key: str
    counts: Mapping[str, Any]
    frames_sha256: str = ""
    predictions_sha256: str = ""
    timing: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "video": self.video_id,
            "run_key": self.run_key,
            "counts": dict(self.counts),
            "frames_sha256": self.frames_sha256,
            "predictions_sha256": self.predictions_sha256,
            "timing": dict(self.timing),
        }

    @classmethod
    def from_json(cls, value: Any, where: object = None) -> Record:
        """The inverse of `to_json`; raises `IntegrityError` naming `where` for anything else."""
        try:
            return cls(
                str(value["video"]),
                str(value["run_key"]),
                dict(value["counts"]),
                str(value.get("frames_sha256", "")),
                str(value.get("predictions_sha256", "")),
                dict(value.get("timing", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(where, f"{type(error).__name__}: {error}") from error


def read_record(path: Path) -> Record:
    """Read a record file; raises `IntegrityError` when it is damaged or stands under another name."""
    value = read_json(path)
    check_plain(value, path)
    record = Record.from_json(value, path)
    if record.video_id != path.stem:
        raise damaged(path, f"it is the record of video '{record.video_id}'")
    return record


def read_json(path: Path) -> Any:
    """A JSON file that we wrote; raises `IntegrityError` when it does not parse."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # deep nesting is no ValueError
        raise damaged(path, f"not JSON: {error}") from error


def check_plain(tree: Any, where: object) -> None:
    """Raise `IntegrityError` for what no file of ours holds: deep nesting, numbers that are none or beyond 64 bits."""
    waiting = [(tree, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise damaged(where, "it is nested more deeply than ours are")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)
        kinds = set(map(type, inner))
        numbers = [v for v in inner if type(v) in (int, float)] if kinds & {int, float} else ()
        if (
            numbers
            and not -_LARGEST <= min(numbers) <= max(numbers) < _LARGEST
            or any(v != v for v in numbers)
        ):
            raise damaged(where, "it holds a number that is none, or beyond 64 bits")
        if kinds & {dict, list}:
            waiting += [(v, depth + 1) for v in inner if isinstance(v, dict | list)]


def of_another_version(path: object, reason: str) -> IntegrityError:
    """The error for a stored file that is whole, but not laid out as this version of ovbench lays it out."""
    return IntegrityError(
        f"a stored file was written by another version of ovbench: {reason}",
        where=path,
        hint="the same `ovbench run` or `ovbench score` command makes it again (with --fresh where it names the "
        "same --out)",
    )


def damaged(path: object, reason: str) -> IntegrityError:
    """The error for a stored file that is not as we wrote it."""
    return IntegrityError(
        f"a stored file is damaged: {reason}",
        where=path,
        hint="delete this file and run the same command again: only what is missing is done",
    )
