"""From a scene and a time to an image and a mask."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .integers import ONE, cosine, sine, sines
from .scene import HEIGHT, UNIT, WIDTH, Light, Paint, Region, Scene, Thing
from .shapes import outline, texture

Ints = NDArray[np.int32]

FINE = 16
"""Brightness is counted in 1/16 grey level while a frame is being made."""


@lru_cache(maxsize=1)
def _grid() -> tuple[Ints, Ints]:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.int32)
    return y * UNIT + UNIT // 2, x * UNIT + UNIT // 2


def render(scene: Scene, time: int) -> tuple[Ints, NDArray[np.uint8]]:
    """Frame `time` of a scene.

    Returns:
        (H, W, 3) int32 brightness in 1/16 grey level, 0..4080, and the (H, W) uint8 mask of raw ids.
    """
    image = np.empty((HEIGHT, WIDTH, 3), np.int32)
    mask = np.empty((HEIGHT, WIDTH), np.uint8)
    camera_x, camera_y = camera_at(scene, time)
    _draw_stuff(scene, camera_x, camera_y, image, mask)
    for thing in scene.things:
        _draw_thing(scene, thing, time, camera_y, image, mask)
    _shine(scene.light, time, image)
    return image, mask


def camera_at(scene: Scene, time: int) -> tuple[int, int]:
    """Camera offset (x, y) in units at a time."""
    camera = scene.camera
    bob = camera.bob * sine(57 * time + camera.bob_phase) // ONE
    return camera.start + camera.pan * time, bob


def _draw_stuff(scene: Scene, camera_x: int, camera_y: int, image: Ints, mask: NDArray[np.uint8]) -> None:
    yy, xx = _grid()
    camera = scene.camera
    x, y = xx + np.int32(camera_x), yy + np.int32(camera_y)
    middle = xx - WIDTH * UNIT // 2
    waves = (camera.wave * sines((x * camera.wave_rate) >> 8)) // ONE
    horizon = camera.horizon + (middle * camera.tilt >> 8) + waves
    ground = camera.ground + (middle * camera.ground_tilt >> 8)
    is_sky, is_floor = y < horizon, y >= ground
    wall, depth = ~(is_sky | is_floor), (y - ground) * 3 // HEIGHT  # depth: 256 = a third of the frame

    sky_part = (y, x, is_sky)
    _paint_region(scene.regions[0], *sky_part, image, mask)
    haze = np.clip(y * 90 // np.maximum(horizon, 1), 0, 90)[is_sky][:, None]
    image[is_sky] = (image[is_sky] * (256 - haze) + 255 * FINE * haze) >> 8
    _paint_region(scene.regions[1], y, x, wall & ~is_sky, image, mask)
    floor = is_floor & ~is_sky
    near = 115 + np.maximum(depth, 0)
    u = (middle * 2 // near) * 128 + camera_x
    v = -(40 * UNIT * 256 // near)
    _paint_region(scene.regions[2], v, u, floor, image, mask, square=True)
    shade = 192 + np.clip(depth, 0, 256) // 4
    image[floor] = image[floor] * shade[floor][:, None] >> 8


def _paint_region(
    region: Region,
    y: Ints,
    x: Ints,
    where: NDArray[np.bool_],
    image: Ints,
    mask: NDArray[np.uint8],
    square: bool = False,
) -> None:
    angle = region.angle
    if square:  # the floor's pattern keeps its grid, else perspective and slant fight each other
        angle = 0 if abs(angle) < 128 else 256
    u, v = rotate(x[where], y[where], angle)
    image[where] = _colors(region.paint, texture(region.what.texture, u, v, region.paint.period), u.shape)
    mask[where] = region.what.raw_id


def rotate(x: Ints, y: Ints, angle: int) -> tuple[Ints, Ints]:
    """Coordinates turned by an angle."""
    c, s = cosine(angle), sine(angle)
    return (x * c + y * s) >> 12, (y * c - x * s) >> 12


def _colors(paint: Paint, first: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> Ints:
    one = np.asarray(paint.first, np.int32) * FINE
    if first is None:
        return np.broadcast_to(one, (*shape, 3))
    return np.where(first[..., None], one, np.asarray(paint.second, np.int32) * FINE)


def thing_at(scene: Scene, thing: Thing, time: int, camera_y: int) -> tuple[int, int, int]:
    """Centre x, y and radius of a thing in units; it bounces at the frame's borders."""
    x = thing.x + thing.vx * time - scene.camera.pan * time * 3 // 5
    y = thing.y + thing.vy * time - camera_y
    radius = thing.radius * (256 + thing.growth * time) >> 8
    return _bounce(x, WIDTH * UNIT), _bounce(y, HEIGHT * UNIT), radius


def _bounce(position: int, size: int) -> int:
    position %= 2 * size
    return 2 * size - position if position > size else position


def _draw_thing(
    scene: Scene, thing: Thing, time: int, camera_y: int, image: Ints, mask: NDArray[np.uint8]
) -> None:
    cx, cy, radius = thing_at(scene, thing, time, camera_y)
    reach = radius // UNIT + 2
    left, right = max(0, cx // UNIT - reach), min(WIDTH, cx // UNIT + reach + 1)
    top, bottom = max(0, cy // UNIT - reach), min(HEIGHT, cy // UNIT + reach + 1)
    if left >= right or top >= bottom:
        return
    yy, xx = _grid()
    window = (slice(top, bottom), slice(left, right))
    x, y = rotate(xx[window] - np.int32(cx), yy[window] - np.int32(cy), thing.angle + thing.spin * time)
    x = x * 256 // thing.squeeze
    inside = outline(thing.what.kind, x, y, radius)
    u, v = rotate(x[inside], y[inside], thing.texture_angle)
    image[window][inside] = _colors(
        thing.paint, texture(thing.what.texture, u, v, thing.paint.period), u.shape
    )
    mask[window][inside] = thing.what.raw_id


def _shine(light: Light, time: int, image: Ints) -> None:
    yy, xx = _grid()
    gain = 256 - light.depth * (ONE + sine(light.speed * time + light.phase)) // (2 * ONE)
    far = np.abs(xx + yy * 2 // 5 - (light.shadow_at + light.shadow_speed * time)) // light.shadow_width
    band = np.clip(410 - far * 8 // 5, 0, 256)  # 256 = full shadow, fading out over the width
    factor = (gain * (256 - ((256 - light.shadow_gain) * band >> 8))) >> 8
    image *= factor[..., None]
    image >>= 8
    for channel, warmth in ((0, light.warmth), (2, -light.warmth)):
        image[..., channel] = image[..., channel] * (256 + warmth) >> 8
