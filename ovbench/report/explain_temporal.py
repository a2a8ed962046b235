"""Temporal scores in words: what each asks, what it rests on, and what a constant prediction would get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ovbench.core.words import plural
from ovbench.metrics.flicker import FLOW_SCORES, RATES, change_sums
from ovbench.metrics.temporal import MODES, SCRIPT_SHORT, constant_reference, label_free

from .explain_model import Grid, Part, percent
from .explain_source import Source

ASKS = {
    "script": "where the truth (void included) stays the same, does the prediction stay the same, right or not",
    "clean": "the same over scored pixels and all windows, right or not",
    "correct": "where scored truth stays the same, does the prediction stay the same, and is it right",
    "change_rate": "pixels whose label differs from the frame before, of all pixels",
    "aba_rate": "pixels that change and change back at once (A-B-A)",
    "truth_change_rate": "pixels whose truth differs from the frame before, of those scored in both frames",
    "excess_change": "change rate of the prediction minus that of the truth, both over pixels scored in both frames, "
    "hence not change_rate minus truth_change_rate; near 0 is best, below 0 moves too little",
    "tc": "mIoU of each label map with the next one warped back onto it, mean over videos",
    "mtc": "the same for each pair of frames, mean over pairs",
    "warped_change": "pixels whose label differs from the warped next map",
}
_OF_THE_VIDEOS = "truth_change_rate"
"""What no prediction can change."""


def temporal_part(source: Source) -> Part | None:
    """Video consistency, flicker and flow scores with their support."""
    found = source.summary["temporal"]
    rows = []
    for key in sorted((k for k in found if k.startswith("vc")), key=lambda k: int(k[2:])):
        for mode in (m for m in MODES if found[key].get(m) is not None or m in found["windows"].get(key, {})):
            rows.append(_consistency(found, key, mode))
    body: list[str | Grid] = []
    if found.get("note"):
        body.append(f"Note: {found['note']}.")
    if rows:
        body += [f"{mode}: {ASKS[mode]}." for mode in MODES]
        body.append(
            "A window is undefined when no pixel's truth is constant in it. Skipped: videos shorter than a window or "
            f"without truth in every frame. In the mode script, videos of at most {SCRIPT_SHORT} files count for "
            "nothing, whatever the window, and the last window of every other video is left out."
        )
        head = ("score", "value", "windows", "undefined", "videos", "skipped", "mean of videos")
        body.append(Grid(head, tuple(rows)))
    changes = _scored_changes(source)
    body += _rates(found, changes)
    return Part("temporal", "Over time", dict(found) | ({"scored_changes": changes} if changes else {}), body)


def _scored_changes(source: Source) -> dict[str, Any] | None:
    """The two rates whose difference is the excess change, in percent of the pixels scored in both frames."""
    if not source.full:
        return None
    sums = [change_sums(r.counts) for r in source.records]
    changed, truth, pixels = (sum(int(s[i]) for s in sums) for i in (4, 5, 6))
    if not pixels:
        return None
    return {"prediction": 100.0 * changed / pixels, "truth": 100.0 * truth / pixels, "pixels": pixels}


def _consistency(found: Mapping[str, Any], key: str, mode: str) -> tuple[str, ...]:
    support = found["windows"].get(key, {}).get(mode, {})
    numbers = (support.get(k) for k in ("windows", "undefined", "videos", "skipped_videos"))
    mean = found.get("video_mean", {}).get(key, {}).get(mode)
    cells = ("-" if n is None else f"{n:,}" for n in numbers)
    return (f"{key.upper()} {mode}", percent(found[key].get(mode)), *cells, percent(mean))


def _rates(found: Mapping[str, Any], changes: Mapping[str, Any] | None) -> list[str | Grid]:
    lines: list[str | Grid] = []
    for name in RATES:
        value = found.get("flicker", {}).get(name)
        if value is not None:
            rest = ""
            if name == "excess_change" and changes is not None:
                rest = (
                    f" = {percent(changes['prediction'])} (prediction) - {percent(changes['truth'])} (truth) of "
                    f"{changes['pixels']:,} pixels"
                )
            lines.append(f"{name} {percent(value)}{rest}: {ASKS[name]}.")
    for backend, flow in found.get("flow", {}).items():
        rest = f"{plural(flow['pairs'], 'pair')} of frames, {flow['pixels']:,} pixels compared"
        lines.append(
            f"Along the flow of '{backend}': {rest}, {flow['excluded']:,} left out (out of view or hidden)."
        )
        for name in FLOW_SCORES:
            lines.append(f"{name}-{backend} {percent(flow.get(name))}: {ASKS[name]}.")
    return lines


def label_free_part(source: Source) -> Part | None:
    """Scores that no label has to be right for, beside an accuracy and a constant prediction."""
    if not source.full:
        return None
    constant = constant_reference([r.counts for r in source.records])
    names = [name for name in constant if label_free(name) and name != _OF_THE_VIDEOS]
    values = {name: _value(source.summary["temporal"], name) for name in names}
    rows = [(n, percent(v), percent(constant[n])) for n, v in values.items() if v is not None]
    if not rows:
        return None
    scores = source.summary["scores"]
    accuracy = {g: (scores.get(g) or {}).get("pacc") for g in ("all", "unseen")}
    told = ", ".join(f"{g} pAcc {percent(v)}" for g, v in accuracy.items() if v is not None)
    body: list[str | Grid] = [
        "A constant prediction, one class everywhere in every frame, gets the right-hand column on these very videos "
        f"without knowing anything. Read these scores only beside an accuracy: {told}.",
        Grid(("score", "this run", "constant"), tuple(rows)),
    ]
    data = {
        "accuracy": accuracy,
        "scores": {n: {"value": v, "constant": constant[n]} for n, v in values.items() if v is not None},
    }
    return Part("label_free", "Scores that ask no label to be right", data, body)


def _value(temporal: Mapping[str, Any], name: str) -> float | None:
    """A score by its flat name: "vc8.script", "change_rate", "tc-dis"."""
    window, dot, mode = name.partition(".")
    if dot:
        found = temporal.get(window, {}).get(mode)
    elif "-" in name:
        score, _, backend = name.partition("-")
        found = temporal.get("flow", {}).get(backend, {}).get(score)
    else:
        found = temporal.get("flicker", {}).get(name)
    return None if found is None else float(found)
