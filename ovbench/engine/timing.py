"""`timing.json`: how fast and how large a run was. Scores never look here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .environment import gpu_name, hardware
from .plan import Plan
from .records import CountedVideo

_SECONDS = ("segment_s", "decode_s", "truth_s", "count_s", "flow_s", "write_s", "background_s", "total_s")


def timing_report(
    plan: Plan, records: Sequence[CountedVideo], peak_mib: float | None, peak_gpu_mib: float | None
) -> dict[str, Any]:
    """Per video and in total. `frames_per_second` is the method alone, without decoding and counting,
    and leaves out each worker's first video where others exist (warm-up).

    Seconds are those of the workers' own clocks: `segment_s` in the method; `decode_s`, `truth_s` and `write_s`
    reading pictures and masks and hashing and storing label maps, or, in a video that is `overlapped`, waiting
    for the threads that do so, which worked for `background_s`.
    """
    videos = {r.video_id: dict(r.timing) for r in records}
    reused = plan.request.label_maps is not None  # reading files says nothing about the method's speed
    rows = list(videos.values())
    warm = [t for t in rows if not t.get("first_of_worker")] or rows
    return {
        "videos": videos,
        "totals": {
            "frames": sum(t.get("frames", 0) for t in rows),
            **{key: round(sum(t.get(key, 0.0) for t in rows), 3) for key in _SECONDS},
        },
        "overlapped_videos": sum(bool(t.get("overlapped")) for t in rows),
        "label_maps_reused": reused,
        "frames_per_second": None if reused else _rate(warm, "segment_s"),
        "frames_per_second_end_to_end": None if reused else _rate(warm, "total_s"),
        "frame_ms": {"p50": _middle(warm, "frame_ms_p50"), "p95": _middle(warm, "frame_ms_p95")},
        "peak_memory_mib": peak_mib,
        "peak_gpu_memory_mib": peak_gpu_mib,
        "jobs": plan.jobs,
        "threads": plan.request.threads,
        "device": plan.device,
        "hardware": {**hardware(), "gpu": gpu_name(plan.device)},
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies, interpolated; of at least one value.

    NumPy's loads its masked arrays for it, which takes longer than everything else about a video's timing.
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _rate(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    seconds = sum(t.get(key, 0.0) for t in rows)
    return round(sum(t.get("frames", 0) for t in rows) / seconds, 3) if seconds > 0 else None


def _middle(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [t[key] for t in rows if t.get(key) is not None]
    return round(quantile(values, 0.5), 3) if values else None
