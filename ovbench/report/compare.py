"""Two runs against each other, video by video: how large is each difference, and could it be chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovbench.core.errors import IncompleteError, IntegrityError, UserError
from ovbench.metrics.iou import class_scores
from ovbench.metrics.sample import ClassSums, class_sums, run_sample, total_sums
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import Sample
from ovbench.stats.paired import Difference, compare

from .columns import columns_for, headline_key
from .model import Cell, Run, installed_protocol
from .names import names_of

LOWER_IS_BETTER = ("seen_bias",)
FEWEST = 6
"""With fewer videos no permutation test can fall below p = 0.05."""


@dataclass(frozen=True)
class ScoreLine:
    """One score of both runs; `effect` = B - A in percentage points, `verdict` is about B."""

    key: str
    title: str
    a: float | None
    b: float | None
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: str  # "better", "worse", "tie" or "undefined"


@dataclass(frozen=True)
class ClassLine:
    """IoU of one class in both runs, in percent."""

    name: str
    group: str
    a: float | None
    b: float | None
    effect: float


@dataclass(frozen=True)
class Comparison:
    """Everything `ovbench compare` shows."""

    a: str
    b: str
    protocol: dict[str, object]
    videos: int
    scores: tuple[ScoreLine, ...]
    classes: tuple[ClassLine, ...]
    notes: tuple[str, ...]


def compare_runs(
    a: str | Path,
    b: str | Path,
    *,
    common: bool = False,
    protocol: str | None = None,
    columns: str = "default",
    classes: int = 10,
) -> Comparison:
    """Compare the finished runs in two folders.

    Args:
        common: compare on the videos that both hold, when they do not hold the same ones.
        protocol: the user's own protocol file, where the runs' protocol is not an installed one.
        columns: which scores, as in tables: "default" or "all".
        classes: how many classes to list, those with the largest differences.

    Raises:
        UserError: a folder without a run, two protocols or versions, or a protocol that is not here.
        IncompleteError: an unfinished run, or other videos (or frames) in one of them.
        IntegrityError: both saw the same videos, but not the same truth.
    """
    runs = (Run.open(a), Run.open(b))
    rules = _protocol(runs, protocol)
    videos = _videos(runs, common)
    records = [[{r.video_id: r for r in run.records}[v] for v in videos] for run in runs]
    sums = [[class_sums(rules, r.counts.joint) for r in part] for part in records]
    _check_truth(runs, videos, sums)
    samples = [run_sample(rules, part, s) for part, s in zip(records, sums, strict=True)]
    names = names_of(runs)
    return Comparison(
        a=names[0],
        b=names[1],
        protocol=dict(runs[0].protocol),
        videos=len(videos),
        scores=tuple(_scores(runs[0], rules, samples[0], samples[1], columns)),
        classes=tuple(_classes(rules, *(total_sums(rules, s) for s in sums))[:classes]),
        notes=tuple(_notes(runs, videos)),
    )


def _protocol(runs: Sequence[Run], path: str | None) -> Protocol:
    first, second = (r.protocol for r in runs)
    if first["hash"] != second["hash"]:
        raise UserError(
            f"the runs were made with different protocols: {first['id']} v{first['version']} "
            f"{first['hash'][:12]} and {second['id']} v{second['version']} {second['hash'][:12]}",
            where=f"{runs[0].path} and {runs[1].path}",
            hint="run one of them again with the protocol of the other",
        )
    found = installed_protocol(first, path)
    if found is None:
        here = load_protocol(path or first["id"])  # says what is wrong when there is none at all
        raise UserError(
            f"the runs were made with another version of protocol '{first['id']}': {first['hash'][:12]}, "
            f"while this one is {here.hash[:12]}",
            where=f"{runs[0].path} and {runs[1].path}",
            hint="run again, or give the file they were made with: --protocol FILE.toml",
        )
    return found


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


def _check_truth(runs: Sequence[Run], videos: Sequence[str], sums: Sequence[Sequence[ClassSums]]) -> None:
    for video, first, second in zip(videos, *sums, strict=True):
        if not np.array_equal(first.truth, second.truth):
            raise IntegrityError(
                f"the runs were scored against different truth in video '{video}'",
                where=f"{runs[0].path} and {runs[1].path}",
                hint="the data set has changed in between; run both again with --fresh",
            )


def _scores(run: Run, rules: Protocol, a: Sample, b: Sample, choice: str) -> list[ScoreLine]:
    assert run.summary is not None
    cells = [{name: Cell(value) for name, value in s.point().items()} for s in (a, b)]
    columns = columns_for(headline_key(rules, {}), run.summary["counts"], cells, choice, rules)
    titles = {c.key: c.title for c in columns if c.key in a.names}
    # B first: the effect is B - A
    return [_line(d, titles[d.name]) for d in compare(b, a, names=list(titles))]


def _line(d: Difference, title: str) -> ScoreLine:
    verdict = "tie"
    if d.effect is None:
        verdict = "undefined"
    elif not d.tie:
        verdict = "better" if (d.effect > 0) != (d.name in LOWER_IS_BETTER) else "worse"
    return ScoreLine(d.name, title, d.b, d.a, d.effect, d.low, d.high, d.p, verdict)


def _classes(protocol: Protocol, a: ClassSums, b: ClassSums) -> list[ClassLine]:
    """Scored classes with truth, the largest difference of IoU first."""
    first, second = (
        class_scores(*(x.astype(np.float64) for x in (s.intersection, s.truth, s.prediction)))[0]
        for s in (a, b)
    )
    lines = [
        ClassLine(
            protocol.classes[c].name,
            "seen" if protocol.classes[c].seen else "unseen",
            float(first[c]),
            float(second[c]),
            float(second[c] - first[c]),
        )
        for c in sorted(protocol.scored_classes)
        if a.truth[c] > 0
    ]
    return sorted(lines, key=lambda line: -abs(line.effect))


def _notes(runs: Sequence[Run], videos: Sequence[str]) -> list[str]:
    notes = [
        "effect = B - A in percentage points; [low, high]: its 95 % interval, paired by video (bootstrap).",
        "p: share of random exchanges of A and B (by video) that differ as much; not corrected for many scores.",
        "tie: the interval holds 0.",
    ]
    if any(set(r.videos) != set(videos) for r in runs):
        notes.append(f"Only the {len(videos)} videos that both runs hold.")
    if any(r.partial for r in runs):
        notes.append("PARTIAL: " + "; ".join(dict.fromkeys(str(r.partial) for r in runs if r.partial)) + ".")
    if len(videos) < FEWEST:
        notes.append(f"Only {len(videos)} videos: no verdict here means much.")
    if any(r.method.get("untrained") for r in runs):
        notes.append("An untrained method is among them: its numbers mean nothing.")
    return notes
