"""PNG files made by hand, with any row filter and any chunks, independent of ovbench's writer."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def filtered(rows: np.ndarray, filters: Sequence[int], step: int = 1) -> bytes:
    """Bytes of (H, N) uint8 rows under one filter a row, as the specification's section 9 words them."""
    height, length = rows.shape
    out = bytearray()
    for y in range(height):
        out.append(filters[y])
        for x in range(length):
            left = int(rows[y, x - step]) if x >= step else 0
            up = int(rows[y - 1, x]) if y else 0
            corner = int(rows[y - 1, x - step]) if y and x >= step else 0
            out.append((int(rows[y, x]) - predicted(filters[y], left, up, corner)) % 256)
    return bytes(out)


def predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 4:
        guess = left + up - corner
        return min((left, up, corner), key=lambda value: abs(guess - value))  # min keeps the first of equals
    return (0, left, up, (left + up) // 2)[kind]


def grey(
    values: np.ndarray, filters: Sequence[int] | None = None, parts: int = 1, **header_fields: int
) -> bytes:
    """An 8- or 16-bit grey PNG; `parts`: number of IDAT chunks."""
    size = values.dtype.itemsize
    rows = values.astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(len(values), -1)
    stream = zlib.compress(filtered(rows, filters or [0] * len(values), size))
    return assemble(values.shape, stream, parts, depth=8 * size, **header_fields)


def assemble(
    shape: tuple[int, ...],
    stream: bytes,
    parts: int = 1,
    before: bytes = b"",
    after: bytes = b"",
    **header_fields: int,
) -> bytes:
    """A PNG around a compressed stream, with chunks `before` and `after` the pixel data."""
    cuts = np.linspace(0, len(stream), parts + 1).astype(int)
    data = b"".join(chunk(b"IDAT", stream[a:b]) for a, b in zip(cuts, cuts[1:], strict=False))
    start = SIGNATURE + header(shape[1], shape[0], **header_fields)
    return start + before + data + after + chunk(b"IEND", b"")


def flat_map(seed: int, height: int, width: int) -> np.ndarray:
    """A label map of rectangles with some noise, uint8."""
    rng = np.random.default_rng(seed)
    values = np.full((height, width), rng.integers(0, 256), np.uint8)
    for _ in range(int(rng.integers(0, 6))):
        top, left = rng.integers(0, height), rng.integers(0, width)
        values[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = (
            rng.integers(256)
        )
    noise = rng.random((height, width)) < rng.choice([0, 0.01, 0.3])
    values[noise] = rng.integers(0, 256, int(noise.sum()))
    return values
