"""From frames as they lie on disk to what the network takes: sizes by rule, and two ways of resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import UserError

Size = tuple[int, int]
"""(height, width) in pixels."""

RULES = ("official", "native")
"""Sizes that depend on the frame:

- "official": the largest size of the frame's shape within 1024x1024, then each side up to a multiple of 32
  (a frame of 480x853 becomes 576x1024).
- "native": the frame's own.
"""
_SMALLEST = 32
_FIT, _MULTIPLE = 1024, 32
_BITS = 11  # of a weight in OpenCV's fixed-point interpolation


def parse_size(key: str, value: object, rules: Sequence[str] = ()) -> Size | str:
    """A size as written in options: "96x160" (height first), or one of `rules`.

    Raises:
        UserError: anything else, or a side below 32.
    """
    if value in rules:
        return str(value)
    try:
        height, width = (int(part) for part in str(value).split("x"))
    except ValueError:
        also = "".join(f", or be '{rule}'" for rule in rules)
        raise UserError(f"{key} must look like 96x160 (height x width){also}, not '{value}'") from None
    if min(height, width) < _SMALLEST:
        raise UserError(f"{key} must be at least {_SMALLEST}x{_SMALLEST}, not '{value}'")
    return (height, width)


def input_size(rule: Size | str, frame: Size) -> Size:
    """The size at which a frame of size `frame` enters the network."""
    return _stages(rule, frame)[-1]


def _stages(rule: Size | str, frame: Size) -> list[Size]:
    """The sizes a frame is brought to, one after the other; the last one enters the network."""
    if not isinstance(rule, str):
        return [rule]
    if rule == "native":
        return [frame]
    factor = _FIT / max(frame)
    fitted = (int(frame[0] * factor + 0.5), int(frame[1] * factor + 0.5))
    return [fitted, (_up(fitted[0]), _up(fitted[1]))]


def _up(side: int) -> int:
    return max(_MULTIPLE, math.ceil(side / _MULTIPLE) * _MULTIPLE)


def squash(images: Tensor, size: Size) -> Tensor:
    """(B, C, H, W) float -> (B, C, *size): bilinear, with smoothing where it shrinks (`paper` profile)."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def resize_as_released(images: Tensor, rule: Size | str) -> Tensor:
    """(B, C, H, W) of whole numbers 0..255 -> the same of the rule's size, as the released pipeline resizes.

    That is OpenCV's bilinear interpolation on bytes, without smoothing, applied twice by the rule "official":
    once for the ratio, once for the multiple of 32 (mmcv 1.x `imrescale`, then the aligned resize).
    """
    for size in _stages(rule, (int(images.shape[-2]), int(images.shape[-1]))):
        images = resize_bytes(images, size)
    return images


def resize_bytes(images: Tensor, size: Size) -> Tensor:
    """OpenCV's `resize(..., INTER_LINEAR)` of bytes, to the bit: (B, C, H, W) -> (B, C, *size), dtype kept.

    Weights have 11 bits. Columns are mixed first, without rounding; rows are mixed after dropping 4 bits, with
    16 bits dropped from each product and the last 2 rounded.
    """
    height, width = int(images.shape[-2]), int(images.shape[-1])
    if (height, width) == tuple(size):
        return images
    x, left, right = (t.to(images.device) for t in _axis(width, size[1], True))
    y, upper, lower = (t[..., None].to(images.device) for t in _axis(height, size[0], False))
    pixels = images.int()
    rows = pixels[..., x[0]] * left + pixels[..., x[1]] * right
    rows = rows >> 4
    top = rows[..., y[0, :, 0], :] * upper >> 16
    bottom = rows[..., y[1, :, 0], :] * lower >> 16
    return ((top + bottom + 2) >> 2).to(images.dtype)


@lru_cache(maxsize=16)
def _axis(before: int, after: int, columns: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The two neighbours (2, after) of every place along an axis and their weights (after,) times 2048."""
    places = ((np.arange(after) + 0.5) * (1 / (after / before)) - 0.5).astype(np.float32)
    first = np.floor(places).astype(np.int64)
    share = places - first.astype(np.float32)
    if columns:  # outside the image a column counts alone; a row is mixed with itself
        share[(first < 0) | (first >= before - 1)] = 0
    scale = np.float32(1 << _BITS)
    weights = [np.rint(w * scale).astype(np.int32) for w in (1 - share, share)]
    neighbours = np.stack([first, first + 1]).clip(0, before - 1)
    return torch.from_numpy(neighbours), torch.from_numpy(weights[0]), torch.from_numpy(weights[1])
