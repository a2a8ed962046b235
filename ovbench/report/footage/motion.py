"""A moving picture: the same board of tiles for every frame, with one legend for all of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ovbench.core.types import Image

from .scene import Legends, Tile, board, read_scene, title
from .sheet import SIZE, Box, Row, Sheet, lay_out
from .source import Footage
from .strip import check_frames

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_DPI = 125  # letters of 13 pixels
_WIDE = 400  # pixels that a tile may be wide


@dataclass(frozen=True)
class Motion:
    """Frames of one size, made one by one. `colours` are those that label maps are painted with, (N, 3) uint8."""

    footage: Footage
    frames: tuple[int, ...]
    tiles: tuple[tuple[Tile, ...], ...]
    sheet: Sheet
    colours: Image

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Image]:
        """(H, W, 3) uint8, H and W even, as video encoders want them."""
        ground, font = self._ground(), _font()
        for number, index in enumerate(self.frames):
            yield self._frame(ground.copy(), font, number, index)

    def _ground(self) -> Image:
        """What stays: white, titles and legend."""
        from PIL import Image as Pillow

        stream = io.BytesIO()
        self.sheet.figure().savefig(stream, format="png", dpi=_DPI)
        pixels = np.asarray(Pillow.open(stream).convert("RGB"))
        tall, wide = (n % 2 for n in pixels.shape[:2])
        return np.pad(pixels, ((0, tall), (0, wide), (0, 0)), constant_values=255)

    def _frame(self, canvas: Image, font: FreeTypeFont, number: int, index: int) -> Image:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        scene = read_scene(self.footage, index)
        words: list[tuple[float, float, str, str]] = []
        edges = []
        for row, boxes in zip(self.tiles, self.sheet.boxes, strict=True):
            for tile, box in zip(row, boxes, strict=False):
                left, top, wide, tall = _pixels(box)
                if tile[0] == "image":
                    heading = f"frame {scene.name} ({number + 1} of {len(self)})"
                    words.append((left, top - 10, heading, "lm"))
                edges.append((left - 1, top - 1, left + wide, top + tall))
                picture = scene.picture(tile, self.footage.protocol)
                if isinstance(picture, str):
                    words.append((left + wide / 2, top + tall / 2, picture, "mm"))
                    continue
                smooth = tile[0] == "image" and picture.shape[1] > wide
                way = Pillow.Resampling.LANCZOS if smooth else Pillow.Resampling.NEAREST
                resized = Pillow.fromarray(picture).resize((wide, tall), way)
                canvas[top : top + tall, left : left + wide] = np.asarray(resized)
        drawn = Pillow.fromarray(canvas)
        pen = ImageDraw.Draw(drawn)
        for edge in edges:  # abstained pixels are as white as the ground
            pen.rectangle(edge, outline=(150, 150, 150))
        for x, y, text, anchor in words:
            pen.text((x, y), text, fill=(0, 0, 0), font=font, anchor=anchor)
        return np.asarray(drawn)


def motion(footage: Footage, frames: Sequence[int], *, errors: bool = True) -> Motion:
    """The moving picture of these frames; label maps are read twice, as the legend stands from the first frame on.

    Raises:
        UserError: no frame, or one that is not there.
    """
    check_frames(footage, frames)
    judged = errors and any(footage.video.annotated(i) for i in frames)
    legends = Legends(footage.protocol, judged)
    for index in frames:
        legends.add(read_scene(footage, index))
    tiles = board(len(footage.names), judged)
    height, width = footage.image(frames[0]).shape[:2]
    wide = width * max(1, _WIDE // width) if width <= _WIDE else _WIDE
    size = (wide / _DPI, round(wide * height / width) / _DPI)
    rows = [Row(tuple(title(tile, footage.names) or " " for tile in row)) for row in tiles]
    entries = legends.entries()
    sheet = lay_out(rows, len(tiles[0]), size, entries)
    colours = [e.colour for block in entries for e in block if e.colour is not None]
    return Motion(
        footage,
        tuple(frames),
        tuple(map(tuple, tiles)),
        sheet,
        np.unique(np.array(colours, np.uint8).reshape(-1, 3), axis=0),
    )


def _pixels(box: Box) -> tuple[int, int, int, int]:
    left, top, wide, tall = (round(x * _DPI) for x in (box.left, box.top, box.width, box.height))
    return left, top, wide, tall


def _font() -> FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), round(SIZE * _DPI / 72))
