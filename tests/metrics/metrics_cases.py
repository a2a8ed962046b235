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
    alone = table.copy()  # voids apart, except that 0 and 255 are one
    for i in protocol.ignore_ids:
        alone[i] = 1000 + (0 if i == 255 and 0 in protocol.ignore_ids else i)
    other = [65535 if p.dtype == np.uint16 else 255 for p in predictions]
    rows = []
    for start in range(len(truths) - n + 1):
        part = truths[start : start + n]
        if any(t is None for t in part):
            continue
        truth = np.stack([table[t] for t in part])
        raw, merged = np.stack(part), np.stack([alone[t] for t in part])
        pred = np.stack(
            [
                np.where(p.astype(int) == o, -1, p.astype(int))
                for p, o in zip(predictions[start : start + n], other[start : start + n], strict=True)
            ]
        )
        named = np.array([*of_vocabulary, -9])[pred]  # -1 (other) -> -9
        held = (truth == truth[:1]).all(0)
        same_raw, same_script = (raw == raw[:1]).all(0), (merged == merged[:1]).all(0)
        kept = (pred == pred[:1]).all(0)
        scored = np.isin(truth[0], list(protocol.scored_classes))
        right = (named == truth).all(0)
        rows.append(
            (
                start,
                int((same_script & kept).sum()),
                int(same_script.sum()),
                int((same_raw & kept).sum()),
                int(same_raw.sum()),
                int((held & kept & scored).sum()),
                int((held & kept & scored & right).sum()),
                int((held & scored).sum()),
            )
        )
    return rows


def window_rows(counts, n):
    w = counts.windows[n]
    return list(
        zip(
            w.start,
            w.script_num,
            w.script_den,
            w.raw_num,
            w.raw_den,
            w.clean_num,
            w.correct_num,
            w.clean_den,
            strict=True,
        )
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


def slow_changes(protocol, truths, predictions):
    """Every pair of neighbours by comparing whole frames; `predictions[t]` is None for a skipped frame."""
    table, scored_classes = protocol.truth_table.astype(int), list(protocol.scored_classes)
    rows = []
    for t in range(1, len(predictions)):
        now, before = predictions[t], predictions[t - 1]
        if now is None or before is None or now.shape != before.shape:
            continue
        back = predictions[t - 2] if t > 1 else None
        aba_pixels = aba = scored = scored_changed = truth_changed = 0
        if back is not None and back.shape == now.shape:
            aba_pixels, aba = now.size, int(((now == back) & (now != before)).sum())
        if truths[t] is not None and truths[t - 1] is not None:
            a, b = table[truths[t - 1]], table[truths[t]]
            both = np.isin(a, scored_classes) & np.isin(b, scored_classes)
            scored, truth_changed = int(both.sum()), int((both & (a != b)).sum())
            scored_changed = int((both & (now != before)).sum())
        changed = int((now != before).sum())
        rows.append((t, now.size, changed, aba_pixels, aba, scored, scored_changed, truth_changed))
    return rows


def change_rows(counts):
    c = counts.changes
    return list(
        zip(
            c.frame, c.pixels, c.changed, c.aba_pixels, c.aba, c.scored, c.scored_changed, c.truth_changed,
            strict=True,
        )
    )  # fmt: skip


def random_video(rng, protocol, *, frames, size=(5, 7), flip=0.15, gaps=0.0, dtypes=(np.uint8, np.uint8)):
    """Truth that changes a little from frame to frame, void flips included; a prediction that often agrees."""
    ids = np.array([i for c in protocol.classes for i in c.raw_ids] + list(protocol.ignore_ids))
    index_of = {c: v for v, c in reversed(list(enumerate(protocol.vocabulary_classes)))}
    guess_of = np.array([index_of.get(int(protocol.truth_table[i]), 0) for i in range(65536)])
    truth = rng.choice(ids, size)
    truths, predictions = [], []
    for _ in range(frames):
        change = rng.random(size) < flip
        truth = np.where(change, rng.choice(ids, size), truth)
        guess = guess_of[truth]
        wrong = rng.random(size) < flip
        guess = np.where(wrong, rng.integers(0, len(protocol.vocabulary_classes), size), guess)
        prediction = guess.astype(dtypes[1])
        prediction[rng.random(size) < flip / 3] = np.iinfo(dtypes[1]).max
        truths.append(None if rng.random() < gaps else truth.astype(dtypes[0]))
        predictions.append(prediction)
    return truths, predictions


__all__ = [
    "Rec",
    "VideoCounter",
    "change_rows",
    "count_video",
    "image",
    "make_protocol",
    "random_video",
    "slow_changes",
    "slow_joint",
    "slow_windows",
    "window_rows",
]
