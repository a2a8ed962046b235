"""The look all figures share: sizes for print, colours for all eyes, text that is measured before it is placed.

Sizes are inches and points. The smallest text is 7 pt at the width at which a figure is meant to be printed.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL, NORMAL = 7.0, 8.0
"""Points: tick labels, legends and notes; titles of axes."""
LINE = SMALL * 1.3 / 72
"""Inches from one line of small text to the next."""
WIDTHS_IN: Mapping[str, float | None] = {"auto": None, "column": 3.3, "page": 6.9}
"""Inches by the name of a width; None: as the content needs."""
PAD = 0.04
"""Inches kept free at every edge."""

INK, GREY, PALE = "#000000", "#7f7f7f", "#b8b8b8"
"""Text and axes; control rows and wrapped twins' links; grid lines. The greys can be seen on white and on black."""
FAINT = "#545454"
"""Small print: 7.5 : 1 on white. In pages it is the text's own colour, a little transparent."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D1F")
"""Methods: the palette of Okabe and Ito without its yellow, which is lost on white paper, and a brown."""
MARKERS = ("o", "s", "^", "D", "v", "p", ">", "<")
"""Methods again: nobody has to tell them by colour alone."""

_RC: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, hence the same everywhere
    "font.size": SMALL,
    "axes.labelsize": NORMAL,
    "axes.titlesize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": PALE,
    "grid.linewidth": 0.35,
    "grid.alpha": 0.7,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.0,
    "hatch.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "text.parse_math": False,  # a "$" in a class name is a dollar sign
    "text.hinting": "no_hinting",  # else the width of letters hangs on the resolution
    "pdf.fonttype": 42,  # TrueType: what publishers ask for
    "svg.hashsalt": "ovbench",  # equal figures, equal bytes
}


@contextmanager
def styled(**more: Any) -> Iterator[None]:
    """matplotlib in our style, and as it was before afterwards; what it cannot draw is for `undrawable` to say."""
    import matplotlib

    wanted: Any = {**_RC, **more}  # names of settings are a type of their own, new in every version
    with matplotlib.rc_context(wanted), without_glyph_warnings():
        yield


@contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Nothing on stderr for each letter that the font lacks, each time it is measured or drawn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@cache
def _signs() -> frozenset[int]:
    """What DejaVu Sans can draw."""
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def undrawable(figure: Figure) -> str:
    """A sentence about the signs in a figure that its font lacks; "" where it has all."""
    from matplotlib.text import Text

    shown = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    lacking = sorted({c for c in shown if ord(c) not in _signs() and c.isprintable() and not c.isspace()})
    if not lacking:
        return ""
    more = f" and {len(lacking) - 20} more" if len(lacking) > 20 else ""
    return f"drawn as boxes, as DejaVu Sans has no such signs: {' '.join(lacking[:20])}{more}"


_FINE = 1440.0
"""Dots per inch for measuring: at few, letters are rounded to whole dots and lines come out too narrow."""


@cache
def _renderer() -> Any:
    from matplotlib.backends import backend_agg

    agg: Any = backend_agg  # without types
    return agg.RendererAgg(8, 8, _FINE)


@lru_cache(maxsize=8192)
def text_width(text: str, size: float = SMALL, weight: str = "normal") -> float:
    """Width of one line of text in inches."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    with without_glyph_warnings():
        width, _, _ = _renderer().get_text_width_height_descent(text, font, False)
    return float(width) / _FINE


def widest(texts: Sequence[str], size: float = SMALL) -> float:
    """Width in inches of the widest of some lines; 0 for none."""
    return max((text_width(t, size) for t in texts), default=0.0)


_SLACK = 1e-6
"""Inches: a limit that was computed from a text's own width may be less than it in the last digit."""


def shortened(texts: Sequence[str], limit: float, size: float = SMALL) -> list[str]:
    """Texts cut in their middle to `limit` inches; those that were different stay so where any cut can do that."""
    found = [_cut(text, limit, size, 0.6) for text in texts]
    for share in (0.4, 0.8, 0.2):
        if len(set(found)) == len(set(texts)):
            break
        found = [_cut(text, limit, size, share) for text in texts]
    return found


def _cut(text: str, limit: float, size: float, share: float) -> str:
    """`text` with so much left out of its middle that it fits; `share` of what is kept stands before the gap."""
    limit += _SLACK
    if text_width(text, size) <= limit:
        return text
    fits = bisect_left(
        range(2, len(text)), True, key=lambda kept: text_width(_gap(text, kept, share), size) > limit
    )
    return _gap(text, fits + 1, share) if fits else "…"


def _gap(text: str, kept: int, share: float) -> str:
    """`kept` letters of a text, those left out of its middle as one sign."""
    front = max(1, round(kept * share))
    return f"{text[:front].rstrip()}…{text[len(text) - (kept - front) :].lstrip()}"


def wrapped(text: str, width: float, size: float = SMALL) -> list[str]:
    """Words broken into lines of at most `width` inches."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_cut(line, width, size, 0.7) for line in lines if line]


class Sheet:
    """A figure built from its edges inwards: what stands below the axes is measured, the axes get the rest.

    Args:
        width, body: inches; `body` is the height that axes, their ticks and titles get.
        note: small print below everything.
        keys: what the legend says: (what is drawn, name).
    """

    def __init__(
        self, width: float, body: float, note: str = "", keys: Sequence[tuple[Artist, str]] = ()
    ) -> None:
        from matplotlib.figure import Figure

        self.width, self._keys = width, keys
        self._lines = wrapped(note, width - 2 * PAD) if note else []
        self._columns, rows = _legend_grid([name for _, name in keys], width - 2 * PAD)
        self._legend = rows * LINE * 0.98 + (0.09 if rows else 0.0)
        self._small = len(self._lines) * LINE + (0.05 if self._lines else 0.0)
        self.below = self._legend + self._small
        self.height = body + self.below
        self.figure: Figure = Figure(figsize=(width, self.height))

    def axes(self, left: float, right: float, bottom: float, top: float, **more: Any) -> Axes:
        """Axes whose frame keeps these distances (inches) from the edges of the body."""
        box = (
            left / self.width,
            (self.below + bottom) / self.height,
            (self.width - left - right) / self.width,
            (self.height - self.below - bottom - top) / self.height,
        )
        return self.figure.add_axes(box, **more)

    def finish(self) -> Figure:
        """Legend and small print added; the figure."""
        if self._keys:
            from matplotlib.legend_handler import HandlerTuple

            # matplotlib fills columns, but people read rows: names come in the order of what they name
            keys = [key for column in range(self._columns) for key in self._keys[column :: self._columns]]
            names = [name for _, name in keys]
            if self._columns == 1:
                names = shortened(names, self.width - 2 * PAD - _HANDLE)
            self.figure.legend(
                handles=[artist for artist, _ in keys],
                labels=[f"\u2009{n}" if n.startswith("_") else n for n in names],  # "_" would hide an entry
                loc="lower center",
                bbox_to_anchor=(0.5, (self._small + 0.03) / self.height),
                ncols=self._columns,
                frameon=False,
                borderaxespad=0.0,
                borderpad=0.0,
                handlelength=_HANDLE_EM,
                handletextpad=0.5,
                columnspacing=1.2,
                labelspacing=0.3,
                handler_map={tuple: HandlerTuple(ndivide=1)},
            )
        for i, line in enumerate(reversed(self._lines)):
            y = (PAD + i * LINE) / self.height
            self.figure.text(PAD / self.width, y, line, color=FAINT, fontsize=SMALL, ha="left", va="bottom")
        return self.figure


_HANDLE_EM = 1.6
_HANDLE = SMALL * (_HANDLE_EM + 0.5 + 1.2) / 72  # line, gap and space to the next column


def _legend_grid(names: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of a legend that is no wider than `width`; rows are filled one after the other."""
    sizes = [text_width(name) + _HANDLE for name in names]
    for columns in range(len(names), 1, -1):
        rows = -(-len(names) // columns)
        if sum(max(sizes[column::columns]) for column in range(columns)) - SMALL * 1.2 / 72 <= width:
            return columns, rows
    return 1, len(names)
