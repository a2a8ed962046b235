"""Whether the files of a run have the shape of ours: they may come from anybody, and what reads them relies on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from ovbench.core.errors import IntegrityError, UserError
from ovbench.core.paths import check_id
from ovbench.store.record import check_plain, damaged, of_another_version
from ovbench.store.rundir import FORMAT

Kind = type | tuple[type, ...]

_NEEDED = ("protocol", "method", "videos")
_NUMBER = (int, float, NoneType)
_TEXT = (str, NoneType)
_TABLE = (dict, NoneType)

_SUMMARY: dict[str, Kind] = {
    **dict.fromkeys(("protocol", "convention", "scores", "temporal", "intervals", "counts"), dict),
    "per_class": list,
    "complete": bool,
}
_SUMMARY_TOO: dict[str, Kind] = {
    **dict.fromkeys(("method", "tags", "open_vocabulary"), _TABLE),
    "missing_videos": list,
    "partial": _TEXT,
}
_MANIFEST: dict[str, Kind] = {
    **dict.fromkeys(("protocol", "method"), dict),
    **dict.fromkeys(("key", "options", "weights", "vocabulary", "data", "facts", "versions", "git"), _TABLE),
    "hardware": _TABLE,
    **dict.fromkeys(("videos", "sessions"), list),
    **dict.fromkeys(("partial", "run_key", "created", "device"), _TEXT),
    "frames": (int, NoneType),
    "untrained": bool,
}
_METHOD: dict[str, Kind] = {
    "id": str,
    **dict.fromkeys(("title", "kind", "variant", "weights", "weights_sha256", "source", "folder"), _TEXT),
    "options": _TABLE,
    "untrained": bool,
    "trained_on": list,
}
_PROTOCOL: dict[str, Kind] = {"id": str, "version": int, "hash": str}
_OPTIONS: dict[str, Kind] = {"given": _TABLE, "resolved": _TABLE}
_TIMING: dict[str, Kind] = {
    **dict.fromkeys(("frames_per_second", "frames_per_second_end_to_end"), _NUMBER),
    **dict.fromkeys(("peak_memory_mib", "peak_gpu_memory_mib", "jobs", "threads"), _NUMBER),
    **dict.fromkeys(("frame_ms", "hardware", "totals", "videos"), _TABLE),
    "device": _TEXT,
    "label_maps_reused": bool,
}


def sound_manifest(manifest: Mapping[str, Any], where: Path) -> Mapping[str, Any]:
    """`manifest` if it has the shape of ours; raises `IntegrityError` naming the file otherwise."""
    absent = [key for key in _NEEDED if key not in manifest]
    if absent:
        raise IntegrityError(
            f"the manifest lacks {', '.join(absent)}: no run of ours has written it",
            where=where,
            hint="leave this folder out, or run again with --fresh",
        )
    if manifest.get("format", FORMAT) != FORMAT:
        raise of_another_version(where, f"its format is {str(manifest['format'])[:20]}, not {FORMAT}")
    check_plain(manifest, where)
    wrong = [
        *_wrong(manifest, _MANIFEST),
        *_wrong(manifest["method"], _METHOD, "method.", "id"),
        *_wrong(manifest["protocol"], _PROTOCOL, "protocol.", "id", "hash"),
        *_wrong(manifest.get("options") or {}, _OPTIONS, "options."),
    ]
    if wrong:
        raise damaged(where, f"no manifest of ours ({', '.join(wrong)})")
    _check_videos(manifest["videos"], where)
    return manifest


def sound_summary(summary: Mapping[str, Any], where: Path) -> Mapping[str, Any]:
    """`summary` if it has the shape of ours; raises `IntegrityError` naming the file otherwise."""
    absent = [key for key in _SUMMARY if key not in summary]
    if absent and len(absent) < len(_SUMMARY):
        raise of_another_version(where, f"it lacks {', '.join(absent)}")
    check_plain(summary, where)
    wrong = [*_wrong(summary, _SUMMARY, "", *_SUMMARY), *_wrong(summary, _SUMMARY_TOO)]
    if wrong:
        raise damaged(where, f"no summary of ours ({', '.join(wrong)})")
    return summary


def sound_timing(timing: Mapping[str, Any], where: Path) -> Mapping[str, Any]:
    """`timing` if it has the shape of ours; raises `IntegrityError` naming the file otherwise."""
    check_plain(timing, where)
    wrong = [*_wrong(timing, _TIMING)]
    wrong += [f"{k} {v}" for k, v in timing.items() if isinstance(v, int | float) and v < 0]
    for key in ("frame_ms", "totals"):
        wrong += _wrong(timing.get(key) or {}, dict.fromkeys(timing.get(key) or {}, _NUMBER), f"{key}.")
    videos = timing.get("videos") or {}
    wrong += _wrong(videos, dict.fromkeys(videos, dict), "videos.")
    if wrong:
        raise damaged(where, f"no timing of ours ({', '.join(wrong[:5])})")
    return timing


def _wrong(table: Any, kinds: Mapping[str, Kind], prefix: str = "", *needed: str) -> Iterator[str]:
    """Keys that are absent though needed, or hold a value of another kind; a bool is no number."""
    if not isinstance(table, Mapping):
        return  # said where the table itself is looked at
    for key, kind in kinds.items():
        if key not in table:
            if key in needed:
                yield f"{prefix}{key}"
            continue
        value, allowed = table[key], kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            yield f"{prefix}{key} is {type(value).__name__}"


def _check_videos(videos: list[Any], where: Path) -> None:
    seen = set()
    for video in videos:
        if not isinstance(video, str):
            raise damaged(where, f"a video is {type(video).__name__}, no text")
        try:
            check_id("video", video)
        except UserError as error:
            raise damaged(where, error.what) from error
        if video in seen:
            raise damaged(where, f"video '{video}' is listed twice")
        seen.add(video)
