"""Every way of reading a mask gives the same array, or the same kind of error, for every kind of file."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from png_cases import assemble, chunk, filtered, flat_map, grey

from ovbench.core.errors import UserError
from ovbench.core.native import SWITCH, kernel
from ovbench.store import masks, png
from ovbench.store.masks import encode_mask, read_mask

ROUTES = ("deflate+native", "deflate", "native", "zlib", "pillow")
LOOSE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def take(monkeypatch: pytest.MonkeyPatch, route: str) -> None:
    """Switch to one route, whatever is installed; skips where a part of it is missing."""
    if "deflate" in route:
        pytest.importorskip("deflate", reason="extra 'fast' is not installed")
    else:
        monkeypatch.setattr(png, "_deflate", lambda: None)
    monkeypatch.setenv(SWITCH, "1" if "native" in route else "0")
    if "native" in route and kernel("store._png") is None:
        pytest.skip("no compiled kernel: python hatch_build.py")
    if route == "pillow":
        monkeypatch.setattr(png, "_simple", lambda parts: None)


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(monkeypatch, request.param)
    return str(request.param)


def read(folder: Path, data: bytes) -> np.ndarray:
    path = folder / "m.png"
    path.write_bytes(data)
    return read_mask(path)


def check(folder: Path, data: bytes, expected: np.ndarray) -> None:
    back = read(folder, data)
    assert back.dtype == expected.dtype and back.flags.owndata and back.flags.writeable
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, expected)


def saved(picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def palette(values: np.ndarray) -> Image.Image:
    picture = Image.fromarray(values).convert("L")
    picture.putpalette(bytes(np.random.default_rng(5).integers(0, 256, 768, np.uint8)))
    return picture


@LOOSE
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 9),
    width=st.integers(1, 70),
    parts=st.integers(1, 3),
    data=st.data(),
)
def test_every_row_filter(route, tmp_path, seed, height, width, parts, data):
    values = flat_map(seed, height, width)
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    check(tmp_path, grey(values, filters, parts), values)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_one_filter_on_many_rows(route, tmp_path, kind, dtype):
    """More rows than zlib inflates at a time, so that a block needs the last row of the one before."""
    values = flat_map(kind, 300, 230).astype(dtype) * (257 if dtype == np.uint16 else 1)
    check(tmp_path, grey(values, [kind] * 300, parts=3), values)


@LOOSE
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 60))
def test_what_pillow_and_opencv_write(route, tmp_path, seed, height, width):
    values = flat_map(seed, height, width)
    check(tmp_path, saved(Image.fromarray(values)), values)
    check(tmp_path, saved(palette(values)), values)  # filter 0, 8 bit
    check(tmp_path, saved(palette(values % 13)), values % 13)
    check(tmp_path, saved(palette(values % 13), bits=4), values % 13)
    check(tmp_path, saved(palette(values % 2), bits=1), values % 2)
    check(tmp_path, grey(values, [1] * height), values)  # OpenCV's habit: sub on all rows
    wide = values.astype(np.uint16) * 300
    check(tmp_path, saved(Image.fromarray(wide)), wide)
    check(tmp_path, encode_mask(values), values)
    check(tmp_path, encode_mask(wide), wide)


def test_opencv_itself(route, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="extra 'flow' is not installed")
    values = flat_map(3, 90, 160)
    for level in (0, 1, 9):
        check(
            tmp_path, cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes(), values
        )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_packed_greys(route, tmp_path, depth):
    values = np.random.default_rng(depth).integers(0, 2**depth, (7, 16)).astype(np.uint8)
    bits = np.unpackbits(values[..., None], axis=2)[..., -depth:].reshape(7, -1)
    stream = zlib.compress(filtered(np.packbits(bits, axis=1), [0] * 7))
    check(tmp_path, assemble(values.shape, stream, depth=depth), values)


def test_interlaced(route, tmp_path):
    values = flat_map(9, 8, 8)
    adam7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = (values[y::dy, x::dx] for y, x, dy, dx in adam7)
    rows = b"".join(filtered(part, [1] * len(part)) for part in passes)
    check(tmp_path, assemble(values.shape, zlib.compress(rows), interlaced=1), values)
    for cut in range(len(rows)):  # missing passes are seen although the last row has none of them
        refused(tmp_path, assemble(values.shape, zlib.compress(rows[:cut]), interlaced=1))


ANCILLARY = {
    "text": chunk(b"tEXt", b"Software\0labels"),
    "density": chunk(b"pHYs", bytes(8) + b"\1"),
    "gamma": chunk(b"gAMA", (45455).to_bytes(4, "big")),
    "time": chunk(b"tIME", b"\x07\xe8\1\1\0\0\0"),
    "transparent": chunk(b"tRNS", b"\0\5"),
    "compressed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 99)),
    "private": chunk(b"prVt", b"12345"),
}


@pytest.mark.parametrize("name", ANCILLARY)
def test_ancillary_chunks(route, tmp_path, name):
    values = flat_map(2, 20, 30)
    stream = zlib.compress(filtered(values, [y % 5 for y in range(20)]))
    check(tmp_path, assemble(values.shape, stream, before=ANCILLARY[name]), values)
    if name != "transparent":
        check(tmp_path, assemble(values.shape, stream, parts=2, after=ANCILLARY[name]), values)


def test_what_follows_the_end_is_ignored(route, tmp_path):
    values = flat_map(2, 20, 30)
    check(tmp_path, grey(values, [2] * 20) + b"more", values)


def refused(folder: Path, data: bytes) -> None:
    with pytest.raises(UserError, match="truncated or unreadable mask") as caught:
        read(folder, data)
    assert caught.value.where == str(folder / "m.png") and caught.value.hint


@pytest.mark.parametrize("filters", [[0] * 6, [4, 0, 1, 2, 3, 4]])
def test_every_truncation_and_every_flipped_byte(route, tmp_path, filters):
    whole = grey(flat_map(1, 6, 11), filters, parts=2)
    for place in range(len(whole)):
        refused(tmp_path, whole[:place])
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        refused(tmp_path, bytes(damaged))


@pytest.mark.parametrize("filters", [[0] * 40, [4] * 40])
def test_streams_that_are_wrong_inside_right_chunks(route, tmp_path, filters):
    values = flat_map(8, 40, 50)
    rows = filtered(values, filters)
    good = zlib.compress(rows)
    for bad in (
        zlib.compress(rows[:-1]),
        zlib.compress(rows[:51]),
        zlib.compress(b""),
        zlib.compress(rows[: 51 * 39]),
        good[:-9],
        good[:-1] + bytes([good[-1] ^ 1]),
        b"\0" + good[1:],
        b"",
        zlib.compress(b"\7" + rows[1:]),
        zlib.compress(rows[:-51] + b"\5" + rows[-50:]),
    ):
        refused(tmp_path, assemble(values.shape, bad))


@pytest.mark.parametrize("depth", [1, 4, 8, 16])
@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_stream_that_ends_after_a_whole_row(route, tmp_path, depth, interlaced):
    """Pillow fills the rest with zeros; a mask must not lose rows unseen."""
    shape, rows = (3, 5), 0
    for x, y, dx, dy in png._ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns = len(range(x, 5, dx))
        rows += len(range(y, 3, dy)) * (1 + (columns * depth + 7) // 8) if columns else 0
    fields = {"depth": depth, "interlaced": interlaced}
    whole = assemble(shape, zlib.compress(bytes(rows)), **fields)
    check(tmp_path, whole, np.zeros(shape, np.uint16 if depth == 16 else np.uint8))
    for cut in range(rows):
        refused(tmp_path, assemble(shape, zlib.compress(bytes(cut)), **fields))


def test_a_missing_checksum_of_the_stream_is_tolerated(route, tmp_path):
    values = flat_map(8, 40, 50)
    for filters in ([0] * 40, [3] * 40):
        stream = zlib.compress(filtered(values, filters))
        check(tmp_path, assemble(values.shape, stream[:-4]), values)


@pytest.mark.parametrize("filters", [[0] * 40, [4] * 40])
def test_bytes_beyond_the_last_row(route, tmp_path, filters):
    """libpng and Pillow leave them out; so do all routes, and nobody inflates a bomb."""
    values = flat_map(8, 40, 50)
    rows = filtered(values, filters)
    for more in (b"x", bytes(51), bytes(30_000_000)):
        data = assemble(values.shape, zlib.compress(rows + more))
        tracemalloc.start()
        try:
            check(tmp_path, data, values)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("order", ["split", "palette late", "two headers", "no palette"])
def test_chunks_out_of_order_are_left_to_pillow(tmp_path, order):
    values = flat_map(4, 10, 12)
    stream = zlib.compress(filtered(values, [0] * 10))
    table = chunk(b"PLTE", bytes(768))
    data = {
        "split": assemble(values.shape, stream[:9], after=ANCILLARY["text"] + chunk(b"IDAT", stream[9:])),
        "palette late": assemble(values.shape, stream, after=table, colour=3),
        "two headers": assemble(values.shape, stream, before=assemble(values.shape, b"")[8:33]),
        "no palette": assemble(values.shape, stream, colour=3),
    }[order]
    assert png.decode(data) is None


def test_bytes_do_not_depend_on_optional_packages(monkeypatch):
    values = flat_map(1, 50, 60)
    found = set()
    for deflate in (None, png._deflate()):
        monkeypatch.setattr(png, "_deflate", lambda deflate=deflate: deflate)
        for switch in "01":
            monkeypatch.setenv(SWITCH, switch)
            found.add(encode_mask(values))
    assert len(found) == 1


def test_our_files_have_filter_0_and_need_no_pillow(tmp_path):
    values = flat_map(6, 50, 60)
    masks.write_mask(tmp_path / "m.png", values)
    (pixels,) = [part.data for part in png.chunks((tmp_path / "m.png").read_bytes()) if part.kind == b"IDAT"]
    assert not np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(50, 61)[:, 0].any()
    code = (
        "import sys; from ovbench.store.masks import read_mask; "
        f"print(read_mask({str(tmp_path / 'm.png')!r}).sum(), 'PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(values.sum()), "False"]
