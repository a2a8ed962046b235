"""The steps of a run's explanation: what is scored, the rule, and the score as a calculation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ovbench.core.words import plural
from ovbench.metrics.conventions import Convention

from .explain_counts import THIN, ClassFacts, harmonic_of, pixel_split
from .explain_model import Grid, Part, count, listed, percent, share
from .explain_source import Source
from .model import FEW_VIDEOS

_MOST_CLASSES = 40  # of the headline group; beyond, only its ends
_ENDS = 10
_ENTER = {
    "truth": "classes that occur in the truth",
    "either": "classes that occur in truth or prediction",
    "all": "scored classes, present or not",
}


def about(source: Source) -> Part:
    """Which run this is, and where the numbers below come from."""
    summary = source.summary
    protocol, counts = summary["protocol"], summary["counts"]
    body = [f"Protocol {protocol['id']} v{protocol['version']}, hash {str(protocol['hash'])[:12]}."]
    if source.protocol is not None and source.protocol.title:
        body[0] = body[0][:-1] + f": {source.protocol.title}."
    if summary["partial"]:
        body.append(f"PARTIAL: {summary['partial']}. Not comparable with whole runs.")
    if summary["missing_videos"]:
        body.append(f"INCOMPLETE: {plural(len(summary['missing_videos']), 'video')} missing.")
    if source.full:
        body.append(
            f"Everything below was derived again from {plural(counts['videos'], 'record')} and agrees with the summary."
        )
    else:
        body.append(
            f"Only summary.json speaks here: {source.lacking}. Not explained, as that needs the records: void pixels, "
            "frames per class, confusions, the spread over videos, other conventions, the published scripts, and "
            "the constant prediction."
        )
    data = {
        "path": str(source.path),
        "method": dict(summary["method"]),
        "name": source.name,
        "protocol": dict(protocol),
        "partial": summary["partial"],
        "missing_videos": list(summary["missing_videos"]),
        "source": "records" if source.full else "summary",
        "lacking": source.lacking,
    }
    return Part("run", "The run", data, body)


def scored(source: Source) -> Part:
    """Which pixels and classes count."""
    counts = source.summary["counts"]
    data: dict[str, Any] = {k: counts[k] for k in ("videos", "frames", "annotated_frames")}
    data["scored_classes"] = dict(counts["scored_classes"])
    frames = f"{counts['annotated_frames']:,} annotated of {counts['frames']:,} frames"
    body = [f"{plural(counts['videos'], 'video')}, {frames}."]
    if source.full and source.protocol is not None:
        split = pixel_split(source.protocol, source.records)
        data |= {"pixels": split, "ignore_ids": list(source.protocol.ignore_ids)}
        ids = ", ".join(map(str, source.protocol.ignore_ids)) or "none"
        body.append(
            f"{split['total']:,} pixels = {split['scored']:,} scored + {split['void']:,} void (mask ids {ids}) + "
            f"{split['not_scored']:,} of classes that this protocol does not score."
        )
        body.append(f"On {split['abstained']:,} of the scored pixels the method abstained.")
        if source.protocol.extra_names:
            names = ", ".join(f"'{name}'" for name in source.protocol.extra_names)
            body.append(f"On {split['extra']:,} it answered {names}, which is no class.")
        body.append(
            f"The method was given {plural(len(source.protocol.vocabulary), 'name')} to choose from; scored are "
            f"{plural(len(source.protocol.scored_classes), 'class', 'classes')}."
        )
    else:
        data["pixels"] = {"scored": counts["pixels"]}
        body.append(f"{counts['pixels']:,} pixels are scored.")
    sizes = [f"{g} {n}" for g, n in counts["scored_classes"].items() if n]
    body.append(f"Scored classes by group: {', '.join(sizes)}.")
    return Part("scored", "What is scored", data, body)


def rule_part(rule: Convention, source: Source) -> Part:
    """The convention in a sentence."""
    own = str(source.summary["convention"]["id"])
    body = [f"{rule.id}: {rule.text}"]
    used = getattr(rule, "used_by", "")
    if used:
        body.append(f"Used by: {used if isinstance(used, str) else ', '.join(used)}.")
    if rule.id != own:
        body.append(f"Asked for here; the protocol's own convention is {own}.")
    data = {"id": rule.id, "text": rule.text, "own": rule.id == own, "used_by": used}
    return Part("convention", "Convention", data, body)


def headline_key(source: Source) -> str:
    """Group that a leaderboard of this protocol is sorted by."""
    if source.protocol is not None:
        return source.protocol.headline_group
    scores = source.summary["scores"]
    return next((g for g in ("harmonic", "unseen") if (scores.get(g) or {}).get("miou") is not None), "all")


def score_part(source: Source, rule: Convention, found: Mapping[str, Mapping[str, Any]], own: bool) -> Part:
    """Every mean as a calculation with its numbers in; `found`: the arithmetic of each group."""
    numbers = {name: n for name, n in found.items() if n["scored"]}
    head = headline_key(source)
    data: dict[str, Any] = {"headline": f"{head}.miou", "groups": numbers}
    body: list[str | Grid] = []
    seen, unseen = (numbers.get(g, {}).get("miou", {}).get("value") for g in ("seen", "unseen"))
    if seen is not None and unseen is not None:
        value = harmonic_of(seen, unseen)
        data["harmonic"] = {"seen": seen, "unseen": unseen, "value": value}
        body.append(
            f"harmonic mIoU {percent(value)} = 2 x {percent(seen)} (seen) x {percent(unseen)} (unseen) / "
            f"({percent(seen)} + {percent(unseen)}){_span(source, 'harmonic', own)}"
        )
    data["value"] = data.get("harmonic", {}).get("value") if head == "harmonic" else None
    if head in numbers:
        data["value"] = numbers[head]["miou"]["value"]
    first = [g for g in (head, "unseen", "seen", "all") if g in numbers]
    for name in dict.fromkeys([*first, *numbers]):
        body += _group_lines(source, name, numbers[name], rule, own)
    return Part("scores", f"The score (headline: {head} mIoU)", data, body)


def _group_lines(source: Source, name: str, n: Mapping[str, Any], rule: Convention, own: bool) -> list[str]:
    if not n["present"]:
        return [f"{name}: none of its {n['scored']} scored classes occurs in the truth, so it has no score."]
    if not rule.pooled:
        return _image_lines(source, name, n, rule, own)
    miou, fwiou, macc, pacc = (n[m] for m in ("miou", "fwiou", "macc", "pacc"))
    return [
        f"{name} mIoU {percent(miou['value'])} = (sum of {miou['classes']} class IoUs {percent(miou['sum'])}) / "
        f"{miou['classes']} {_ENTER[rule.iou_over]} of {n['scored']} scored{_span(source, name, own)}",
        f"{name} fwIoU {percent(fwiou['value'])} = {_weighed(fwiou, rule)}",
        f"{name} mAcc {percent(macc['value'])} = (sum of {macc['classes']} class accuracies "
        f"{percent(macc['sum'])}) / {macc['classes']} {_ENTER[rule.acc_over]}",
        f"{name} pAcc {percent(pacc['value'])} = {pacc['right']:,} right / {pacc['pixels']:,} truth pixels",
        *(
            f"{name} {kind} mIoU {percent(n[key]['value'])} = (sum of {n[key]['classes']} class IoUs "
            f"{percent(n[key]['sum'])}) / {n[key]['classes']}"
            for key, kind in (("things_miou", "things"), ("stuff_miou", "stuff"))
            if n[key]["value"] is not None
        ),
    ]


def _weighed(fwiou: Mapping[str, Any], rule: Convention) -> str:
    if not rule.as_released:
        return (
            f"(sum of class IoU x truth pixels {fwiou['weighted_sum']:,.0f}) / "
            f"{fwiou['pixels']:,} truth pixels: large classes weigh more"
        )
    if fwiou["value"] is None:
        return (
            "nothing: an abstention (255) falls behind the last cell of the script's matrix, where it stops"
        )
    return (
        f"(sum of matrix IoU x row pixels {fwiou['weighted_sum']:,.0f}) / {fwiou['pixels']:,} pixels of the script's "
        "matrix, in which a name that is no class spills into the next row; not the IoUs listed here"
    )


def _image_lines(source: Source, name: str, n: Mapping[str, Any], rule: Convention, own: bool) -> list[str]:
    lines = []
    term = "images" if rule.unit == "image" else "pairs of an image and a class in it"
    for metric, title in (("miou", "mIoU"), ("fwiou", "fwIoU"), ("macc", "mAcc"), ("pacc", "pAcc")):
        found = n[metric]
        if "terms" in found:
            calculation = (
                f"(sum of {found['terms']:,} values {percent(found['sum'])}) / {found['terms']:,} {term}"
            )
        else:
            calculation = f"pooled over {found['pixels']:,} truth pixels"
        span = _span(source, name, own) if metric == "miou" else ""
        lines.append(f"{name} {title} {percent(found['value'])} = {calculation}{span}")
    return lines


def _span(source: Source, group: str, own: bool) -> str:
    span = source.summary["intervals"]["scores"].get(group, {}).get("miou") if own else None
    return f"; 95 % interval [{percent(span[0], 1)}, {percent(span[1], 1)}]" if span else ""


def terms_part(source: Source, groups: Mapping[str, Sequence[ClassFacts]]) -> Part:
    """The IoUs that were added up, for the headline's group (the unseen one of a harmonic mean)."""
    head = headline_key(source)
    name = "unseen" if head == "harmonic" else head
    rows = sorted(groups.get(name, ()), key=lambda f: (not f.enters_iou, -(f.iou or 0.0), f.index))
    shown = rows if len(rows) <= _MOST_CLASSES else [*rows[:_ENDS], *rows[-_ENDS:]]
    grid = Grid(
        ("class", "IoU", "acc", "TP", "FP", "FN", "videos", "frames"),
        tuple(_term(f) for f in shown),
    )
    body: list[str | Grid] = [
        "IoU = TP / (TP + FP + FN), accuracy = TP / (TP + FN), pixels of all videos together."
    ]
    if len(shown) < len(rows):
        body.append(f"The {_ENDS} best and {_ENDS} last of {len(rows)}; --format json has them all.")
    everyone = groups.get("all", ())
    data = [f.as_dict() for f in everyone]
    return Part("classes", f"The {name} classes behind it", data, [*body, grid])


def _term(f: ClassFacts) -> tuple[str, ...]:
    iou = percent(f.iou or 0.0) if f.enters_iou else "-"
    pixels = (f.right, f.prediction - f.right, f.truth - f.right)
    return (f.name, iou, percent(f.acc), *map(count, pixels), count(f.videos), count(f.frames))


def left_out_part(facts: Sequence[ClassFacts], rule: Convention, videos: int) -> Part:
    """Classes that no mean holds, and those whose IoU rests on very few videos."""
    out = [f for f in facts if not f.enters_iou]
    thin = [f for f in facts if f.enters_iou and 0 < f.videos <= THIN and videos > THIN]
    zero = [f for f in facts if f.enters_iou and not f.truth]
    body: list[str] = []
    if out:
        wrong = sum(f.prediction for f in out)
        body.append(
            f"{plural(len(out), 'class', 'classes')} did not enter mIoU, as no scored pixel of these videos is one of "
            f"them: {listed([f.name for f in out])}."
            + (
                f" They were predicted on {wrong:,} scored pixels, misses of the classes there."
                if wrong
                else ""
            )
        )
    else:
        body.append("Every scored class entered mIoU.")
    if zero:
        body.append(
            f"{plural(len(zero), 'class', 'classes')} without truth entered with 0 under {rule.id}: "
            f"{listed([f.name for f in zero])}."
        )
    if thin:
        body.append(
            f"{plural(len(thin), 'class', 'classes')} with thin support (in at most {THIN} of {videos} videos): "
            f"{listed([f'{f.name} ({f.videos})' for f in thin])}. Their IoU is that of one scene or two; a resample "
            f"of the videos leaves a class of one video out {100 * (1 - 1 / videos) ** videos:.0f} % of the time."
        )
    data = {
        "out": [{"name": f.name, "predicted_pixels": f.prediction} for f in out],
        "counted_zero": [f.name for f in zero],
        "thin": [{"name": f.name, "videos": f.videos, "frames": f.frames} for f in thin],
    }
    return Part("support", "Classes that did not enter, and thin support", data, body)


def bias_part(source: Source, taken: int | None, groups: Mapping[str, Sequence[ClassFacts]]) -> Part | None:
    """Seen bias as a fraction; None where it is not defined."""
    value = source.summary["scores"].get("seen_bias")
    unseen = sum(f.truth for f in groups.get("unseen", ()))
    if value is None or not unseen:
        return None
    given = "" if taken is None else f" = {taken:,} / {unseen:,} truth pixels of unseen classes"
    body = [
        f"{percent(value)} %{given} went to a seen class. High: the method prefers names it was trained on."
    ]
    return Part(
        "seen_bias",
        "Seen bias",
        {"value": value, "taken": taken, "unseen_pixels": unseen, "check": share(taken, unseen)},
        body,
    )


def interval_part(source: Source) -> Part:
    """What the intervals mean."""
    about = source.summary["intervals"]
    spans = {g: s["miou"] for g, s in about["scores"].items() if isinstance(s, Mapping) and s.get("miou")}
    body = [
        f"{plural(about['units'], 'video')}, drawn {about['units']} at a time with replacement, "
        f"{about['resamples']:,} times (seed {about['seed']}); each time all counts were added and the score computed "
        f"anew. The middle {100 * about['level']:.0f} % of the results gives the interval its shape; its width is "
        "stretched to the standard error from leaving out one video at a time and to the quantile of Student's t, as "
        "few videos alone make intervals too narrow. A score that hangs on one video has none.",
        "It says how far the score would move with other videos of this kind. It says nothing about other training "
        "seeds, other data sets or another convention. Frames of one video are alike, so resampling frames would "
        "give intervals that are far too narrow.",
    ]
    if about["units"] < FEW_VIDEOS:
        body.insert(0, f"WARNING: {plural(about['units'], 'video')} only. With fewer than {FEW_VIDEOS} no interval "
                       "means much.")  # fmt: skip
    if about["units"] < 2:
        body = ["One video: there is nothing to resample, so there are no intervals."]
    shown = ", ".join(f"{g} mIoU [{percent(s[0], 1)}, {percent(s[1], 1)}]" for g, s in spans.items())
    data = {k: about[k] for k in ("level", "resamples", "seed", "unit", "units")} | {"miou": spans}
    return Part("interval", "Interval", data, [*body, *([shown + "."] if shown else [])])
