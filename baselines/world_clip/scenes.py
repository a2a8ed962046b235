"""Captioned still scenes of the world: what the two-tower model is pre-trained on.

They show any of the 207 compositions that are not held out, far more than masks ever name; real CLIPs too
have read many more captions than anyone has drawn masks.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from ovbench.core.paths import cache_dir
from ovbench.datasets.world.classes import Composition, pretraining_classes
from ovbench.datasets.world.corrupt import apply, plan
from ovbench.datasets.world.dataset import VERSION
from ovbench.datasets.world.integers import Stream
from ovbench.datasets.world.render import render
from ovbench.datasets.world.scene import HEIGHT, WIDTH, make_scene


def make_still(index: int, classes: tuple[Composition, ...]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scene `index`: (H, W, 3) uint8 image and (H, W) uint8 mask of raw ids (used for captions only)."""
    stream = Stream("world", VERSION, "stills", index)
    stuff = [stream.pick([c for c in classes if c.kind == kind]) for kind in (6, 7, 8)]
    looks = {c.look for c in stuff}
    pool = [c for c in classes if not c.is_stuff and c.look not in looks]
    things = [stream.pick(pool) for _ in range(stream.between(4, 7))]
    scene = make_scene(stream, stuff, things, radius=(11, 24))
    image, mask = render(scene, stream.between(0, 12))
    faults = [f for f in plan(stream, 20, HEIGHT, WIDTH) if f is not None]
    fault = faults[0] if faults and stream.chance(25) else None
    return apply(fault, image, stream), mask


def load_stills(count: int) -> NDArray[np.uint8]:
    """(count, H, W, 4) uint8: RGB and mask of the first `count` scenes, kept in the cache folder."""
    path = cache_dir("world", f"v{VERSION}", f"stills-{count}.npy")
    if path.exists():
        stored: NDArray[np.uint8] = np.load(path, allow_pickle=False)
        return stored
    classes = pretraining_classes()
    out = np.empty((count, HEIGHT, WIDTH, 4), np.uint8)
    for i in range(count):
        out[i, ..., :3], out[i, ..., 3] = make_still(i, classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with open(temporary, "wb") as stream:
        np.save(stream, out, allow_pickle=False)
    os.replace(temporary, path)
    return out
