from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from ovbench.core.errors import UserError
from ovbench.store.masks import MAX_PIXELS, encode_mask, read_image, read_mask, read_size, write_mask

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=17)
LOOSE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def png(values: np.ndarray, depth: int, colour: int, palette: bytes | None = None) -> bytes:
    """An independent PNG writer: any bit depth, filter 0, packed samples (PNG specification 7.2)."""
    height, width = values.shape
    rows = b""
    for row in values:
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = "".join(f"{int(v):0{depth}b}" for v in row)
            bits += "0" * (-len(bits) % 8)
            packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        rows += b"\0" + packed

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    out = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    )
    if palette is not None:
        out += chunk(b"PLTE", palette)
    return out + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@LOOSE
@given(mask=hnp.arrays(st.sampled_from([np.uint8, np.uint16]), SHAPES))
def test_round_trip(tmp_path: Path, mask: np.ndarray) -> None:
    write_mask(tmp_path / "m.png", mask)
    back = read_mask(tmp_path / "m.png")
    assert back.dtype == mask.dtype
    np.testing.assert_array_equal(back, mask)


@LOOSE
@given(
    depth_colour=st.sampled_from([(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (1, 3), (2, 3), (4, 3), (8, 3)]),
    shape=SHAPES,
    seed=st.integers(0, 2**32 - 1),
)
def test_stored_samples_are_the_ids(
    tmp_path: Path, depth_colour: tuple[int, int], shape: tuple[int, int], seed: int
) -> None:
    depth, colour = depth_colour
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**depth, shape)
    palette = rng.integers(0, 256, 3 * 2**depth, np.uint8).tobytes() if colour == 3 else None
    (tmp_path / "m.png").write_bytes(png(values, depth, colour, palette))
    back = read_mask(tmp_path / "m.png")
    assert back.dtype == (np.uint16 if depth == 16 else np.uint8)
    np.testing.assert_array_equal(back, values)


def test_a_slice_of_a_larger_array_is_written(tmp_path: Path) -> None:
    mask = np.arange(200, dtype=np.uint8).reshape(10, 20)[::2, 1::3]
    write_mask(tmp_path / "m.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_only_label_maps_are_written(bad: np.ndarray) -> None:
    with pytest.raises(TypeError, match="label map"):
        encode_mask(bad)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_masks_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "colour.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(UserError, match="colour mask") as caught:
        read_mask(path)
    assert caught.value.where == str(path) and caught.value.hint


def test_a_jpeg_mask_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "m.jpg")
    with pytest.raises(UserError, match="lossy"):
        read_mask(tmp_path / "m.jpg")


def test_every_truncation_of_a_mask_is_noticed(tmp_path: Path) -> None:
    whole = encode_mask(np.random.default_rng(0).integers(0, 256, (13, 9)).astype(np.uint8))
    for cut in range(0, len(whole) - 24):  # up to the end of the pixel data; the rest is checksums
        (tmp_path / "m.png").write_bytes(whole[:cut])
        with pytest.raises(UserError) as caught:
            read_mask(tmp_path / "m.png")
        assert "m.png" in str(caught.value)


@LOOSE
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_damaged_file_gives_a_mask_or_a_user_error(tmp_path: Path, place: int, byte: int) -> None:
    data = bytearray(encode_mask(np.arange(300, dtype=np.uint16).reshape(15, 20)))
    data[place % len(data)] = byte
    (tmp_path / "m.png").write_bytes(data)
    for read in (read_mask, read_image):
        try:
            read(tmp_path / "m.png")
        except UserError as error:
            assert "m.png" in str(error)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    for read in (read_mask, read_image, read_size):
        with pytest.raises(UserError, match="unreadable") as caught:
            read(tmp_path / "x.png")
        assert "BytesIO" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_mask(tmp_path / "none.png")
    with pytest.raises(UserError):
        read_image(tmp_path)


def test_truncated_jpeg(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(buffer, "JPEG")
    path = tmp_path / "f.jpg"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(UserError, match="truncated or unreadable image"):
        read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_every_photograph_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.new("RGB", (5, 4), (200, 200, 200)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8
    assert abs(int(image[0, 0, 0]) - 200) < 8 or mode == "1"
    assert read_size(path) == (4, 5)


def test_sixteen_bit_grey_photograph(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 3), 0x8001, np.uint16)).save(tmp_path / "x.png")
    assert (read_image(tmp_path / "x.png") == 0x80).all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_bomb_is_not_decoded(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    header = png(np.zeros((1, 1), np.uint8), 8, 0)
    for size in (side, 60_000):
        ihdr = b"IHDR" + struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
        bomb = header[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + header[33:]
        (tmp_path / "bomb.png").write_bytes(bomb)
        for read in (read_mask, read_image):
            with pytest.raises(UserError, match=r"bomb|claims"):
                read(tmp_path / "bomb.png")
