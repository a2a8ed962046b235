"""`summary.json`: a pure function of the protocol and the integer counts of the videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ovbench.core.errors import IntegrityError
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import LEVEL, RESAMPLES, SEED, Interval, intervals, none_if_nan

from .conventions import convention
from .groups import scored_groups
from .iou import METRICS, class_scores
from .sample import ClassSums, RecordLike, class_sums, run_sample, score_names, scores, total_sums
from .temporal import MODES, temporal_summary

_SLACK = 1e-6  # percent; rounding of float64 sums


def summarize(
    protocol: Protocol,
    records: Sequence[RecordLike],
    method: Mapping[str, Any],
    *,
    partial: str | None = None,
    expected_videos: Sequence[str],
) -> dict[str, Any]:
    """Score a run. Scores in percent, float64; what is undefined is None, never NaN.

    Args:
        records: one per finished video, in any order.
        method: facts about the method, copied into the summary.
        partial: why this is not a whole run by request ("first 3 videos"); None for a whole run.
        expected_videos: ids of all videos the run should hold, in protocol order; those without a
            record are listed as missing and the summary is marked incomplete.

    Raises:
        IntegrityError: a video twice or not expected, labels foreign to the protocol, or scores
            that contradict each other.
    """
    ordered = _in_order(records, expected_videos)
    by_id = {r.video_id for r in ordered}
    missing = [v for v in expected_videos if v not in by_id]
    sums = [class_sums(protocol, r.counts.joint) for r in ordered]
    total = total_sums(protocol, sums)
    found = _named_scores(protocol, total)
    check_sanity(protocol, total, found)
    rule = convention(protocol.convention)
    return {
        "protocol": {"id": protocol.id, "version": protocol.version, "hash": protocol.hash},
        "method": dict(method),
        "convention": {"id": rule.id, "text": rule.text},
        "partial": partial,
        "complete": not missing,
        "missing_videos": missing,
        "scores": found,
        "per_class": _per_class(protocol, total, sums),
        "temporal": temporal_summary(protocol, [r.counts for r in ordered]),
        "intervals": _intervals(protocol, ordered, sums),
        "tags": _tags(protocol, ordered),
        "counts": _counts(protocol, total, ordered),
    }


def check_sanity(protocol: Protocol, total: ClassSums, found: Mapping[str, Any]) -> None:
    """What arithmetic guarantees: mIoU <= mAcc, fwIoU <= pAcc, and pAcc^2 <= fwIoU.

    The last follows from Cauchy-Schwarz as long as the group's classes are predicted on no more
    pixels than the group's truth has; abstention only lowers the left side. It says nothing about
    a subgroup that wins pixels of other classes, so it is not asked there.
    """
    for group, members in scored_groups(protocol).items():
        s = found[group]
        if s["miou"] is None:
            continue
        bounded = total.prediction[members].sum() <= total.truth[members].sum()
        broken = [
            rule
            for rule, holds in (
                ("mIoU <= mAcc", s["miou"] <= s["macc"] + _SLACK),
                ("fwIoU <= pAcc", s["fwiou"] <= s["pacc"] + _SLACK),
                ("pAcc^2 <= fwIoU", not bounded or s["pacc"] ** 2 / 100 <= s["fwiou"] + _SLACK),
            )
            if not holds
        ]
        if broken:
            raise IntegrityError(
                f"the scores of group '{group}' contradict each other: {', '.join(broken)} does not hold",
                where=f"protocol {protocol.id}",
                hint="a record is damaged; run again with --fresh",
            )


def _in_order(records: Sequence[RecordLike], expected: Sequence[str]) -> list[RecordLike]:
    place = {video: i for i, video in enumerate(expected)}
    seen: set[str] = set()
    for record in records:
        if record.video_id in seen:
            raise IntegrityError(f"two records for video '{record.video_id}'")
        if record.video_id not in place:
            raise IntegrityError(
                f"a record for video '{record.video_id}', which does not belong to this run",
                hint="use a new output folder, or --fresh",
            )
        seen.add(record.video_id)
    return sorted(records, key=lambda r: place[r.video_id])


def _named_scores(protocol: Protocol, total: ClassSums) -> dict[str, Any]:
    row = scores(protocol, total.row()[None].astype(np.float64))[0]
    return _nested({n: none_if_nan(v) for n, v in zip(score_names(protocol), row, strict=True)})


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1, "c": 2} -> {"a": {"b": 1}, "c": 2}."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        group, dot, metric = name.rpartition(".")
        if dot:
            tree.setdefault(group, {})[metric] = value
        else:
            tree[name] = value
    return tree


def _per_class(protocol: Protocol, total: ClassSums, sums: Sequence[ClassSums]) -> list[dict[str, Any]]:
    arrays = (total.intersection, total.truth, total.prediction)
    iou, acc = class_scores(*(a.astype(np.float64) for a in arrays))
    rule = convention(protocol.convention)
    enters = rule.enters_iou(total.truth.astype(np.float64), total.prediction.astype(np.float64))
    present = np.zeros(len(protocol.classes), np.int64)
    for video in sums:
        present += video.truth > 0
    return [
        {
            "index": c,
            "name": protocol.classes[c].name,
            "group": "seen" if protocol.classes[c].seen else "unseen",
            "kind": protocol.classes[c].kind,
            "iou": none_if_nan(np.nan_to_num(iou[c])) if enters[c] else None,
            "acc": none_if_nan(acc[c]),
            "truth": int(total.truth[c]),
            "prediction": int(total.prediction[c]),
            "videos": int(present[c]),
        }
        for c in sorted(protocol.scored_classes)
    ]


def _intervals(
    protocol: Protocol, records: Sequence[RecordLike], sums: Sequence[ClassSums]
) -> dict[str, Any]:
    found = intervals(run_sample(protocol, records, sums))
    groups = scored_groups(protocol)
    wanted = {f"{g}.{m}": None for g in groups for m in METRICS} | {"harmonic.miou": None}
    temporal: dict[str, Any] = {}
    for n in protocol.windows:
        temporal[f"vc{n}"] = {m: _pair(found.get(f"vc{n}.{m}")) for m in MODES}
    return {
        "level": LEVEL,
        "resamples": RESAMPLES,
        "seed": SEED,
        "unit": "video",
        "units": len(records),
        "scores": _nested({name: _pair(found[name]) for name in wanted}),
        "temporal": temporal,
    }


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _tags(protocol: Protocol, records: Sequence[RecordLike]) -> dict[str, Any]:
    """Scores over the frames of each tag apart (the world's clean and corrupted frames)."""
    tags = sorted({tag for r in records for tag in r.counts.tags})
    result = {}
    for tag in tags:
        parts = [r.counts.tags[tag] for r in records if tag in r.counts.tags]
        total = total_sums(protocol, (class_sums(protocol, p.joint) for p in parts))
        result[tag] = {"frames": sum(p.frames for p in parts), "scores": _named_scores(protocol, total)}
    return result


def _counts(protocol: Protocol, total: ClassSums, records: Sequence[RecordLike]) -> dict[str, Any]:
    groups = scored_groups(protocol)
    return {
        "videos": len(records),
        "frames": sum(r.counts.frames for r in records),
        "annotated_frames": sum(r.counts.annotated for r in records),
        "pixels": int(total.truth.sum()),
        "classes": {g: int((total.truth[m] > 0).sum()) for g, m in groups.items()},
        "scored_classes": {g: len(m) for g, m in groups.items()},
    }
