"""Which videos and frames a page shows, and how small they have to be to stay within its budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import OvbenchError
from ovbench.datasets.base import Dataset
from ovbench.datasets.open import open_dataset
from ovbench.protocol.schema import Protocol
from ovbench.report.footage import Footage, open_footage, palette, saves_label_maps
from ovbench.report.footage.colours import ERRORS
from ovbench.report.model import Run

from .sheets import fitted, map_bytes, packed, picture_sheets

_LEVELS = ((640, 60), (480, 48), (400, 36), (320, 24), (256, 20), (200, 14), (160, 10), (128, 6))
"""Longest side in pixels and most frames of a video, from what is wanted to what is still worth looking at."""
_SPARE = 1.1  # videos differ in size; how far the first one is taken to speak for the others


@dataclass(frozen=True)
class Shown:
    """A method in the viewer: the name of its row, the run behind it."""

    name: str
    run: Run
    apart: bool = False


@dataclass(frozen=True)
class Viewer:
    """`data` is what the page's script is given; `notes` what a reader must know of it. No data: no viewer."""

    data: dict[str, Any] | None
    notes: tuple[str, ...] = ()


def viewer(
    entries: Sequence[tuple[str, Sequence[Run]]],
    protocol: Protocol | None,
    data_root: Path | None,
    *,
    apart: frozenset[int] = frozenset(),
    videos: Sequence[str] = (),
    count: int = 12,
    budget: int = 12_000_000,
) -> Viewer:
    """Videos of a table's runs, as far as these kept their label maps.

    Args:
        entries: name and runs of each row; of several training seeds the first one with label maps is shown.
        data_root: the data set's folder; the world needs none.
        apart: places in `entries` of control rows and their like, which are not among the first shown.
        videos: ids of the videos wanted (those of other tables are passed over); without any, `count` of them,
            evenly spaced over the protocol's list.
        budget: bytes that all of it may take.

    Raises:
        IncompleteError: label maps that a run has scored are missing.
        IntegrityError: label maps are not those that were scored.
    """
    if count < 1 and not videos:
        return Viewer(None, ("No videos were asked for.",))
    if protocol is None:
        return Viewer(
            None, ("No videos: this installation does not have the protocol that these runs were made with.",)
        )
    shown, without = _with_maps(entries, apart)
    if not shown:
        return Viewer(
            None,
            (
                "No videos: none of these runs kept its label maps. Give a run's command again with "
                "--save-predictions; only what is missing is done. `ovbench score` keeps copies with it, too.",
            ),
        )
    notes = []
    if without:
        notes.append(f"Not here, as they kept no label maps (--save-predictions): {', '.join(without)}.")
    chosen = _chosen(shown, videos, count)
    if not chosen:
        return Viewer(None, ("The videos asked for are not among those of these runs.",))
    try:
        dataset = open_dataset(protocol, data_root)
    except OvbenchError as error:
        if data_root is not None or videos:
            raise
        return Viewer(None, (f"No videos: {error.what} (--data-root DIR).",))
    parts, level, left_out = _within(chosen, shown, protocol, data_root, dataset, budget)
    notes += _said(level, left_out, parts)
    every = palette(protocol).tolist()
    data = {
        "videos": parts,
        "methods": [s.name for s in shown],
        "apart": [i for i, s in enumerate(shown) if s.apart],
        "classes": [
            {"name": c.clean, "color": color, "unseen": not c.seen}
            for c, color in zip(protocol.classes, every, strict=False)
        ],
        "other": every[-2],
        "void": every[-1],
        "errors": [[name, list(color)] for name, color in ERRORS],
    }
    return Viewer(data, tuple(notes))


def _with_maps(
    entries: Sequence[tuple[str, Sequence[Run]]], apart: frozenset[int]
) -> tuple[list[Shown], list[str]]:
    shown, without = [], []
    for place, (name, runs) in enumerate(entries):
        kept = next((run for run in runs if saves_label_maps(run)), None)
        if kept is None:
            without.append(name)
        else:
            shown.append(Shown(name, kept, place in apart))
    return shown, without


def _chosen(shown: Sequence[Shown], wanted: Sequence[str], count: int) -> list[str]:
    every = shown[0].run.videos
    if wanted:
        return [video for video in dict.fromkeys(wanted) if video in every]
    kept = [v for v in every if all(saves_label_maps(s.run, v) for s in shown)] or list(every)
    return [kept[i * len(kept) // min(count, len(kept))] for i in range(min(count, len(kept)))]


def _within(
    chosen: Sequence[str],
    shown: Sequence[Shown],
    protocol: Protocol,
    data_root: Path | None,
    dataset: Dataset,
    budget: int,
) -> tuple[list[dict[str, Any]], tuple[int, int], list[str]]:
    """The videos at the finest level that fits; at the coarsest, those that fit."""
    runs = [s.run for s in shown]
    opened: dict[str, Footage] = {}

    def part(video: str, level: tuple[int, int]) -> dict[str, Any]:
        if video not in opened:
            opened[video] = open_footage(runs, protocol, data_root, video, dataset=dataset)
            opened[video].check()
        return _video(opened[video], *level)

    for level in _LEVELS:
        parts, spent = [], 0
        for number, video in enumerate(chosen):
            parts.append(part(video, level))
            spent += len(json.dumps(parts[-1]))
            if spent + _SPARE * spent / (number + 1) * (len(chosen) - number - 1) > budget:
                break
        if len(parts) == len(chosen) and spent <= budget:
            return parts, level, []
    kept: list[dict[str, Any]] = []
    for video in chosen:
        found = part(video, _LEVELS[-1])
        if sum(len(json.dumps(p)) for p in [*kept, found]) > budget:
            break
        kept.append(found)
    return kept, _LEVELS[-1], list(chosen[len(kept) :])


def _video(footage: Footage, longest: int, most: int) -> dict[str, Any]:
    count = len(footage)
    index = [i * count // min(count, most) for i in range(min(count, most))]
    images = [footage.image(i) for i in index]
    size = fitted(images[0].shape[0], images[0].shape[1], longest)
    truths = [footage.truth(i) for i in index]
    maps = [[footage.label_map(r, i) for i in index] for r in range(len(footage.names))]
    return {
        "id": footage.video_id,
        "h": size.height,
        "w": size.width,
        "full": [*images[0].shape[:2], count],
        "frames": [footage.frame_names[i] for i in index],
        "image": picture_sheets(images, size),
        "truth": packed(map_bytes(truths, size)) if any(t is not None for t in truths) else None,
        "annotated": [int(t is not None) for t in truths],
        "maps": [packed(map_bytes(found, size)) for found in maps],
        "have": [[int(m is not None) for m in found] for found in maps],
    }


def _said(level: tuple[int, int], left_out: Sequence[str], parts: Sequence[dict[str, Any]]) -> list[str]:
    """What was made smaller to fit, in words."""
    notes = []
    if any((p["h"], p["w"]) != tuple(p["full"][:2]) for p in parts):
        notes.append(
            f"Pictures are thinned out to at most {level[0]} pixels a side; scores rest on whole frames."
        )
    if any(len(p["frames"]) < p["full"][2] for p in parts):
        notes.append(f"At most {level[1]} frames of a video are here, evenly spaced.")
    if left_out:
        notes.append(f"Left out to keep the page small (--budget): {', '.join(left_out)}.")
    return notes
