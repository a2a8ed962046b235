"""Images and masks on disk, read strictly: indices stay indices, and a broken file is named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap, RawMask

from . import png
from .atomic import write_bytes
from .png import MAX_PIXELS as MAX_PIXELS

if TYPE_CHECKING:
    import PIL.Image

_GREY_STEP = {2: 85, 4: 17}  # Pillow stretches 2- and 4-bit greys to 0..255; ids are the unstretched values
_DAMAGED = "fetch or unpack this file again; `ovbench data verify` lists every damaged file"


def read_mask(path: str | Path) -> RawMask:
    """(H, W) uint8 or uint16 ids of a mask file.

    Palette files (1, 2, 4 or 8 bit) give their indices and grey files their stored values, never
    a colour; 16-bit PNG gives uint16.

    Raises:
        UserError: missing, truncated or unreadable file, colour or alpha channels, lossy JPEG,
            more than `MAX_PIXELS` pixels; a PNG that ends early or has a wrong checksum; the message
            names the file.
    """
    path = Path(path)
    data = _read(path, "mask")
    try:
        quick = png.decode(data)
    except png.DamagedError as error:
        raise _unreadable(path, "mask", error) from error
    return _by_pillow(data, path) if quick is None else quick


def _by_pillow(data: bytes, path: Path) -> RawMask:
    with _open(data, path, "mask") as picture:
        _check_mask_mode(picture, path)
        values = _decode(picture, path, "mask")
        if picture.format == "PNG" and (picture.info.get("interlace") or not values[-1].any()):
            _check_length(data, path)
    depth, grey = _png_depth(data)
    if picture.mode == "P":
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if grey and depth in _GREY_STEP:
        return (values // _GREY_STEP[depth]).astype(np.uint8)
    if values.dtype == np.uint8:
        return values
    if values.min() < 0 or values.max() > 65535:
        raise UserError("the mask holds ids that do not fit into 16 bits", where=path)
    return values.astype(np.uint16)


def read_image(path: str | Path) -> Image:
    """(H, W, 3) uint8 RGB of any picture that Pillow reads; orientation tags are not applied.

    Raises:
        UserError: missing, truncated or unreadable file, or more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    with _open(_read(path, "image"), path, "image") as picture:
        if picture.mode.startswith("I"):
            grey = (_decode(picture, path, "image").astype(np.uint32) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return _decode(picture, path, "image", mode="RGB")


def read_size(path: str | Path) -> tuple[int, int]:
    """(height, width) from a picture's header alone; raises `UserError` like `read_image`."""
    import PIL.Image

    path = Path(path)
    try:
        with PIL.Image.open(path) as picture:
            return picture.height, picture.width
    except _broken() as error:
        raise _unreadable(path, "picture", error) from error


def write_mask(path: str | Path, label_map: LabelMap) -> None:
    """Write (H, W) ids atomically as grey PNG of filter 0: 8 bit for uint8, 16 bit for uint16.

    Raises:
        TypeError: another dtype or number of dimensions.
        UserError: the file cannot be written.
    """
    write_bytes(path, encode_mask(label_map))


def encode_mask(label_map: LabelMap) -> bytes:
    """The bytes of `write_mask`'s PNG file."""
    if label_map.ndim != 2 or label_map.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"a label map is (H, W) uint8 or uint16, not {label_map.shape} {label_map.dtype}")
    return png.encode(label_map)


def _read(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the {kind} cannot be read: {error.strerror or error}",
            where=path,
            hint="`ovbench data verify` lists every missing file",
        ) from error


def _open(data: bytes, path: Path, kind: str) -> PIL.Image.Image:
    import PIL.Image  # not at the top: scoring simple masks never needs it, and it takes time to load

    try:
        picture = PIL.Image.open(io.BytesIO(data))
    except _broken() as error:
        raise _unreadable(path, kind, error) from error
    if picture.width * picture.height > MAX_PIXELS:
        raise UserError(
            f"the {kind} claims {picture.width}x{picture.height} pixels, more than {MAX_PIXELS:,}",
            where=path,
            hint="this is no frame of a video; replace the file",
        )
    return picture


def _decode(picture: PIL.Image.Image, path: Path, kind: str, mode: str | None = None) -> NDArray[Any]:
    try:
        picture.load()
        return np.array(picture if mode in (None, picture.mode) else picture.convert(mode))
    except _broken() as error:
        raise _unreadable(path, kind, error) from error


def _broken() -> tuple[type[Exception], ...]:
    """What Pillow raises for files that are damaged or no pictures; called when something was raised."""
    from PIL.Image import DecompressionBombError

    return OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, DecompressionBombError


def _check_length(data: bytes, path: Path) -> None:
    try:
        png.check_length(data)
    except png.DamagedError as error:
        raise _unreadable(path, "mask", error) from error


def _unreadable(path: Path, kind: str, error: Exception) -> UserError:
    from PIL import UnidentifiedImageError

    no_picture = isinstance(error, UnidentifiedImageError)
    reason = "it is no picture, or its header is damaged" if no_picture else str(error)
    return UserError(f"truncated or unreadable {kind}: {reason}", where=path, hint=_DAMAGED)


def _check_mask_mode(picture: PIL.Image.Image, path: Path) -> None:
    if picture.format == "JPEG":
        raise UserError(
            "the mask is a JPEG: lossy compression changes ids",
            where=path,
            hint="use the PNG masks of the data set",
        )
    if picture.mode in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        return
    raise UserError(
        f"colour mask ({picture.mode}): one id per pixel is needed",
        where=path,
        hint="use the data set's label-id masks, or convert the colours to ids and save a "
        "greyscale or palette PNG",
    )


def _png_depth(data: bytes) -> tuple[int, bool]:
    """Bits per sample and whether the file is a grey PNG (IHDR: depth at byte 24, colour type at 25)."""
    if data[:8] != png.SIGNATURE or len(data) < 26:
        return 8, False
    return data[24], data[25] == 0
