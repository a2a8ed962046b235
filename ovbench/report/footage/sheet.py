"""Where everything goes on a picture: rows of equal tiles with titles over them, and a legend below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .colours import Colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT = "DejaVu Sans"  # comes with matplotlib: the same letters everywhere
SIZE = 7.5  # points; 7 is the least that journals print
_SWATCH = 0.13  # inches, like all lengths here
_LINE = 0.165
_TITLE = 0.155
GAP = 0.04
"""Inches between tiles."""
MARGIN = 0.04
"""Inches around a sheet."""
_MANY = 9
_BETWEEN = 0.16  # from an entry of the legend to the next


@dataclass(frozen=True)
class Entry:
    """One line of a legend; without a colour it is a remark. `mark` follows the name and is never cut."""

    name: str
    colour: Colour | None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """A row of tiles: one title over the whole row, or one over each tile, or none.

    `remarks` follow the titles and are never cut.
    """

    titles: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """A rectangle in inches from the top left corner of the sheet."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Sheet:
    """A laid out picture. `boxes[row][column]` is where a tile goes."""

    width: float
    height: float
    boxes: tuple[tuple[Box, ...], ...]
    texts: tuple[tuple[float, float, str], ...]  # left, middle, what
    swatches: tuple[tuple[Box, Colour], ...]

    def figure(self) -> Figure:
        """Titles and legend on a white figure; the tiles are the caller's."""
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        figure = Figure(figsize=(self.width, self.height), facecolor="white")
        for left, middle, text in self.texts:
            figure.text(
                left / self.width,
                1 - middle / self.height,
                text,
                fontsize=SIZE,
                fontfamily=FONT,
                va="center_baseline",
                color="black",
                parse_math=False,  # a name may hold "$"
            )
        for box, colour in self.swatches:
            corner = (box.left / self.width, 1 - (box.top + box.height) / self.height)
            figure.add_artist(
                Rectangle(
                    corner,
                    box.width / self.width,
                    box.height / self.height,
                    transform=figure.transFigure,
                    facecolor=f"#{bytes(colour).hex()}",
                    edgecolor="0.4",
                    linewidth=0.5,
                )
            )
        return figure


def lay_out(
    rows: Sequence[Row], columns: int, tile: tuple[float, float], legends: Sequence[Sequence[Entry]]
) -> Sheet:
    """A sheet of `rows` x `columns` tiles.

    Args:
        tile: width and height of a tile in inches.
        legends: blocks of entries, one below the other; empty ones are left out. An entry that does not fit is
            cut, names included, so that nothing leaves the sheet.
    """
    wide, tall = tile
    width = 2 * MARGIN + columns * wide + (columns - 1) * GAP
    lefts = [MARGIN + c * (wide + GAP) for c in range(columns)]
    texts: list[tuple[float, float, str]] = []
    boxes = []
    top = MARGIN
    for row in rows:
        if row.titles:
            room = width - 2 * MARGIN if len(row.titles) == 1 else wide
            remarks = row.remarks or ("",) * len(row.titles)
            texts += [
                (left, top + _TITLE / 2, fit(title, room - text_width(remark)) + remark)
                for left, title, remark in zip(lefts, row.titles, remarks, strict=False)
                if title
            ]
            top += _TITLE
        boxes.append(tuple(Box(left, top, wide, tall) for left in lefts))
        top += tall + GAP
    swatches: list[tuple[Box, Colour]] = []
    for entries in legends:
        if entries:
            top = _legend(entries, width, top + 0.06, texts, swatches)
    return Sheet(width, top + MARGIN, tuple(boxes), tuple(texts), tuple(swatches))


def _legend(
    entries: Sequence[Entry],
    width: float,
    top: float,
    texts: list[tuple[float, float, str]],
    swatches: list[tuple[Box, Colour]],
) -> float:
    """Put entries into as many columns as fit, read downwards; returns where they end."""
    room = width - 2 * MARGIN
    before = _SWATCH + 0.06
    # Many entries stand in three columns at least, so that one long name does not make a tower of them.
    most = room - before if len(entries) < _MANY else (room - 2 * _BETWEEN) / 3 - before
    names = [
        fit(e.name, (room - before if e.colour is None else most) - text_width(e.mark)) + e.mark
        for e in entries
    ]
    # As many columns as fit when each is as wide as its own widest entry.
    for columns in range(len(entries), 0, -1):
        lines = -(-len(entries) // columns)
        blocks = [names[i : i + lines] for i in range(0, len(names), lines)]
        widths = [before + max(map(text_width, block)) + _BETWEEN for block in blocks]
        if sum(widths) - _BETWEEN <= room:
            break
    lefts = [MARGIN + sum(widths[:i]) for i in range(len(blocks))]
    for place, (entry, name) in enumerate(zip(entries, names, strict=True)):
        left, middle = lefts[place // lines], top + (place % lines + 0.5) * _LINE
        if entry.colour is not None:
            swatches.append((Box(left, middle - _SWATCH / 2, _SWATCH, _SWATCH), entry.colour))
            left += before
        texts.append((left, middle, name))
    return top + lines * _LINE


@lru_cache(maxsize=4096)
def text_width(text: str) -> float:
    """Width of a text in inches, in the letters of a sheet."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    measured: float = TextToPath().get_text_width_height_descent(
        text, FontProperties(family=FONT, size=SIZE), ismath=False
    )[0]
    return measured / 72


def fit(text: str, room: float) -> str:
    """`text` in one line, with an ellipsis inside where it is wider than `room` inches.

    Both ends stay: names of runs often differ only in their last word.
    """
    text = "".join(c if c.isprintable() else " " for c in text)
    if text_width(text) <= room:
        return text
    low, high = 0, len(text) - 1
    while low < high:  # the most letters that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(_shortened(text, middle)) <= room else (low, middle - 1)
    return _shortened(text, low)


def _shortened(text: str, letters: int) -> str:
    tail = letters // 3
    return text[: letters - tail].rstrip() + "…" + text[len(text) - tail :].lstrip()
