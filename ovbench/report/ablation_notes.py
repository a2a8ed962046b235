"""What a reader of an ablation table must know, as footnotes."""

from __future__ import annotations

from collections.abc import Sequence

from ovbench.engine.ablate import Experiment

from .ablation_model import Line


def notes_for(experiment: Experiment, lines: Sequence[Line], metric: str) -> tuple[str, ...]:
    """Footnotes: what was done, how to read it, what is known of single rows, what is missing."""
    return (
        *_setting(experiment),
        *_reading(experiment, lines, metric),
        *_steps(lines),
        *_remarks(lines),
        *_gaps(experiment, lines),
    )


def _setting(experiment: Experiment) -> list[str]:
    asked, protocol = experiment.request, experiment.protocol
    steps = "as many steps as the method's own" if experiment.steps is None else f"{experiment.steps} steps"
    limits = [
        f"first {count} {what}"
        for count, what in ((asked.videos, "videos"), (asked.frames, "frames of each video"))
        if count is not None
    ]
    seeds = f"seeds 0 to {asked.seeds - 1}" if asked.seeds > 1 else "seed 0"
    notes = [
        f"Protocol {protocol.id} v{protocol.version}, hash {protocol.hash[:12]}; convention {protocol.convention}; "
        f"every row trained alike: {steps}, {seeds}. A row named several times was trained once."
    ]
    if limits:
        notes.append(f"PARTIAL: {', '.join(limits)} only.")
    if protocol.dataset.name == "world":
        notes.append(
            "Synthetic world and small network: nothing here says what a component is worth on real video."
        )
    return notes


def _reading(experiment: Experiment, lines: Sequence[Line], metric: str) -> list[str]:
    notes = []
    if any(line.published is not None for line in lines):
        notes.append(
            "Published: mIoU of 44 unseen classes on VSPW, one training each, in the paper's own conditions; "
            f"measured: {metric} here. Signs and order may be compared, sizes may not."
        )
    notes.append(
        "a ± b (n): mean and standard deviation over n seeds; [low, high]: 95 % interval over videos and seeds"
        + ("." if experiment.request.seeds > 1 else " (one seed: over videos alone).")
    )
    notes.append(
        "Gap to full: row minus full model, paired by video and seed. better, worse: the interval over videos and "
        "seeds leaves out 0; open (seeds): the one over videos alone does, but seeds vary as much; open: neither does."
    )
    return notes


def _steps(lines: Sequence[Line]) -> list[str]:
    """What each component adds to the row that lacks it."""
    notes = []
    for line in lines:
        if line.step is not None:
            gap, told = line.step, line.published_step
            span = "" if gap.low is None or gap.high is None else f" [{gap.low:+.1f}, {gap.high:+.1f}]"
            published = "" if told is None else f"published {told:+.2f}, "
            notes.append(
                f"{line.row} over {line.over}: {published}here {gap.effect:+.1f}{span}, {gap.verdict}."
            )
    return notes


def _remarks(lines: Sequence[Line]) -> list[str]:
    return [f"{line.row}: {line.remark}." for line in lines if line.remark]


def _gaps(experiment: Experiment, lines: Sequence[Line]) -> list[str]:
    """Rows that lack the same share a note; the command that makes up for all comes last."""
    rows: dict[str, list[str]] = {}
    for variant, reasons in dict.fromkeys((line.variant, line.missing) for line in lines if line.missing):
        rows.setdefault(_joined(reasons), []).append(variant)
    notes = [f"MISSING {', '.join(variants)}: {reason}." for reason, variants in rows.items()]
    return [*notes, f"What is missing is made by: {experiment.command()}"] if notes else []


def _joined(reasons: Sequence[str]) -> str:
    """Reasons of several seeds in one phrase: "seed 0, 2: not trained"."""
    seeds: dict[str, list[str]] = {}
    for reason in reasons:
        seed, _, why = reason.partition(": ") if reason.startswith("seed ") else ("", "", reason)
        seeds.setdefault(why, []).append(seed.removeprefix("seed "))
    return "; ".join(f"seed {', '.join(n)}: {why}" if n[0] else why for why, n in seeds.items())
