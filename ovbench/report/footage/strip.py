"""A still picture: a column per frame; the frames, their truth, and for each method its labels and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.protocol.schema import Protocol

from .scene import Legends, Scene, Tile, board, read_scene, share_right, title
from .sheet import GAP, MARGIN, SIZE, Row, Sheet, lay_out
from .source import Footage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 6.9
"""Inches: the text of a page with two columns."""
_TALLEST = 1.6  # of a tile, inches
DPI = 150
"""Dots per inch that a strip is drawn for, where nobody says otherwise."""


def strip(footage: Footage, frames: Sequence[int], *, errors: bool = True, dpi: int = DPI) -> Figure:
    """The frames `frames` side by side.

    Args:
        errors: also a row of errors below each method's labels.
        dpi: what the figure will be saved with; photographs of more pixels are smoothed.

    Raises:
        UserError: no frame, or one that is not there.
    """
    check_frames(footage, frames)
    return draw(
        [read_scene(footage, index) for index in frames],
        footage.names,
        footage.protocol,
        errors=errors,
        dpi=dpi,
    )


def draw(
    scenes: Sequence[Scene], names: Sequence[str], protocol: Protocol, *, errors: bool = True, dpi: int = DPI
) -> Figure:
    """A figure of scenes: a column each, or for a single one a board of tiles. `names` are the methods'.

    Titles of methods say how much is right in what is shown; only classes that occur are in the legend, unseen ones
    with a star. Equal input gives equal pictures on one matplotlib version.
    """
    legends = Legends(protocol, errors)
    for scene in scenes:
        legends.add(scene)
    judged = any(e is not None for s in scenes for e in s.errors)
    if len(scenes) == 1:
        return _single(scenes[0], names, protocol, legends, errors and judged, dpi)
    tiles: list[Tile] = [("image", -1)]
    tiles += [("truth", -1)] if any(s.truth is not None for s in scenes) else []
    for run in range(len(names)):
        tiles += [("labels", run), *([("errors", run)] if errors and judged else [])]
    rows = [Row(tuple(s.name for s in scenes))]
    rows += [
        Row() if tile[0] == "errors" else Row((title(tile, names),), (_right(scenes, tile[1]),))
        for tile in tiles[1:]
    ]
    sheet = lay_out(rows, len(scenes), _tile(scenes[0], len(scenes)), legends.entries())
    return _fill(sheet, [[(tile, scene.picture(tile, protocol)) for scene in scenes] for tile in tiles], dpi)


def check_frames(footage: Footage, frames: Sequence[int]) -> None:
    """Raise `UserError` unless there are frames, all in the footage."""
    if not frames:
        raise UserError("no frame was asked for", where="--frames", hint="--frames 0,5,10")
    wrong = [i for i in frames if not 0 <= i < len(footage)]
    if wrong:
        raise UserError(
            f"video '{footage.video_id}' has no frame {wrong[0]} here",
            where="--frames",
            hint=f"frames are counted from 0; the last of these is {len(footage) - 1}",
        )


def _single(
    scene: Scene, names: Sequence[str], protocol: Protocol, legends: Legends, errors: bool, dpi: int
) -> Figure:
    """One frame. How much is right stands over the errors, so that a long name does not push it out."""
    tiles = board(len(names), errors)

    def remark(tile: Tile) -> str:
        return _right([scene], tile[1]) if tile[0] == ("errors" if errors else "labels") else ""

    rows = [
        Row(tuple(title(t, names) or f"frame {scene.name}" for t in row), tuple(map(remark, row)))
        for row in tiles
    ]
    columns = len(tiles[0])
    sheet = lay_out(rows, columns, _tile(scene, columns), legends.entries())
    return _fill(sheet, [[(tile, scene.picture(tile, protocol)) for tile in row] for row in tiles], dpi)


def _fill(sheet: Sheet, tiles: Sequence[Sequence[tuple[Tile, Image | str]]], dpi: int) -> Figure:
    figure = sheet.figure()
    for boxes, row in zip(sheet.boxes, tiles, strict=True):
        for box, (tile, picture) in zip(boxes, row, strict=False):  # the last row of a board may be short
            bottom = 1 - (box.top + box.height) / sheet.height
            axes = figure.add_axes(
                (box.left / sheet.width, bottom, box.width / sheet.width, box.height / sheet.height)
            )
            axes.set_xticks([])
            axes.set_yticks([])
            for edge in axes.spines.values():  # abstained pixels are as white as the page
                edge.set(linewidth=0.4, color="0.6")
            if isinstance(picture, str):
                axes.text(0.5, 0.5, picture, ha="center", va="center", fontsize=SIZE, color="0.35")
                continue
            # Only photographs may be smoothed: elsewhere colours of classes would mix.
            photo = tile[0] == "image" and picture.shape[1] > dpi * box.width
            axes.imshow(picture, interpolation="antialiased" if photo else "none", aspect="auto")
    return figure


def _tile(scene: Scene, columns: int) -> tuple[float, float]:
    """Width and height in inches: the page's width shared, but no tile taller than `_TALLEST`."""
    wide = (WIDTH - 2 * MARGIN - GAP * (columns - 1)) / columns
    height, width = scene.image.shape[:2]
    wide = min(wide, _TALLEST * width / height)
    return wide, wide * height / width


def _right(scenes: Sequence[Scene], run: int) -> str:
    if run < 0:
        return ""
    share = share_right(s.errors[run] for s in scenes)
    if share is None:
        return ""
    return f"   {share:.1f} % right" + (" in these frames" if len(scenes) > 1 else "")
