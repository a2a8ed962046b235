"""What is in a clip: the drawn-by-lot description that the renderer turns into frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .classes import Composition
from .integers import Stream

HEIGHT, WIDTH = 96, 160
UNIT = 256
"""Positions and lengths are counted in 1/256 pixel."""

Color = tuple[int, int, int]

_HUES = (0, 239, 512, 768, 990, 1301)  # of 1536: red yellow green cyan blue pink


@dataclass(frozen=True)
class Paint:
    """Two colours of a texture, 0..255, and the texture's period in units."""

    first: Color
    second: Color
    period: int


@dataclass(frozen=True)
class Region:
    """One of sky, wall and floor."""

    what: Composition
    paint: Paint
    angle: int


@dataclass(frozen=True)
class Thing:
    """A moving object. Lengths in units, velocities in units per frame, angles in 1/1024 turn."""

    what: Composition
    paint: Paint
    radius: int
    growth: int
    x: int
    y: int
    vx: int
    vy: int
    angle: int
    spin: int
    texture_angle: int
    squeeze: int  # 256 = round; less = thin along one axis


@dataclass(frozen=True)
class Light:
    """Global drift of gain and colour temperature, and a shadow band that wanders."""

    depth: int
    speed: int
    phase: int
    warmth: int
    shadow_at: int
    shadow_speed: int
    shadow_width: int
    shadow_gain: int


@dataclass(frozen=True)
class Camera:
    """Pan and bob in units; borders of the stuff regions in units of the frame."""

    start: int
    pan: int
    bob: int
    bob_phase: int
    horizon: int
    ground: int
    tilt: int
    ground_tilt: int
    wave: int
    wave_rate: int


@dataclass(frozen=True)
class Scene:
    """Everything about a clip but its corruption."""

    camera: Camera
    light: Light
    regions: tuple[Region, Region, Region]
    things: tuple[Thing, ...]  # drawn in this order, later ones in front


def make_scene(
    stream: Stream,
    stuff: Sequence[Composition],
    things: Sequence[Composition],
    radius: tuple[int, int] = (13, 24),
) -> Scene:
    """Draw a scene with the given sky, wall, floor and things; radius in pixels."""
    regions = tuple(_region(stream, what) for what in stuff)
    assert len(regions) == 3
    bodies = tuple(_thing(stream, what, radius) for what in things)
    return Scene(_camera(stream), _light(stream), regions, bodies)


def _paint(stream: Stream, color: int, period: tuple[int, int]) -> Paint:
    hue = (_HUES[color] + stream.between(-38, 38)) % 1536
    first = hsv(hue, stream.between(178, 255), stream.between(184, 255))
    if stream.chance(60):
        share = stream.between(51, 102)
        second = (first[0] * share >> 8, first[1] * share >> 8, first[2] * share >> 8)
    else:
        second = ((first[0] * 77 >> 8) + 178, (first[1] * 77 >> 8) + 178, (first[2] * 77 >> 8) + 178)
    return Paint(first, second, stream.between(period[0] * UNIT, period[1] * UNIT))


def hsv(hue: int, saturation: int, value: int) -> Color:
    """RGB 0..255 from hue 0..1535, saturation and value 0..255, in integers."""
    sector, part = divmod(hue, 256)
    low = value * (255 - saturation) // 255
    falling = value * (255 * 255 - saturation * part) // (255 * 255)
    rising = value * (255 * 255 - saturation * (255 - part)) // (255 * 255)
    return (
        (value, rising, low),
        (falling, value, low),
        (low, value, rising),
        (low, falling, value),
        (rising, low, value),
        (value, low, falling),
    )[sector]


def _region(stream: Stream, what: Composition) -> Region:
    angle = stream.between(-48, 48) + (256 if stream.chance(50) else 0)
    return Region(what, _paint(stream, what.color, (8, 13)), angle)


def _thing(stream: Stream, what: Composition, radius: tuple[int, int]) -> Thing:
    fast = stream.chance(20)
    thin = stream.chance(20)
    top = 1300 if fast else 480
    return Thing(
        what=what,
        paint=_paint(stream, what.color, (7, 11)),
        radius=stream.between(radius[0] * UNIT, radius[1] * UNIT),
        growth=stream.between(-3, 3),
        x=stream.between(WIDTH * UNIT // 10, WIDTH * UNIT * 9 // 10),
        y=stream.between(HEIGHT * UNIT // 5, HEIGHT * UNIT * 17 // 20),
        vx=stream.between(-top, top),
        vy=stream.between(-top // 3, top // 3),
        angle=stream.between(-80, 80),
        spin=stream.between(-7, 7),
        texture_angle=stream.between(0, 511),
        squeeze=stream.between(120, 160) if thin else 256,
    )


def _camera(stream: Stream) -> Camera:
    return Camera(
        start=stream.between(0, 50 * UNIT),
        pan=stream.between(-400, 400),
        bob=stream.between(0, 5 * UNIT),
        bob_phase=stream.between(0, 1023),
        horizon=HEIGHT * UNIT * stream.between(18, 34) // 100,
        ground=HEIGHT * UNIT * stream.between(55, 78) // 100,
        tilt=stream.between(-20, 20),
        ground_tilt=stream.between(-15, 15),
        wave=stream.between(0, 3 * UNIT),
        wave_rate=stream.between(5, 13),
    )


def _light(stream: Stream) -> Light:
    return Light(
        depth=stream.between(0, 64),
        speed=stream.between(27, 109),
        phase=stream.between(0, 1023),
        warmth=stream.between(-26, 26),
        shadow_at=stream.between(-WIDTH * UNIT // 2, WIDTH * UNIT * 3 // 2),
        shadow_speed=stream.between(-6 * UNIT, 6 * UNIT),
        shadow_width=WIDTH * stream.between(20, 50) // 100,
        shadow_gain=stream.between(141, 256),
    )
