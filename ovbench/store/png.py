"""PNG label maps, read and written without Pillow where the file is simple enough.

Simple is: 8-bit grey or palette indices, or 16-bit grey, not interlaced, and no chunk that could change what
is shown. The pixel stream is inflated to its known size by libdeflate (extra `fast`) or zlib; rows of filter 0 are
copied by NumPy, other filters are undone by the compiled kernel `store._png`. Everything else is Pillow's, and
gives the same array: what is accepted here, Pillow reads the same way.

Format: PNG specification, third edition (W3C, 2023), sections 5, 9, 10 and 11.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.memory import keep_freed_memory
from ovbench.core.native import kernel
from ovbench.core.types import LabelMap, RawMask

MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded: a small file can claim any size."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"

_LEVEL = 3  # zlib: as fast as level 1 on label maps, a tenth smaller; level 4 takes twice the time
_BLOCK = 1 << 16  # bytes that zlib inflates at a time; small ones stay in the processor's cache
_HARMLESS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"tIME": 7}
"""Chunks that change no index, with the only length at which no reader objects."""
_LONGEST_TEXT = 1 << 16
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of an interlaced picture: first column, first row, step to the right, step down."""

_Bytes: TypeAlias = bytes | bytearray | memoryview


class DamagedError(ValueError):
    """The file breaks off, or a checksum is wrong; the text says which."""


class Chunk(NamedTuple):
    """One chunk of a PNG file, its checksum verified."""

    kind: bytes
    data: memoryview


class _Picture(NamedTuple):
    """A simple picture: sizes in pixels, bytes per pixel, the compressed rows."""

    height: int
    width: int
    size: int
    stream: _Bytes

    @property
    def stride(self) -> int:
        return 1 + self.width * self.size


class _OtherReaderError(Exception):
    """Nothing for this module: a filter it cannot undo, or a stream that is not what the header says."""


def decode(data: bytes) -> RawMask | None:
    """(H, W) uint8 or uint16 of a simple PNG file; None when Pillow has to read it (or refuse it).

    The array is new, writable, contiguous and owns its memory. No more memory is used than the header's
    size asks for, whatever the stream would inflate to.

    Raises:
        DamagedError: a PNG file, simple or not, that ends early or has a wrong checksum.
    """
    if data[:8] != SIGNATURE:
        return None
    picture = _simple(list(chunks(data)))
    if picture is None:
        return None
    keep_freed_memory()
    native = kernel("store._png") if picture.size == 1 else None
    try:
        if native is None and not _starts_plain(picture):
            return None
        return _decode8(picture, native) if picture.size == 1 else _decode16(picture)
    except _OtherReaderError:
        return None


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG file up to IEND; what follows it is ignored.

    Raises:
        DamagedError: no IEND, a chunk longer than the file, or a wrong checksum.
    """
    view, place, end = memoryview(data), 8, len(data)
    kind = b""
    while kind != b"IEND":
        if place + 12 > end:
            raise DamagedError("the file ends early")
        length = int.from_bytes(view[place : place + 4], "big")
        stop = place + 8 + length
        if stop + 4 > end:
            raise DamagedError("the file ends early")
        kind = bytes(view[place + 4 : place + 8])
        if zlib.crc32(view[place + 4 : stop]) != int.from_bytes(view[stop : stop + 4], "big"):
            name = kind.decode("ascii", "replace")
            raise DamagedError(f"the checksum of the chunk {name} at byte {place} is wrong")
        yield Chunk(kind, view[place + 8 : stop])
        place = stop + 4


def check_length(data: bytes) -> None:
    """Check that the pixel stream of a grey or palette PNG file is long enough.

    For Pillow's results: it gives rows of zeros where a stream ends after a whole row.

    Raises:
        DamagedError: the stream ends early, or is no zlib stream.
    """
    parts = list(chunks(data))
    width, height, depth, _, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0].data)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    missing = 0
    for left, top, right, down in passes:
        columns, rows = -((left - width) // right), -((top - height) // down)
        missing += rows * (1 + (columns * depth + 7) // 8) if columns > 0 and rows > 0 else 0
    inflater, rest = zlib.decompressobj(), b"".join(part.data for part in parts if part.kind == b"IDAT")
    try:
        while missing > 0:
            block = inflater.decompress(rest, min(missing, _BLOCK))
            if not block:
                raise DamagedError("the pixel data end early")
            missing -= len(block)
            rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise DamagedError("the pixel data are damaged") from error


def encode(label_map: LabelMap) -> bytes:
    """A grey PNG of (H, W) uint8 (8 bit) or uint16 (16 bit) with filter 0 in all rows.

    The quickest to write, and to read without compiled code. The bytes depend on the array and on the zlib
    that Python was built with, not on optional packages.
    """
    height, width = label_map.shape
    size = label_map.dtype.itemsize
    rows = np.empty((height, 1 + width * size), np.uint8)
    rows[:, 0] = 0
    if size == 1:
        rows[:, 1:] = label_map
    else:
        rows[:, 1:] = label_map.astype(">u2").view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, 8 * size, 0, 0, 0, 0)
    stream = zlib.compress(rows.data, _LEVEL)
    return b"".join((SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", stream), _chunk(b"IEND", b"")))


def route() -> str:
    """What reads masks in this process, in words: for `ovbench doctor`."""
    inflate = "libdeflate" if _deflate() else "zlib"
    filters = "compiled row filters" if kernel("store._png") else "rows of filter 0; Pillow for other filters"
    return f"{inflate}, {filters}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _simple(parts: list[Chunk]) -> _Picture | None:
    """The picture, when every chunk is one that this module knows, in an order that is allowed."""
    kinds = [part.kind for part in parts]
    if kinds[0] != b"IHDR" or len(parts[0].data) != 13 or b"IDAT" not in kinds:
        return None
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", parts[0].data)
    if (depth, colour) not in ((8, 0), (8, 3), (16, 0)) or any(methods):
        return None
    if not 0 < width * height <= MAX_PIXELS:
        return None
    first, count = kinds.index(b"IDAT"), kinds.count(b"IDAT")
    if kinds[first : first + count] != [b"IDAT"] * count:
        return None
    palette = [i for i, kind in enumerate(kinds) if kind == b"PLTE"]
    if len(palette) != (colour == 3) or any(i > first for i in palette):
        return None
    if not all(_harmless(part, colour) for part in parts[1:-1]):
        return None
    data = [part.data for part in parts[first : first + count]]
    return _Picture(height, width, depth // 8, data[0] if count == 1 else b"".join(data))


def _harmless(part: Chunk, colour: int) -> bool:
    length = len(part.data)
    if part.kind == b"IDAT":
        return True
    if part.kind == b"PLTE":
        return length % 3 == 0 and 3 <= length <= 768
    if part.kind == b"tRNS":
        return length == 2 if colour == 0 else length <= 256
    if part.kind == b"tEXt":
        return length <= _LONGEST_TEXT
    return _HARMLESS.get(part.kind) == length


def _starts_plain(picture: _Picture) -> bool:
    """Whether the first row has filter 0: spares the work on files whose filters only Pillow can undo."""
    try:
        return zlib.decompressobj().decompress(picture.stream, 1) == b"\0"
    except zlib.error:
        return False


def _decode8(picture: _Picture, native: ModuleType | None) -> NDArray[np.uint8]:
    stride = picture.stride
    out = np.empty((picture.height, picture.width), np.uint8)
    done = 0
    for block in _blocks(picture):
        rows = np.frombuffer(block, np.uint8).reshape(-1, stride)
        below = done + len(rows)
        if not rows[:, 0].any():
            out[done:below] = rows[:, 1:]
        elif native is None:
            raise _OtherReaderError
        else:
            try:
                native.unfilter(block, len(rows), stride, out[done:below], out[done - 1] if done else None)
            except ValueError as error:
                raise _OtherReaderError from error
        done = below
    return out


def _decode16(picture: _Picture) -> NDArray[np.uint16]:
    out = np.empty((picture.height, picture.width), np.uint16)
    done = 0
    for block in _blocks(picture):
        rows = np.frombuffer(block, np.uint8).reshape(-1, picture.stride)
        if rows[:, 0].any():
            raise _OtherReaderError
        out[done : done + len(rows)] = rows[:, 1:].view(">u2")
        done += len(rows)
    return out


def _blocks(picture: _Picture) -> Iterator[_Bytes]:
    """The inflated rows, whole rows at a time; the stream must hold exactly as many as the header says."""
    deflate = _deflate()
    if deflate is None:
        yield from _zlib_blocks(picture)
        return
    expected = picture.height * picture.stride
    try:
        rows = deflate.zlib_decompress(picture.stream, expected)
    except deflate.DeflateError as error:
        raise _OtherReaderError from error
    if len(rows) != expected:
        raise _OtherReaderError
    yield rows


def _zlib_blocks(picture: _Picture) -> Iterator[bytes]:
    inflater, rest, stride = zlib.decompressobj(), picture.stream, picture.stride
    step = max(1, _BLOCK // stride)
    try:
        for done in range(0, picture.height, step):
            wanted = min(step, picture.height - done) * stride
            block = inflater.decompress(rest, wanted)
            if len(block) != wanted:
                raise _OtherReaderError
            rest = inflater.unconsumed_tail
            yield block
        if inflater.decompress(rest, 1) or not inflater.eof:
            raise _OtherReaderError
    except zlib.error as error:
        raise _OtherReaderError from error


@cache
def _deflate() -> Any:
    """The package `deflate` (libdeflate), None when it is not installed."""
    try:
        module: ModuleType = importlib.import_module("deflate")
    except ImportError:
        return None
    return module
