"""Published evaluation scripts restated from counts, with their habits and their bugs.

Each script keeps its own rules under its own id; none of them is what ovbench reports by default.
Values are percent: 100 times what a script prints as a share. `SCRIPTS` says in a sentence what each
computes and where it is from, `script_notes` what the counts of a run cannot state about it.

What no count can state: the last line of a list file without a final newline loses a letter in all
VSPW scripts, so its video is looked for under another name. And the TC scripts warp maps in their own
way, which `flow_parity` restates on maps and flows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol

from .consistency import SCRIPT_SHORT, ratios, without_last
from .parity_confusion import (
    NOTHING,
    Overflow,
    Scores,
    detectron2_means,
    mmseg_means,
    released_means,
    vspw_matrix,
    vspw_means,
)
from .videocounts import VideoCounts, WindowCounts

__all__ = ["SCRIPTS", "Script", "pooled_windows", "script_notes", "script_scores", "script_windows"]

LENGTHS = (8, 16)

Videos = Sequence[VideoCounts]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Script:
    """A published script: what it computes, where that is written, and the restatement."""

    id: str
    text: str
    source: str
    scores: Callable[[Protocol, Videos], Scores]


def script_scores(protocol: Protocol, videos: Videos) -> dict[str, Scores]:
    """Every script on the videos of a run, in protocol order (two scripts depend on it in the last bits).

    Returns:
        {script id: {score: percent}}; None where the script finds nothing to average, would stop with
        an error, or cannot be restated from these counts (`script_notes` says which).
    """
    return {script.id: script.scores(protocol, videos) for script in SCRIPTS.values()}


def script_windows(counts: VideoCounts, n: int, *, raw: bool, shortest: int) -> Floats:
    """(W,) shares 0..1, NaN for 0/0, of the windows that a VSPW script looks at, first to last.

    Args:
        raw: ids 0 and 255 are two values, not one void.
        shortest: videos of at most so many files are skipped; files are counted with hidden ones.
    """
    if counts.listed_files <= shortest:
        return np.zeros(0)
    windows = counts.windows.get(n, WindowCounts())
    num, den = windows.script_num, windows.script_den
    if raw:
        num, den = windows.raw_num, windows.raw_den
    return ratios(num, den)[without_last(counts, n, windows)]


def pooled_windows(parts: Iterable[Floats]) -> float | None:
    """NaN-mean in percent over all windows in their order, in the float64 steps of the scripts."""
    pool = np.concatenate([np.zeros(0), *parts])
    if np.isnan(pool).all():
        return None
    return 100.0 * float(np.nanmean(pool))


def script_notes(protocol: Protocol, videos: Videos) -> dict[str, tuple[str, ...]]:
    """For each VSPW script, where it would behave otherwise than its restatement; empty: nowhere."""
    return {name: tuple(_vspw_notes(name, protocol, videos)) for name in _SHORTEST}


_SHORTEST = {
    "vspw-script": dict.fromkeys(LENGTHS, SCRIPT_SHORT),
    "vspw-baseline": {n: n for n in LENGTHS},
    "dvis-plus": {n: n for n in LENGTHS},
}
"""Script -> length -> videos of at most so many files are skipped."""


def _vspw_notes(name: str, protocol: Protocol, videos: Videos) -> Iterator[str]:
    missing = [n for n in LENGTHS if n not in protocol.windows]
    if missing:
        yield f"windows of {' and '.join(map(str, missing))} frames were not counted"
    gaps = sum(not v.dense for v in videos)
    if gaps:
        yield (
            f"{gaps} videos have frames without truth: the script takes the masks that are there for "
            "neighbours, and windows across a gap were not counted"
        )
    if name == "dvis-plus" and (hidden := sum(v.listed_files > v.frames for v in videos)):
        yield f"{hidden} videos have hidden files, at which the script stops; here they are passed over"
    elif any(v.frames <= n < v.listed_files > low for v in videos for n, low in _SHORTEST[name].items()):
        yield "a video left without a window divides by zero in a line that only prints; here it adds nothing"
    if name != "vspw-baseline" and _confusion(protocol, _entered(name, videos)) is None:
        yield "an abstention (255) falls outside the confusion matrix, where the script stops before any score"


def _entered(name: str, videos: Videos) -> Videos:
    """Videos that the script's confusion matrix sees."""
    return [v for v in videos if name != "vspw-script" or v.listed_files > SCRIPT_SHORT]


def _parts(name: str, videos: Videos, n: int) -> list[Floats] | None:
    """Windows of each video; None where one was not counted or has gaps that the script would bridge."""
    shortest = _SHORTEST[name][n]
    entered = [v for v in videos if v.listed_files > shortest]
    if not all(v.dense and n in v.windows for v in entered):
        return None
    return [script_windows(v, n, raw=name != "vspw-script", shortest=shortest) for v in entered]


def _vc(name: str, videos: Videos) -> Scores:
    found = {n: _parts(name, videos, n) for n in LENGTHS}
    return {f"vc{n}": None if parts is None else pooled_windows(parts) for n, parts in found.items()}


def _vspw_script(protocol: Protocol, videos: Videos) -> Scores:
    return _vc("vspw-script", videos) | _vspw_means(protocol, _entered("vspw-script", videos))


def _baseline(_: Protocol, videos: Videos) -> Scores:
    return _vc("vspw-baseline", videos)


def _dvis_plus(protocol: Protocol, videos: Videos) -> Scores:
    found: Scores = {}
    pool: list[Floats] | None = []
    for n in LENGTHS:
        parts = _parts("dvis-plus", videos, n)
        pool = None if pool is None or parts is None else pool + parts  # never emptied
        found[f"vc{n}"] = None if pool is None else pooled_windows(pool)
    return found | _vspw_means(protocol, videos)


def _confusion(protocol: Protocol, videos: Videos) -> Floats | None:
    try:
        return vspw_matrix(protocol, videos)
    except Overflow:
        return None


def _vspw_means(protocol: Protocol, videos: Videos) -> Scores:
    matrix = _confusion(protocol, videos)
    return dict(NOTHING) if matrix is None else vspw_means(matrix)


def _ov2vss(protocol: Protocol, videos: Videos) -> Scores:
    if (protocol.vocabulary_mode, protocol.scored) == ("unseen", "unseen"):
        try:
            return released_means(protocol, videos)
        except Overflow:
            pass
    return {**NOTHING, "printed_miou": None}


SCRIPTS: dict[str, Script] = {
    s.id: s
    for s in (
        Script(
            "vspw-script",
            "Constant truth and constant prediction over constant truth, whether right or not, with 0 and 255 "
            "as one void that counts; the last window is left out, windows are pooled; videos of at most 16 "
            "files count for nothing, the mIoU included.",
            "VC_perclip.py of VSS-MRCFA and OV2VSS",
            _vspw_script,
        ),
        Script(
            "vspw-baseline",
            "The oldest form: raw ids, so that void flipping between 0 and 255 is a change, and each length "
            "skips videos of at most that many files.",
            "VC_perclip.py of VSPW_baseline, run once for each length",
            _baseline,
        ),
        Script(
            "dvis-plus",
            "Raw ids as in vspw-baseline, but the list of windows of 8 frames is not emptied, so that the "
            "value printed as VC16 averages both lengths; the mIoU skips no video.",
            "utils/eval_vc_vspw.py and utils/eval_miou_vspw.py of DVIS_Plus",
            _dvis_plus,
        ),
        Script(
            "detectron2",
            "Pixels are pooled; void and abstentions are cut out of the matrix, so abstaining shrinks the "
            "truth; means over classes left in the truth.",
            "detectron2/evaluation/sem_seg_evaluation.py",
            detectron2_means,
        ),
        Script(
            "mmseg",
            "Areas are added image by image in float32; predictions out of range are dropped, though their "
            "truth stays; mIoU over classes in truth or prediction, mAcc over those in the truth.",
            "mmseg/evaluation/metrics/iou_metric.py (prints two decimals)",
            mmseg_means,
        ),
        Script(
            "ov2vss",
            "For unseen names on unseen pixels alone. The last class ('train') is in no truth, but predictions on its "
            "pixels are false alarms; the first name that is no class ('background') is counted as it; fwIoU and "
            "printed_miou come from a matrix in which such a name spills into the next row.",
            "mmseg/core/evaluation/metrics.py of OV2VSS, setting val_unseen",
            _ov2vss,
        ),
    )
}
