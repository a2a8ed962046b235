"""The standard data of the metric benchmarks: label maps in VSPW's layout, the same pixels on every machine.

    python benchmarks/standard_data.py FOLDER [--videos 12] [--frames 70]

Writes FOLDER/gt/val.txt, FOLDER/gt/data/VIDEO/mask/*.png (ids 0..124 and 255) and FOLDER/pred/VIDEO/*.png
(vocabulary indices 0..123), 480 x 853, as Pillow writes them: what people have on disk. Regions are the cells
of slowly moving seeds with ragged borders; predictions have other borders and short-lived wrong blobs, so that
files are as large and consistency is as imperfect as those of real methods.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH, CLASSES = 480, 853, 124
Field = NDArray[np.float32]


def ripple(rng: np.random.Generator, cell: int, strength: float) -> Field:
    """(H, W) smooth noise with features of about `cell` pixels and that standard deviation."""
    rows, columns = HEIGHT // cell + 4, WIDTH // cell + 4
    coarse = Image.fromarray(rng.normal(0, strength, (rows, columns)).astype(np.float32))
    fine = np.asarray(coarse.resize((columns * cell, rows * cell), Image.Resampling.BICUBIC))
    return fine[cell : cell + HEIGHT, cell : cell + WIDTH]


@dataclass
class Scene:
    """Seeds of cells with their classes, and how the borders between them are bent."""

    positions: Field  # (S, 2) x, y
    velocities: Field  # (S, 2) pixels a frame
    sizes: Field  # (S,)
    ids: NDArray[np.uint8]  # (S,) raw ids
    bend: tuple[Field, Field]
    error: tuple[Field, Field]  # how the prediction's borders differ, the same in every frame

    def labels(self, time: int, dx: Field, dy: Field) -> NDArray[np.uint8]:
        """(H, W) raw id of the nearest seed, positions shifted by (dx, dy)."""
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        x, y = columns + dx, rows + dy
        found = np.zeros((HEIGHT, WIDTH), np.uint8)
        nearest = np.full((HEIGHT, WIDTH), np.inf, np.float32)
        where = self.positions + time * self.velocities
        for (sx, sy), size, raw in zip(where, self.sizes, self.ids, strict=True):
            distance = (x - sx) ** 2 + (y - sy) ** 2 - size
            closer = distance < nearest
            np.copyto(nearest, distance, where=closer)
            found[closer] = raw
        return found


def scene(rng: np.random.Generator) -> Scene:
    """A random scene of 8 to 15 cells; classes are used unevenly, as in real data."""
    count = int(rng.integers(8, 16))
    ids = np.minimum(rng.zipf(1.4, count), CLASSES)
    ids = (ids * 37) % CLASSES + 1
    if rng.random() < 0.6:
        ids[0] = 0
    if rng.random() < 0.3:
        ids[1] = 255
    moving = (rng.random((count, 1)) < 0.5) * rng.normal(0, 0.5, (count, 2)) - rng.normal(0, 0.3, 2)
    positions = rng.random((count, 2)) * (WIDTH, HEIGHT)

    def bent(strength: float) -> Field:
        return ripple(rng, 48, 3 * strength) + ripple(rng, 12, strength)

    return Scene(
        positions.astype(np.float32),
        moving.astype(np.float32),
        rng.uniform(0, 9000, count).astype(np.float32),
        ids.astype(np.uint8),
        (bent(6), bent(6)),
        (ripple(rng, 24, 5), ripple(rng, 24, 5)),
    )


def video(seed: int, frames: int) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """(truth, prediction) of each frame."""
    rng = np.random.default_rng(seed)
    base = scene(rng)
    wrong = np.unique((rng.integers(0, CLASSES, 8) * 11) % CLASSES).astype(np.uint8)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    blobs: list[list[float]] = []
    made = []
    for time in range(frames):
        shake = ripple(rng, 6, 0.45), ripple(rng, 6, 0.45)
        rough = ripple(rng, 5, 1.0), ripple(rng, 5, 1.0)
        truth = base.labels(time, base.bend[0] + shake[0], base.bend[1] + shake[1])
        guess = base.labels(
            time, base.bend[0] + base.error[0] + rough[0], base.bend[1] + base.error[1] + rough[1]
        )
        prediction = np.where((guess == 0) | (guess == 255), wrong[0] + 1, guess).astype(np.uint8) - 1
        while len(blobs) < 5:
            x, y = rng.random(2) * (WIDTH, HEIGHT)
            blobs.append([x, y, rng.uniform(15, 70), float(rng.choice(wrong)), float(rng.integers(1, 13))])
        for x, y, radius, label, _ in blobs:
            prediction[np.hypot(columns - x, rows - y) < radius + 6 * rough[0]] = int(label)
        blobs = [[*blob[:4], blob[4] - 1] for blob in blobs if blob[4] > 1]
        made.append((truth, prediction))
    return made


def noise(seed: int, frames: int) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Every pixel at random: the worst case of every method that counts runs."""
    rng = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH)
    return [
        (rng.integers(1, CLASSES + 1, shape, np.uint8), rng.integers(0, CLASSES, shape, np.uint8))
        for _ in range(frames)
    ]


def write(folder: Path, name: str, maps: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> None:
    """Store one video."""
    masks, predictions = folder / "gt" / "data" / name / "mask", folder / "pred" / name
    masks.mkdir(parents=True)
    predictions.mkdir(parents=True)
    for time, (truth, prediction) in enumerate(maps):
        Image.fromarray(truth).save(masks / f"{time:08d}.png")
        Image.fromarray(prediction).save(predictions / f"{time:08d}.png")


def finish(folder: Path) -> None:
    """Write the list of videos."""
    names = sorted(p.name for p in (folder / "gt" / "data").iterdir())
    (folder / "gt" / "val.txt").write_text("".join(f"{n}\n" for n in names))


def standard(folder: Path, videos: int = 12, frames: int = 70) -> None:
    """The standard set: videos of frames - 10 to frames + 10 frames."""
    for number in range(videos):
        write(folder, f"video{number:02d}", video(number, frames - 10 + (7 * number) % 21))
    finish(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--frames", type=int, default=70)
    args = parser.parse_args()
    standard(args.folder, args.videos, args.frames)


if __name__ == "__main__":
    main()
