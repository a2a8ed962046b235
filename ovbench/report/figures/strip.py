"""One pixel row over time: what a method said about the same pixels, frame after frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.protocol.schema import Protocol
from ovbench.report.footage import (
    OTHER,
    VOID,
    Footage,
    need_label_maps,
    open_footage,
    palette,
    saves_label_maps,
)
from ovbench.report.model import Run

from .series import prepare
from .style import GREY, INK, LINE, PAD, SMALL, WIDTHS_IN, Sheet, shortened, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from . import Options

MOST_CLASSES = 14
"""Classes in the legend, those with most pixels."""
_FRAME = 0.022
"""Inches of height for one frame, within the limits of `_TALL`."""
_TALL = (0.42, 1.0)

Track = NDArray[np.int64]


def draw(runs: Sequence[Run], options: Options) -> Figure:
    """The video, its truth and each run: time runs downwards, every line is the same pixel row of a later frame.

    Raises:
        UserError: a run without saved label maps, an unknown video, or a row outside the picture.
        IncompleteError: label maps that a run has scored are missing.
        IntegrityError: label maps are not those that were scored.
    """
    board = prepare(runs, options)
    for run in runs:
        need_label_maps(run, options.protocol, options.data_root)
    footage = open_footage(runs, board.protocol, options.data_root, _video(runs, options))
    footage.check()
    row = _row(footage, options)
    pictures = np.stack([_line(footage.image(i), row, footage) for i in range(len(footage))])
    tracks = {"truth": _track([footage.truth(i) for i in range(len(footage))], row, footage)}
    for r, name in enumerate(footage.names):
        tracks[name] = _track([footage.label_map(r, i) for i in range(len(footage))], row, footage)
    note = board.note(
        f"Video {footage.video_id}, pixel row {row} of {footage.image(0).shape[0]}, frames 0 to {len(footage) - 1} "
        "downwards. "
        "Percentages: pixels of this row that change their label from one frame to the next, on average."
    )
    with styled():
        width = WIDTHS_IN[options.width] or 3.3
        tall = float(np.clip(_FRAME * len(footage), *_TALL))
        step = tall + LINE + 0.07
        sheet = Sheet(width, (len(tracks) + 1) * step + 0.02, note, _keys(tracks, board.protocol))
        colours = palette(board.protocol)
        for i, (name, track) in enumerate([("video", None), *tracks.items()]):
            axes = sheet.axes(PAD, PAD, (len(tracks) - i) * step + 0.02, i * step + LINE + 0.03)
            axes.imshow(pictures if track is None else colours[track], aspect="auto", interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(True)
            change = "" if track is None else _changed(track)
            room = width - 2 * PAD - text_width(change) - 0.1
            for text, x, side in ((shortened([name], room)[0], 0, "left"), (change, 1, "right")):
                axes.text(
                    x, 1 + 0.03 / tall, text, ha=side, va="bottom", fontsize=SMALL, transform=axes.transAxes,
                    color=INK,
                )  # fmt: skip
        return sheet.finish()


def _video(runs: Sequence[Run], options: Options) -> str:
    """The video asked for; else the first of which every run has label maps."""
    if options.video is not None:
        return options.video
    return next((v for v in runs[0].videos if all(saves_label_maps(r, v) for r in runs)), runs[0].videos[0])


def _row(footage: Footage, options: Options) -> int:
    """The row asked for; else the one that crosses most classes of the first annotated frame, near the middle."""
    height = int(footage.image(0).shape[0])
    if options.row is not None:
        if not 0 <= options.row < height:
            raise UserError(f"there is no pixel row {options.row}: the frames have rows 0 to {height - 1}")
        return options.row
    truth = next((t for i in range(len(footage)) if (t := footage.truth(i)) is not None), None)
    if truth is None:
        return height // 2
    often = [len(np.unique(line[line != VOID])) for line in truth]
    middle = (len(truth) - 1) / 2
    best = max(range(len(truth)), key=lambda y: (often[y], -abs(y - middle), -y))
    return best * height // len(truth)


def _line(picture: NDArray[Any], row: int, footage: Footage) -> NDArray[Any]:
    """The pixel row of a picture or map of any size; `row` counts in the size of the first frame."""
    return np.asarray(picture[row * picture.shape[0] // footage.image(0).shape[0]])


def _track(maps: Sequence[NDArray[np.int16] | None], row: int, footage: Footage) -> Track:
    """(T, W) class indices of the row; frames without a map are VOID."""
    lines = [None if m is None else _line(m, row, footage).astype(np.int64) for m in maps]
    width = max((len(line) for line in lines if line is not None), default=1)
    empty = np.full(width, VOID, np.int64)
    return np.stack([empty if line is None or len(line) != width else line for line in lines])


def _changed(track: Track) -> str:
    """Mean share of pixels that change between neighbouring frames, void left out."""
    first, second = track[:-1], track[1:]
    known = (first != VOID) & (second != VOID)
    return f"{100.0 * float((first != second)[known].mean()):.1f} %" if known.any() else ""


def _keys(tracks: dict[str, Track], protocol: Protocol) -> list[tuple[Any, str]]:
    """Colours of the classes that occur, those with most pixels first; abstention and void last."""
    from matplotlib.patches import Patch

    found, pixels = np.unique(np.concatenate([t.ravel() for t in tracks.values()]), return_counts=True)
    share = dict(zip(found.tolist(), pixels.tolist(), strict=True))
    classes = sorted((c for c in share if c >= 0), key=lambda c: -share[c])
    colours = palette(protocol) / 255.0
    keys = [(c, protocol.classes[c].clean) for c in classes[:MOST_CLASSES]]
    keys += [(c, name) for c, name in ((OTHER, "no class"), (VOID, "not evaluated")) if c in share]
    patches = [(Patch(facecolor=tuple(colours[c]), edgecolor=GREY, linewidth=0.4), name) for c, name in keys]
    more = len(classes) - MOST_CLASSES
    return (
        [*patches, (Patch(facecolor="none", edgecolor="none"), f"and {more} more")] if more > 0 else patches
    )
