"""Bad frames: bursts of noise, blur, darkness and lost blocks, over the whole frame or part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .integers import Stream, noise
from .render import FINE

Ints = NDArray[np.int32]

KINDS = ("noise", "blur", "dark", "blocks")


@dataclass(frozen=True)
class Corruption:
    """What happens to one frame. `part` is None for the whole frame, else (top, bottom, left, right)."""

    kind: str
    strength: int
    part: tuple[int, int, int, int] | None


def plan(stream: Stream, frames: int, height: int, width: int) -> list[Corruption | None]:
    """Bursts of 2 to 5 bad frames, about half of all; some bursts hit only a part of the frame."""
    out: list[Corruption | None] = []
    while len(out) < frames:
        if not stream.chance(24):
            out.append(None)
            continue
        kind = stream.pick(KINDS)
        part = _part(stream, height, width) if stream.chance(35) else None
        for _ in range(stream.between(2, 5)):
            out.append(Corruption(kind, stream.between(0, 255), part))
    return out[:frames]


def _part(stream: Stream, height: int, width: int) -> tuple[int, int, int, int]:
    share = stream.between(45, 75)
    side = stream.between(0, 3)
    if side == 0:
        return (0, height, 0, width * share // 100)
    if side == 1:
        return (0, height, width - width * share // 100, width)
    if side == 2:
        return (0, height * share // 100, 0, width)
    return (height - height * share // 100, height, 0, width)


def apply(corruption: Corruption | None, image: Ints, stream: Stream) -> NDArray[np.uint8]:
    """Finish a frame: corrupt it, add sensor noise, round to uint8.

    Args:
        image: (H, W, 3) int32 in 1/16 grey level; not changed.
        stream: random numbers of this frame alone.
    """
    key = stream.bits32()
    if corruption is None:
        return _finish(image + _grain(key, image.shape, 4))
    bad = _spoil(corruption, image, stream, key)
    if corruption.part is not None:
        top, bottom, left, right = corruption.part
        whole = image + _grain(key ^ 1, image.shape, 4)
        whole[top:bottom, left:right] = bad[top:bottom, left:right]
        bad = whole
    return _finish(bad)


def _finish(image: Ints) -> NDArray[np.uint8]:
    return np.clip(image // FINE, 0, 255).astype(np.uint8)


def _grain(key: int, shape: tuple[int, ...], levels: int) -> Ints:
    return noise(key, shape) * (levels * 111) >> 10  # 16 / 147.8 = 111 / 1024


def _spoil(corruption: Corruption, image: Ints, stream: Stream, key: int) -> Ints:
    strength = corruption.strength
    if corruption.kind == "noise":
        return image + _grain(key, image.shape, 40 + strength * 45 // 255)
    if corruption.kind == "blur":
        axis = 1 if stream.chance(80) else 0
        return _blur(image, (9 + strength * 10 // 255) | 1, axis) + _grain(key, image.shape, 4)
    if corruption.kind == "dark":
        return (image * (26 + strength * 40 // 255) >> 8) + _grain(key, image.shape, 12)
    return _blocks(image, stream, 16 + strength * 14 // 255)


def _blur(image: Ints, length: int, axis: int) -> Ints:
    half = length // 2
    pad = [(0, 0), (0, 0), (0, 0)]
    pad[axis] = (half + 1, half)
    total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.int32)
    n = image.shape[axis]
    spread = total.take(range(length, length + n), axis) - total.take(range(n), axis)
    return np.asarray(spread // length, np.int32)


def _blocks(image: Ints, stream: Stream, count: int) -> Ints:
    out = image.copy()
    height, width = image.shape[:2]
    for _ in range(count):
        y, x = stream.between(0, height - 8), stream.between(0, width - 8)
        h, w = stream.between(8, 24), stream.between(12, 40)
        out[y : y + h, x : x + w] = stream.between(76, 153) * FINE
    return out
