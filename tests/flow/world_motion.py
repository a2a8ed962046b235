"""Where every pixel of a clip of the world goes in the next frame, from the description that the clip is drawn by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ovbench.datasets.world.dataset import casts
from ovbench.datasets.world.integers import ONE, Stream, cosine, sine
from ovbench.datasets.world.render import camera_at, render, rotate, thing_at
from ovbench.datasets.world.scene import HEIGHT, UNIT, WIDTH, Scene, make_scene
from ovbench.datasets.world.shapes import outline


def scene_of(index: int, track: str = "attribute", split: str = "test") -> Scene:
    stuff, things = casts(track, split)[index]
    return make_scene(Stream("world", 1, track, split, index, "scene"), stuff, things)


def standing(scene: Scene) -> Scene:
    """The same scene in which nothing moves but the light."""
    things = tuple(replace(t, vx=0, vy=0, growth=0, spin=0) for t in scene.things)
    return replace(scene, camera=replace(scene.camera, pan=0, bob=0), things=things)


def frames(scene: Scene, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(T, H, W, 3) uint8 pictures without noise or faults, and (T, H, W) uint8 raw ids."""
    drawn = [render(scene, t) for t in range(count)]
    return (
        np.stack([np.clip(image >> 4, 0, 255).astype(np.uint8) for image, _ in drawn]),
        np.stack([mask for _, mask in drawn]),
    )


def motion(scene: Scene, start: int, end: int) -> np.ndarray:
    """(H, W, 2) float32 flow in pixels from frame `start` to frame `end`, of whatever is in front.

    Things turn, grow and travel rigidly. Sky and wall move against the camera; so does the floor, sideways
    the slower the farther it is. Borders between regions are tilted lines that do not travel sideways, so
    there the flow is right to a fraction of a pixel only.
    """
    y, x = (np.mgrid[0:HEIGHT, 0:WIDTH] * UNIT + UNIT // 2).astype(np.int32)
    (from_x, from_y), (to_x, to_y) = camera_at(scene, start), camera_at(scene, end)
    flow = np.empty((HEIGHT, WIDTH, 2))
    flow[...] = (from_x - to_x, from_y - to_y)
    ground = scene.camera.ground + ((x - WIDTH * UNIT // 2) * scene.camera.ground_tilt >> 8)
    depth = (y + from_y - ground) * 3 // HEIGHT
    floor = depth >= 0
    flow[floor, 0] *= ((115 + depth) / 256)[floor]
    for thing in scene.things:
        cx, cy, radius = thing_at(scene, thing, start, from_y)
        new_x, new_y, new_radius = thing_at(scene, thing, end, to_y)
        u, v = rotate(x - np.int32(cx), y - np.int32(cy), thing.angle + thing.spin * start)
        inside = outline(thing.what.kind, u * 256 // thing.squeeze, v, radius)
        there_x, there_y = _turn(x - cx, y - cy, thing.spin * (start - end))
        grown = new_radius / radius
        flow[inside, 0] = (new_x + there_x * grown - x)[inside]
        flow[inside, 1] = (new_y + there_y * grown - y)[inside]
    return (flow / UNIT).astype(np.float32)


def _turn(x, y, angle: int) -> tuple[np.ndarray, np.ndarray]:
    c, s = cosine(angle) / ONE, sine(angle) / ONE
    return x * c + y * s, y * c - x * s
