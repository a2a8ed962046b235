"""Figures as files and as part of a page: PDF, SVG and PNG, each the same bytes for the same figure."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ovbench.core.errors import UserError
from ovbench.store.atomic import write_bytes

from .style import FAINT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
DPI = 300
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def encode(figure: Figure, form: str, *, dpi: int = DPI) -> bytes:
    """The figure as PDF (fonts embedded), SVG (text as outlines) or PNG (on white); no dates, no versions in it."""
    stream = io.BytesIO()
    with styled(**{"svg.fonttype": "path"}):
        # a PNG is looked at by programs that show what is transparent as black
        face = "white" if form == "png" else "none"
        figure.savefig(stream, format=form, dpi=dpi, facecolor=face, metadata=_METADATA[form])
    return stream.getvalue()


def checked(out: Path) -> Path:
    """`out`, if a figure may be written there; raises `UserError` for an ending that is none of ours."""
    if not out.name.strip("."):
        raise UserError("this names a folder, not a file", where=out, hint="such as --out figure.pdf")
    ending = out.suffix[1:].lower()
    # "v1.2" is a name without an ending, "fig.jpg" is not
    if ending.isalpha() and ending not in FORMATS:
        raise UserError(
            f"figures are not written as '.{ending}'", where=out, hint=f"known: {', '.join(FORMATS)}"
        )
    return out


def save(figure: Figure, out: Path, forms: Sequence[str] = FORMATS, *, dpi: int = DPI) -> list[Path]:
    """Write a figure; each file is whole or not there.

    Args:
        out: `fig.pdf` is written in that form; a name without one of the endings gets one file for each of `forms`.

    Returns:
        The files.

    Raises:
        UserError: an ending that is none of ours, or a file that cannot be written.
    """
    ending = checked(out).suffix[1:].lower()
    stem = out.name.rstrip(".")
    wanted = {out: ending} if ending in FORMATS else {out.with_name(f"{stem}.{form}"): form for form in forms}
    for path, form in wanted.items():
        write_bytes(path, encode(figure, form, dpi=dpi))
    return list(wanted)


def inline_svg(figure: Figure, kind: str, title: str) -> str:
    """One <svg> element for a page (see `ovbench.report.figures.figure_svg`)."""
    stream = io.StringIO()
    with styled(**{"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", facecolor="none", metadata=_METADATA["svg"])
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = f"fig-{re.sub('[^a-z0-9]+', '-', kind.lower())}-"
    text = re.sub(r'(\bid="|xlink:href="#|url\(#)', lambda m: m[1] + prefix, text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r' xmlns:xlink="[^"]*"', "", text)
    # a page may be dark
    text = text.replace(f"fill: {FAINT}", "fill: currentColor; fill-opacity: 0.75")
    text = text.replace("stroke: #000000", "stroke: currentColor").replace(
        "fill: #000000", "fill: currentColor"
    )
    label = escape(title, quote=True)
    # what is black has no fill of its own in these files: it inherits this one
    return (
        text.replace("<svg ", f'<svg role="img" aria-label="{label}" fill="currentColor" ', 1).strip() + "\n"
    )
