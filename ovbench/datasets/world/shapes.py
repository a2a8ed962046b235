"""Outlines and textures as integer inequalities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .classes import TEXTURES, THINGS
from .integers import ONE, cosine, sine

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


def outline(kind: int, x: Ints, y: Ints, radius: int) -> Bools:
    """Which points (relative to the centre, in units) lie inside a thing of this kind."""
    name = THINGS[kind]
    ax, ay = np.abs(x), np.abs(y)
    if name in ("disc", "ring"):
        square = x * x + y * y
        inside = square < radius * radius
        return inside if name == "disc" else inside & (square * 100 > radius * radius * 28)
    if name == "square":
        return np.asarray(np.maximum(ax, ay) * 100 < radius * 85)
    if name == "triangle":
        return (y * 100 < radius * 55) & ((y + radius) * 100 > ax * 172)
    if name == "cross":
        return (np.minimum(ax, ay) * 100 < radius * 34) & (np.maximum(ax, ay) < radius)
    return _star(x, y, radius)


def _star(x: Ints, y: Ints, radius: int) -> Bools:
    # A pentagram: inside at least four of its five lines, each 0.309 radius from the centre.
    inner = radius * 309 // 1000 * ONE
    hits = np.zeros(x.shape, np.int32)
    for i in range(5):
        angle = 256 + (i * 1024 + 2) // 5
        hits += x * cosine(angle) + y * sine(angle) < inner
    return hits >= 4


def texture(index: int, u: Ints, v: Ints, period: int) -> Bools | None:
    """Where the first colour of a texture shows; None for plain."""
    name = TEXTURES[index]
    if name == "plain":
        return None
    if name == "striped":
        return np.asarray((u % period) * 2 < period)
    if name == "checkered":
        return np.asarray((u * 2 // period + v * 2 // period) % 2 == 0)
    a, b = u % period - period // 2, v % period - period // 2
    return np.asarray((a * a + b * b) * 1000 > period * period * 95)
