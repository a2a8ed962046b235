"""Small protocols, records, and a slow direct statement of every count, shared by the metric tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ovbench.metrics.counts import VideoCounter, VideoCounts, counter_for
from ovbench.protocol.schema import ClassInfo, DatasetSpec, Protocol


@dataclass(frozen=True)
class Rec:
    video_id: str
    counts: VideoCounts


def make_protocol(
    seen=(True, True, False),
    *,
    kinds=None,
    vocabulary=None,
    scored=None,
    windows=(2,),
    groups=None,
    convention="gt-present",
    ignore=(0, 255),
    raw=None,
):
    """Class c has raw id c + 1; 0 and 255 are void."""
    count = len(seen)
    raw = raw or [(c + 1,) for c in range(count)]
    kinds = kinds or [""] * count
    classes = tuple(
        ClassInfo(tuple(raw[c]), f"class{c}", f"class {c}", (), seen[c], kinds[c], (c, 0, 0))
        for c in range(count)
    )
    every = tuple(range(count))
    named = {
        "all": every,
        "seen": tuple(c for c in every if seen[c]),
        "unseen": tuple(c for c in every if not seen[c]),
        **(groups or {}),
    }
    vocabulary = every if vocabulary is None else tuple(vocabulary)
    scored = every if scored is None else tuple(scored)
    return Protocol(
        id="tiny", version=1, title="", description="", dataset=DatasetSpec("folder", "test", None),
        classes=classes, ignore_ids=tuple(ignore), groups=named,
        vocabulary_mode="all", vocabulary_classes=vocabulary, scored="all", scored_classes=scored,
        name_variant="clean", template_set="one", templates=("a {}",), resize="native",
        convention=convention, windows=tuple(windows), temporal_modes=("script", "clean", "correct"),
        headline_group="unseen", notes=(), hash="h",
    )  # fmt: skip


def count_video(protocol, truths, predictions, *, listed=None, tags=None):
    counter = counter_for(protocol)
    for i, (truth, prediction) in enumerate(zip(truths, predictions, strict=True)):
        counter.update(truth, prediction, tags[i] if tags else None)
    return counter.finish(listed)


def image(rows, dtype=np.uint8):
    return np.array(rows, dtype)


def slow_windows(protocol, truths, predictions, n):
    """Every window by looking at every frame of it, in class indices."""
    table, of_vocabulary = protocol.truth_table.astype(int), list(protocol.vocabulary_classes)
    other = [65535 if p.dtype == np.uint16 else 255 for p in predictions]
    rows = []
    for start in range(len(truths) - n + 1):
        part = truths[start : start + n]
        if any(t is None for t in part):
            continue
        truth = np.stack([table[t] for t in part])
        pred = np.stack(
            [
                np.where(p.astype(int) == o, -1, p.astype(int))
                for p, o in zip(predictions[start : start + n], other[start : start + n], strict=True)
            ]
        )
        named = np.array([*of_vocabulary, -9])[pred]  # -1 (other) -> -9
        held = (truth == truth[:1]).all(0)
        kept = (pred == pred[:1]).all(0)
        scored = np.isin(truth[0], list(protocol.scored_classes))
        right = (named == truth).all(0)
        rows.append(
            (
                start,
                int((held & kept).sum()),
                int(held.sum()),
                int((held & kept & scored).sum()),
                int((held & kept & scored & right).sum()),
                int((held & scored).sum()),
            )
        )
    return rows


def window_rows(counts, n):
    w = counts.windows[n]
    return list(
        zip(w.start, w.script_num, w.script_den, w.clean_num, w.correct_num, w.clean_den, strict=True)
    )


def slow_joint(truths, predictions):
    total = {}
    for truth, prediction in zip(truths, predictions, strict=True):
        if truth is None:
            continue
        top = 65535 if prediction.dtype == np.uint16 else 255
        for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
            key = (t, -1 if p == top else p)
            total[key] = total.get(key, 0) + 1
    return sorted((t, p, n) for (t, p), n in total.items())


__all__ = [
    "Rec",
    "VideoCounter",
    "count_video",
    "image",
    "make_protocol",
    "slow_joint",
    "slow_windows",
    "window_rows",
]
