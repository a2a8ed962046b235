"""Runs against each other, video by video: how large is each difference, and could it be chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.core.words import plural
from ovbench.engine.records import CountedVideo
from ovbench.metrics.iou import class_scores
from ovbench.metrics.sample import ClassSums, run_sample, sums_of, total_sums
from ovbench.metrics.temporal import backends_of, label_free
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import Sample
from ovbench.stats.multiple import holm
from ovbench.stats.paired import Difference, compare
from ovbench.stats.power import POWER, check

from .columns import columns_for, headline_key
from .conventions import constant_values
from .find import open_run
from .model import FEW_VIDEOS, Cell, Run, required_protocol
from .names import names_of, profiles_mixed

LOWER_IS_BETTER = ("seen_bias",)
THIN = 5
"""A class in fewer videos than this is marked: its IoU says more about these videos than about the class."""


@dataclass(frozen=True)
class ScoreLine:
    """One score of both runs; `effect` = B - A in percentage points, `verdict` is about B.

    `p_adjusted` is corrected (Holm) for all scores shown, of all comparisons shown together; `needed`
    is the number of videos with which such an effect, or the one asked for, would be found.
    """

    key: str
    title: str
    a: float | None
    b: float | None
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    # "better" or "worse", of label-free scores "higher" or "lower"; "tie"; "untested" without interval; "undefined"
    verdict: str
    p_adjusted: float | None = None
    needed: int | None = None


@dataclass(frozen=True)
class ClassLine:
    """IoU of one class in both runs, in percent, and what it rests on.

    `videos` hold the class; `share`: its percentage of all scored truth pixels.
    """

    name: str
    group: str
    a: float | None
    b: float | None
    effect: float
    videos: int = 0
    share: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Everything `ovbench compare` shows; `letter` is what the second run is called ("C" for a third one)."""

    a: str
    b: str
    protocol: dict[str, object]
    videos: int
    scores: tuple[ScoreLine, ...]
    classes: tuple[ClassLine, ...]
    notes: tuple[str, ...]
    letter: str = "B"


def compare_runs(
    a: str | Path,
    b: str | Path,
    *,
    common: bool = False,
    protocol: str | None = None,
    columns: str = "default",
    classes: int = 10,
    power: float = POWER,
    effect: float | None = None,
    letter: str = "B",
) -> Comparison:
    """Compare the finished runs in two folders.

    Args:
        common: compare on the videos that both hold, when they do not hold the same ones.
        protocol: the user's own protocol file, where the runs' protocol is not an installed one.
        columns: which scores, as in tables: "default" or "all".
        classes: how many classes to list, those with the largest differences.
        power: wanted probability of finding a difference, for the number of videos needed.
        effect: the difference to find, in percentage points; None: each score's own.
        letter: what tables call the second run.

    Raises:
        UserError: a folder without a run, two protocols or versions, a protocol that is not here, or a
            power or effect that makes no plan.
        IncompleteError: an unfinished run, or other videos (or frames) in one of them.
        IntegrityError: both saw the same videos, but not the same truth.
    """
    check(power)
    if effect is not None and not 0 < effect <= 100:
        raise UserError(
            f"an effect of {effect:g} points cannot be planned for", hint="give one above 0, at most 100"
        )
    runs = (open_run(a), open_run(b))
    rules = _protocol(runs, protocol)
    videos = _videos(runs, common)
    records, alone = _records(runs, videos)
    sums = [sums_of(rules, [r.counts for r in part]) for part in records]
    _check_truth(runs, videos, sums)
    samples = [run_sample(rules, part, s) for part, s in zip(records, sums, strict=True)]
    names = names_of(runs)
    lines = _scores(runs[0], rules, samples, columns, power, effect)
    return Comparison(
        a=names[0],
        b=names[1],
        protocol=dict(runs[0].protocol),
        videos=len(videos),
        scores=tuple(lines),
        classes=tuple(_classes(rules, sums[0], sums[1])[:classes]),
        notes=(
            *_reading(power, effect, letter),
            *_unshared(alone, letter),
            *_constant(lines, records),
            *_notes(runs, videos),
        ),
        letter=letter,
    )


def compare_with_first(folders: Sequence[str | Path], **options: Any) -> list[Comparison]:
    """Compare the first run with each of the others; `options` as for `compare_runs`.

    `p_adjusted` is corrected for all scores of all these comparisons: they are one family.

    Raises:
        UserError: fewer than two folders; and as `compare_runs`.
    """
    if len(folders) < 2:
        raise UserError("a comparison needs two runs", hint="name two folders or more")
    first, *others = folders
    found = [
        compare_runs(first, other, **options, letter=chr(ord("B") + i) if i < 25 else f"run {i + 2}")
        for i, other in enumerate(others)
    ]
    adjusted = iter(holm([line.p for one in found for line in one.scores]))
    return [
        replace(one, scores=tuple(replace(line, p_adjusted=next(adjusted)) for line in one.scores))
        for one in found
    ]


def _protocol(runs: Sequence[Run], path: str | None) -> Protocol:
    first, second = (r.protocol for r in runs)
    if first["hash"] != second["hash"]:
        raise UserError(
            f"the runs were made with different protocols: {first['id']} v{first['version']} "
            f"{first['hash'][:12]} and {second['id']} v{second['version']} {second['hash'][:12]}",
            where=f"{runs[0].path} and {runs[1].path}",
            hint="run one of them again with the protocol of the other",
        )
    return required_protocol(first, path, f"{runs[0].path} and {runs[1].path}", "`ovbench compare`")


def _videos(runs: Sequence[Run], common: bool) -> list[str]:
    """Videos to compare on, in the order of the first run."""
    first, second = (set(r.videos) for r in runs)
    shared = [v for v in runs[0].videos if v in second]
    frames = [r.manifest.get("frames") for r in runs]
    if frames[0] != frames[1]:
        raise IncompleteError(
            "the runs are limited to different numbers of frames",
            where=f"{runs[0].path} and {runs[1].path}",
            hint="run both with the same --frames",
        )
    if first != second and not common:
        alone = sorted(first ^ second)
        raise IncompleteError(
            f"the runs do not hold the same videos: {len(alone)} are in one only, first: '{alone[0]}'",
            where=f"{runs[0].path} and {runs[1].path}",
            hint="complete both runs, or --common to compare on the videos that both hold",
        )
    if not shared:
        raise IncompleteError("the runs have no video in common", where=f"{runs[0].path} and {runs[1].path}")
    return shared


def _records(runs: Sequence[Run], videos: Sequence[str]) -> tuple[list[list[CountedVideo]], list[list[str]]]:
    """The counted videos of each run, with the optical flows that all of them were counted with; and for
    each run the flows that only it was counted with.

    Sums of two runs can only be exchanged where they are sums of the same things.
    """
    by_id = [{r.video_id: r for r in run.records} for run in runs]
    found = [[part[v] for v in videos] for part in by_id]
    flows = [set(backends_of([r.counts for r in part])) for part in found]
    shared = set.intersection(*flows)
    return [[_with_flows(r, shared) for r in part] for part in found], [sorted(f - shared) for f in flows]


def _with_flows(record: CountedVideo, backends: set[str]) -> CountedVideo:
    flow = {name: counts for name, counts in record.counts.flow.items() if name in backends}
    return replace(record, counts=replace(record.counts, flow=flow))


def _check_truth(runs: Sequence[Run], videos: Sequence[str], sums: Sequence[Sequence[ClassSums]]) -> None:
    for video, first, second in zip(videos, *sums, strict=True):
        if not np.array_equal(first.all_truth, second.all_truth):
            raise IntegrityError(
                f"the runs were scored against different truth in video '{video}'",
                where=f"{runs[0].path} and {runs[1].path}",
                hint="the data set has changed in between; run both again with --fresh",
            )


def _scores(
    run: Run,
    rules: Protocol,
    samples: Sequence[Sample],
    choice: str,
    power: float,
    effect: float | None,
) -> list[ScoreLine]:
    assert run.summary is not None
    cells = [{name: Cell(value) for name, value in s.point().items()} for s in samples]
    columns = columns_for(headline_key(rules, {}), run.summary["counts"], cells, choice, rules)
    a, b = samples
    titles = {c.key: c.title for c in columns if c.key in a.names and c.key in b.names}
    # B first: the effect is B - A
    found = compare(b, a, names=list(titles), power=power, effect=effect)
    return [_line(d, titles[d.name]) for d in found]


def _line(d: Difference, title: str) -> ScoreLine:
    verdict = "tie"
    if d.effect is None:
        verdict = "undefined"
    elif d.low is None:
        verdict = "untested"
    elif not d.tie and label_free(d.name):
        verdict = "higher" if d.effect > 0 else "lower"
    elif not d.tie:
        verdict = "better" if (d.effect > 0) != (d.name in LOWER_IS_BETTER) else "worse"
    return ScoreLine(d.name, title, d.b, d.a, d.effect, d.low, d.high, d.p, verdict, d.p_adjusted, d.needed)


def _classes(protocol: Protocol, a: Sequence[ClassSums], b: Sequence[ClassSums]) -> list[ClassLine]:
    """Scored classes with truth, the largest difference of IoU first."""
    totals = [total_sums(protocol, part) for part in (a, b)]
    first, second = (
        class_scores(*(x.astype(np.float64) for x in (s.intersection, s.truth, s.prediction)))[0]
        for s in totals
    )
    truth = totals[0].all_truth
    videos = np.sum([s.all_truth > 0 for s in a], axis=0)
    lines = [
        ClassLine(
            protocol.classes[c].name,
            "seen" if protocol.classes[c].seen else "unseen",
            float(first[c]),
            float(second[c]),
            float(second[c] - first[c]),
            int(videos[c]),
            100.0 * float(truth[c]) / float(truth.sum()),
        )
        for c in sorted(protocol.scored_classes)
        if truth[c] > 0
    ]
    return sorted(lines, key=lambda line: -abs(line.effect))


def _unshared(alone: Sequence[Sequence[str]], letter: str) -> list[str]:
    """Which scores are missing because one run only was counted along a flow."""
    return [
        f"No scores along the flow of {', '.join(repr(n) for n in names)}: only {run} was counted with it."
        for run, names in zip(("A", letter), alone, strict=True)
        if names
    ]


def _reading(power: float, effect: float | None, letter: str) -> list[str]:
    """How the numbers are to be read."""
    what = "such a difference" if effect is None else f"a difference of {effect:g} (percentage points)"
    notes = [
        f"effect = {letter} - A in percentage points; [low, high]: its 95 % interval, paired by video: videos are "
        "drawn with replacement, the same for both runs, and each is left out once; the larger of the two standard "
        "errors gives its size (docs/statistics.md).",
        f"p: share of exchanges of A and {letter} (by video) that differ as much; p adj.: corrected for all scores "
        "of all comparisons shown (Holm).",
        f"The interval decides what {letter} is, also where p adj. disagrees: tie where the interval holds 0. A "
        "verdict with p adj. above 0.05 may be one of several chance finds.",
        f"videos needed: how many it takes to find {what} with a probability of {100 * power:g} %"
        + (
            ", if it is real; it was measured on these videos only (--effect X plans for X)."
            if effect is None
            else "."
        ),
    ]
    return notes


def _constant(lines: Sequence[ScoreLine], records: Sequence[Sequence[CountedVideo]]) -> list[str]:
    """What a constant prediction gets in the label-free scores shown: without it they cannot be read."""
    titles = {line.key: line.title for line in lines if label_free(line.key)}
    found = constant_values(records)
    shown = [f"{title} {found[key]:.1f}" for key, title in titles.items() if key in found]
    if not shown:
        return []
    return [
        f"A constant prediction gets on these videos: {', '.join(shown)} (from the counts). These scores ask no "
        "label to be right; to be read beside an accuracy only."
    ]


def _notes(runs: Sequence[Run], videos: Sequence[str]) -> list[str]:
    notes = profiles_mixed(runs)
    if any(set(r.videos) != set(videos) for r in runs):
        notes.append(f"Only the {plural(len(videos), 'video')} that both runs hold.")
    if any(r.partial for r in runs):
        notes.append("PARTIAL: " + "; ".join(dict.fromkeys(str(r.partial) for r in runs if r.partial)) + ".")
    if len(videos) < FEW_VIDEOS:
        notes.append(
            f"Only {plural(len(videos), 'video')}: with fewer than {FEW_VIDEOS} no interval means much, and no "
            "verdict either."
        )
    if any(r.method.get("untrained") for r in runs):
        notes.append("An untrained method is among them: its numbers mean nothing.")
    return notes
