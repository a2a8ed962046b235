"""`summary.json`: a pure function of the protocol and the integer counts of the videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ovbench.core.errors import IntegrityError
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import LEVEL, METHOD, RESAMPLES, SEED, Interval, intervals, none_if_nan

from .conventions import Convention, convention
from .groups import Classes, scored_groups
from .iou import METRICS, class_scores
from .openvocab import open_vocabulary
from .released import matrix_cells
from .sample import RecordLike, ScoreColumns, rule_for, run_sample, score_names
from .sums import ClassSums, entries, joints, sums_of, total_sums
from .taxonomy import taxonomy_for
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
    rule = convention(protocol.convention)
    videos = [r.counts for r in ordered]
    table = entries(protocol, joints(videos))
    sums = sums_of(protocol, videos, rule, table)
    total = total_sums(protocol, sums, rule)
    found = _named_scores(protocol, total, rule)
    return {
        "protocol": {"id": protocol.id, "version": protocol.version, "hash": protocol.hash},
        "method": dict(method),
        "convention": {"id": rule.id, "text": rule.text},
        "partial": partial,
        "complete": not missing,
        "missing_videos": missing,
        "scores": found,
        "per_class": _per_class(protocol, total, sums, rule),
        "open_vocabulary": open_vocabulary(
            protocol, table.matrix(len(protocol.classes)), taxonomy_for(protocol)
        ),
        "temporal": temporal_summary(protocol, videos),
        "intervals": _intervals(protocol, ordered, sums),
        "tags": _tags(protocol, ordered, rule),
        "counts": _counts(protocol, total, ordered),
    }


def scores_under(protocol: Protocol, records: Sequence[RecordLike], convention_id: str) -> dict[str, Any]:
    """The scores of a run under another convention than its protocol's.

    Returns:
        "convention": id and text; "scores": as in a summary; "classes": group -> how many classes enter
        its mIoU (for means over images: in at least one image).

    Raises:
        UserError: an unknown convention.
        IntegrityError: labels foreign to the protocol, or scores that contradict each other.
    """
    rule = rule_for(protocol, convention_id)
    total = total_sums(protocol, sums_of(protocol, [r.counts for r in records], rule), rule)
    enters = rule.enters_iou(total.truth.astype(np.float64), total.prediction.astype(np.float64))
    return {
        "convention": {"id": rule.id, "text": rule.text},
        "scores": _named_scores(protocol, total, rule),
        "classes": {g: int(enters[m].sum()) for g, m in scored_groups(protocol).items()},
    }


def check_sanity(
    protocol: Protocol, total: ClassSums, found: Mapping[str, Any], rule: Convention | None = None
) -> None:
    """What arithmetic guarantees: mIoU <= mAcc, fwIoU <= pAcc, and pAcc^2 <= fwIoU; else `IntegrityError`.

    mIoU and mAcc are compared over the same classes. Where mIoU runs over more of them ("union-present",
    means over images), the further ones have no truth, hence add 0 to mIoU and lower it: the bound holds
    all the more.

    pAcc^2 <= fwIoU follows from Cauchy-Schwarz as long as the group's classes are predicted on no more
    pixels than the group's truth has, because then the sum of TP * union / truth is at most that truth.
    So it always holds for "all", and for "seen" and "unseen" with base-ignored; a subgroup that wins
    pixels of other classes may break it, so it is not asked there. For a mean over images the same must
    hold in each image (the mean keeps it, by Jensen), which only these groups guarantee.
    """
    rule = convention(protocol.convention) if rule is None else rule
    for group, members in scored_groups(protocol).items():
        s = found[group]
        if s["miou"] is None:
            continue
        bounded = _closed(protocol, members, rule)
        if rule.as_released:  # fwIoU is that of another matrix
            bounded = False
        elif rule.unit != "image":
            bounded = bounded or bool(total.prediction[members].sum() <= total.truth[members].sum())
        broken = [
            law
            for law, holds in (
                ("mIoU <= mAcc", s["miou"] <= s["macc"] + _SLACK),
                ("fwIoU <= pAcc", rule.as_released or s["fwiou"] <= s["pacc"] + _SLACK),
                ("pAcc^2 <= fwIoU", not bounded or s["pacc"] ** 2 / 100 <= s["fwiou"] + _SLACK),
            )
            if not holds
        ]
        if broken:
            raise IntegrityError(
                f"the scores of group '{group}' contradict each other: {', '.join(broken)} does not hold",
                where=f"protocol {protocol.id}, convention {rule.id}",
                hint="a record is damaged; run again with --fresh",
            )


def _closed(protocol: Protocol, members: Classes, rule: Convention) -> bool:
    """Whether predictions of these classes are only ever counted on truth of these classes."""
    groups = scored_groups(protocol)
    whole = [groups["all"], *([groups["seen"], groups["unseen"]] if rule.base_ignored else [])]
    return any(np.array_equal(members, w) for w in whole)


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


def _named_scores(protocol: Protocol, total: ClassSums, rule: Convention) -> dict[str, Any]:
    columns = ScoreColumns(protocol, rule)
    row = columns.scores(columns.row(total)[None].astype(np.float64))[0]
    names = score_names(protocol)
    found = _nested({n: none_if_nan(v) for n, v in zip(names, row[: len(names)], strict=True)})
    check_sanity(protocol, total, found, rule)
    return found


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


def _per_class(
    protocol: Protocol, total: ClassSums, sums: Sequence[ClassSums], rule: Convention
) -> list[dict[str, Any]]:
    """Classes by themselves, pooled over the run, as the convention counts their pixels."""
    arrays = (total.intersection, total.truth, total.prediction)
    iou, acc = class_scores(*(a.astype(np.float64) for a in arrays))
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
            **({"matrix": matrix_cells(total.matrix, c)} if rule.as_released else {}),
        }
        for c in sorted(protocol.scored_classes)
    ]


def _intervals(
    protocol: Protocol, records: Sequence[RecordLike], sums: Sequence[ClassSums]
) -> dict[str, Any]:
    found = intervals(run_sample(protocol, records, sums))
    pairs = {name: _pair(interval) for name, interval in found.items()}
    groups = scored_groups(protocol)
    wanted = [*(f"{g}.{m}" for g in groups for m in METRICS), "harmonic.miou"]
    plain = {*score_names(protocol), *(f"{g}.merged_miou" for g in groups)}
    temporal: dict[str, Any] = {f"vc{n}": dict.fromkeys(MODES) for n in protocol.windows}
    for name in pairs:
        length, dot, mode = name.partition(".")
        if dot and length in temporal:
            temporal[length][mode] = pairs[name]
        elif name not in plain:
            temporal[name] = pairs[name]
    return {
        "level": LEVEL,
        "method": METHOD,
        "resamples": RESAMPLES,
        "seed": SEED,
        "unit": "video",
        "units": len(records),
        "scores": _nested({name: pairs[name] for name in wanted}),
        "open_vocabulary": {"merged": {g: pairs.get(f"{g}.merged_miou") for g in groups}},
        "temporal": temporal,
    }


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _tags(protocol: Protocol, records: Sequence[RecordLike], rule: Convention) -> dict[str, Any]:
    """Scores over the frames of each tag apart (the world's clean and corrupted frames).

    Tags know no single images: under a convention that looks at each image, these means are undefined.
    """
    tags = sorted({tag for r in records for tag in r.counts.tags})
    result = {}
    for tag in tags:
        parts = [r.counts.tags[tag] for r in records if tag in r.counts.tags]
        total = total_sums(protocol, sums_of(protocol, [p.joint for p in parts], rule), rule)
        result[tag] = {"frames": sum(p.frames for p in parts), "scores": _named_scores(protocol, total, rule)}
    return result


def _counts(protocol: Protocol, total: ClassSums, records: Sequence[RecordLike]) -> dict[str, Any]:
    groups = scored_groups(protocol)
    return {
        "videos": len(records),
        "frames": sum(r.counts.frames for r in records),
        "annotated_frames": sum(r.counts.annotated for r in records),
        "pixels": int(total.all_truth.sum()),
        "classes": {g: int((total.truth[m] > 0).sum()) for g, m in groups.items()},
        "scored_classes": {g: len(m) for g, m in groups.items()},
    }
