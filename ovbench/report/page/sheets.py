"""Frames and label maps of a video as few small pieces of text, for a page that loads nothing.

Frames of one video stand below each other in WebP pictures. Label maps stay what they are, one byte per pixel:
each frame is combined by XOR with the one before, which leaves zeros wherever nothing changed, and the whole is
deflated. So the page has the classes themselves, exactly, and need not guess them from colours.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.types import Image
from ovbench.report.footage import OTHER, VOID

OTHER_BYTE, VOID_BYTE = 254, 255
"""What abstention and void are on the page; class indices are below (a class table has at most 254 classes)."""
_TALLEST = 16000  # pixels; a WebP picture has at most 16383
_QUALITY = 80

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Size:
    """Of pictures on the page, in pixels."""

    height: int
    width: int


def fitted(height: int, width: int, longest: int) -> Size:
    """The size of a picture of this shape whose longer side is at most `longest`; never larger than it was."""
    factor = min(1.0, longest / max(height, width))
    return Size(max(1, round(height * factor)), max(1, round(width * factor)))


def picture_sheets(images: Sequence[Image], size: Size) -> dict[str, Any]:
    """`{"per": n, "uris": [...]}`: frame i is row `i % n` of picture `i // n`, a WebP data URI each."""
    import PIL.Image

    per = max(1, min(len(images), _TALLEST // size.height))
    small = [_resized(image, size) for image in images]
    uris = []
    for start in range(0, len(small), per):
        stream = io.BytesIO()
        sheet = np.concatenate(small[start : start + per])
        PIL.Image.fromarray(sheet).save(stream, format="WEBP", quality=_QUALITY, method=4)
        uris.append("data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode())
    return {"per": per, "uris": uris}


def _resized(image: Image, size: Size) -> Image:
    import PIL.Image

    if image.shape[:2] == (size.height, size.width):
        return image
    picture = PIL.Image.fromarray(image).resize((size.width, size.height), PIL.Image.Resampling.LANCZOS)
    return np.asarray(picture)


def map_bytes(maps: Sequence[NDArray[np.int16] | None], size: Size) -> Bytes:
    """(T, h, w) uint8 from class indices with OTHER and VOID; a frame without a map is all void.

    Larger maps are thinned out to `size`: each pixel of the page is one pixel of the map.
    """
    found = np.full((len(maps), size.height, size.width), VOID_BYTE, np.uint8)
    for target, source in zip(found, maps, strict=True):
        if source is not None:
            height, width = source.shape
            rows = (np.arange(size.height) * 2 + 1) * height // (2 * size.height)
            columns = (np.arange(size.width) * 2 + 1) * width // (2 * size.width)
            picked = source[rows[:, None], columns]
            target[:] = np.where(picked == OTHER, OTHER_BYTE, np.where(picked == VOID, VOID_BYTE, picked))
    return found


def packed(maps: Bytes) -> str:
    """(T, h, w) uint8 as base64 of zlib's format, frames combined with the ones before; `unpacked` undoes it."""
    changes = maps.copy()
    changes[1:] ^= maps[:-1]
    return base64.b64encode(zlib.compress(changes.tobytes(), 9)).decode()


def unpacked(text: str, shape: tuple[int, int, int]) -> Bytes:
    """The inverse of `packed`, as the page does it."""
    changes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)
    whole: Bytes = np.bitwise_xor.accumulate(changes, axis=0)
    return whole
