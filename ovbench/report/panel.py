"""One picture of frames, truth and predictions side by side, with a legend of what is in it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap, RawMask, other_of
from ovbench.datasets.base import Video
from ovbench.protocol.schema import Protocol
from ovbench.store.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VOID = -1
OTHER = -2
_VOID_COLOR = (0, 0, 0)
_OTHER_COLOR = (255, 255, 255)
_INCH = 2.1  # width of one picture
_LEGEND_ROW = 0.16  # inches
_TITLE = 0.3

Classes = NDArray[np.int64]
LegendEntry = tuple[str, tuple[int, int, int] | None]
Maps = Sequence[LabelMap] | Mapping[int, LabelMap]


def panel(
    video: Video,
    rows: Sequence[tuple[str, Maps]],
    frame_indices: Sequence[int],
    protocol: Protocol,
    path: str | Path,
    *,
    dpi: int = 110,
) -> Path:
    """Draw a PNG: one column per frame; the frame, its truth, then one line per entry of `rows`.

    Args:
        rows: (title, label maps); the maps hold vocabulary indices and are looked up by frame index,
            so a dictionary with the frames drawn is enough. (H, W) uint8/uint16.
        frame_indices: which frames, at least one.
        protocol: gives names and colours; only classes that occur are in the legend, unseen ones
            with a star. Pixels without an evaluated class are black, abstentions white.

    Returns:
        `path`, written atomically; equal input gives equal pictures on one matplotlib version.

    Raises:
        UserError: no frame was asked for, or a row lacks one.
    """
    if not frame_indices:
        raise UserError("a panel needs at least one frame")
    lines: list[tuple[str, list[Classes | None]]] = [
        (
            "truth",
            [truth_classes(video.truth(i), protocol) if video.annotated(i) else None for i in frame_indices],
        )
    ]
    lines += [
        (title, [predicted_classes(_map(maps, i, title), protocol) for i in frame_indices])
        for title, maps in rows
    ]
    figure = _draw(
        [video.image(i) for i in frame_indices],
        lines,
        [video.frame_names[i] for i in frame_indices],
        protocol,
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    write_bytes(path, stream.getvalue())
    return Path(path)


def truth_classes(mask: RawMask, protocol: Protocol) -> Classes:
    """(H, W) int64 class indices of a raw mask; VOID where nothing is evaluated."""
    scored = np.full(256, VOID, np.int64)
    scored[list(protocol.scored_classes)] = protocol.scored_classes
    return scored[protocol.truth_table[mask]]


def predicted_classes(label_map: LabelMap, protocol: Protocol) -> Classes:
    """(H, W) int64 class indices of a label map; OTHER where the method abstains or names no class."""
    table = np.full(other_of(label_map.dtype) + 1, OTHER, np.int64)
    names = protocol.class_of_vocabulary
    table[: len(names)] = np.where(names < 0, OTHER, names)
    return table[label_map]


def paint(classes: Classes, protocol: Protocol) -> Image:
    """(H, W) class indices -> (H, W, 3) uint8 in the protocol's colours."""
    colors = [row.color for row in protocol.classes]
    # OTHER and VOID index from the end
    palette = np.array([*colors, _OTHER_COLOR, _VOID_COLOR], np.uint8)
    return palette[classes]


def _map(maps: Maps, index: int, title: str) -> LabelMap:
    try:
        return maps[index]
    except (KeyError, IndexError):
        raise UserError(f"'{title}' has no label map for frame {index}") from None


def _draw(
    images: Sequence[Image],
    lines: Sequence[tuple[str, Sequence[Classes | None]]],
    names: Sequence[str],
    protocol: Protocol,
) -> Figure:
    from matplotlib.figure import Figure

    entries = _legend(lines, protocol)
    per_line = max(1, min(len(entries), int(_INCH * len(images) // 1.7)))
    legend_lines = -(-len(entries) // per_line)
    tall = images[0].shape[0] / images[0].shape[1] * _INCH
    count = len(lines) + 1
    size = (_INCH * len(images) + 0.35, _TITLE + tall * count + _LEGEND_ROW * legend_lines + 0.15)
    figure = Figure(figsize=size)
    grid = figure.add_gridspec(
        count,
        len(images),
        left=0.32 / size[0],
        right=1 - 0.03 / size[0],
        top=1 - _TITLE / size[1],
        bottom=(_LEGEND_ROW * legend_lines + 0.12) / size[1],
        wspace=0.03,
        hspace=0.04,
    )
    for column, (image, name) in enumerate(zip(images, names, strict=True)):
        maps = [line[1][column] for line in lines]
        pictures = [image, *(None if m is None else paint(m, protocol) for m in maps)]
        for row, picture in enumerate(pictures):
            axes = figure.add_subplot(grid[row, column])
            axes.set_xticks([])
            axes.set_yticks([])
            if picture is None:
                axes.text(
                    0.5, 0.5, "no truth", ha="center", va="center", fontsize=8, transform=axes.transAxes
                )
            else:
                axes.imshow(picture, interpolation="nearest")
            if row == 0:
                axes.set_title(name, fontsize=8, pad=3)
            if column == 0:
                axes.set_ylabel("frame" if row == 0 else lines[row - 1][0], fontsize=8, labelpad=3)
    _add_legend(figure, entries, per_line)
    return figure


def _legend(lines: Sequence[tuple[str, Sequence[Classes | None]]], protocol: Protocol) -> list[LegendEntry]:
    """Name and colour of what occurs, in class order, abstention and void last."""
    maps = [m for _, row in lines for m in row if m is not None]
    present = sorted({int(c) for m in maps for c in np.unique(m)})
    names = protocol.classes
    generalised = bool(protocol.groups["unseen"])
    entries: list[LegendEntry] = [
        (names[c].clean + ("" if names[c].seen or not generalised else " *"), names[c].color)
        for c in present
        if c >= 0
    ]
    if any(c >= 0 and not names[c].seen for c in present):
        entries.append(("* = unseen in training", None))
    if OTHER in present:
        entries.append(("(abstained)", _OTHER_COLOR))
    if VOID in present:
        entries.append(("(not evaluated)", _VOID_COLOR))
    return entries


def _add_legend(figure: Figure, entries: Sequence[LegendEntry], per_line: int) -> None:
    from matplotlib.patches import Patch

    patches = []
    for name, color in entries:
        face = "none" if color is None else f"#{bytes(color).hex()}"
        patches.append(Patch(facecolor=face, edgecolor="none" if color is None else "0.4", label=name))
    figure.legend(
        handles=patches,
        loc="lower center",
        ncols=per_line,
        fontsize=7,
        frameon=False,
        handlelength=1.2,
        handleheight=0.9,
        columnspacing=1.0,
        labelspacing=0.25,
        borderaxespad=0.2,
    )
