"""Simulated runs with a known truth: what intervals and tests are held against.

A population of many videos stands for all video there is. A data set is a draw of N of them, and the
score of the whole population is the truth that an interval over those N should cover. Videos have a
difficulty that all their frames share, classes occur in some videos only, and both methods meet the
same videos. Needs NumPy and ovbench.stats alone; everything is seeded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovbench.stats.bootstrap import Sample

Floats = NDArray[np.float64]

NAMES = ("mIoU", "mAcc", "pAcc", "seen mIoU", "unseen mIoU", "harmonic", "VC", "excess")
_UNIT = 1 << 20  # window scores and windows are held as integers in this unit
VIDEOS = 20_000

KINDS = {
    "even": "30 classes, each in a sixth of the videos; 40 frames a video",
    "street": "11 classes, in 100 % to 30 % of the videos, sizes very unequal; 30 frames a video",
    "rare": "40 classes, in 60 % down to 3 % of the videos, sizes and lengths very unequal",
    "many": "124 classes, 8 a video, most of them in 1 % to 3 % of the videos",
}


@dataclass(frozen=True)
class Population:
    """All videos of one kind, as sums of two methods on each of them.

    Attributes:
        classes: K.
        sums: (2, M, F) float64 integers: per class right pixels, truth pixels, predicted pixels; then window
            scores and windows (VC), changed pixels of the prediction, of the truth, and compared pixels.
    """

    classes: int
    sums: Floats

    def scores(self, sums: Floats) -> Floats:
        """(R, F) -> (R, len(NAMES)) percent; mean over the classes with truth, every third class "unseen"."""
        k = self.classes
        hit, truth, guess = sums[:, :k], sums[:, k : 2 * k], sums[:, 2 * k : 3 * k]
        there = truth > 0
        unseen = np.arange(k) % 3 == 2
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(there, hit / (truth + guess - hit), 0.0)
            acc = np.where(there, hit / truth, 0.0)
            count = there.sum(axis=1)
            first = (iou * ~unseen).sum(axis=1) / (there & ~unseen).sum(axis=1)
            second = (iou * unseen).sum(axis=1) / (there & unseen).sum(axis=1)
            window, windows, changed, moved, compared = sums[:, 3 * k :].T
            columns = (
                *(iou.sum(axis=1) / count, acc.sum(axis=1) / count, hit.sum(axis=1) / truth.sum(axis=1)),
                *(first, second, 2 * first * second / (first + second)),
                *(window / windows, (changed - moved) / compared),
            )
            found: Floats = 100.0 * np.stack(columns, axis=1)
        return found

    def truth(self, method: int) -> Floats:
        """(S,) the scores of the whole population."""
        found: Floats = self.scores(self.sums[method].sum(axis=0, keepdims=True))[0]
        return found

    def sample(self, method: int, videos: NDArray[np.int64]) -> Sample:
        """A data set of these videos (indices, repeats allowed) as ovbench sees a run on it."""
        names = tuple(f"v{i}" for i in range(len(videos)))
        return Sample(names, self.sums[method][videos], NAMES, self.scores)


def population(kind: str, *, skills: tuple[float, float] = (0.8, 0.95), seed: int = 0) -> Population:
    """One of `KINDS`. `skills`: log odds of a right pixel of either method; equal ones are two methods
    that differ by chance alone.
    """
    rng = np.random.default_rng(seed)
    present, offset, noise, length = _classes(kind, rng)
    videos, k = present.shape
    pixels = 10_000.0 * length[:, None]
    truth = rng.gamma(5.0 if kind == "even" else 1.0, size=present.shape) * present
    if kind != "even":
        truth *= np.exp(rng.normal(0, 1, k))
    truth *= pixels / truth.sum(axis=1, keepdims=True)
    hard = rng.normal(0, 0.9, (videos, 1))
    shared = rng.normal(0, noise, present.shape)
    moved = rng.beta(2, 40, (videos, 1))
    both = []
    for skill in skills:
        odds = skill + offset - hard + 0.7 * shared + 0.7 * rng.normal(0, noise, present.shape)
        hit = truth * _logistic(odds)
        wrong = rng.gamma(1.0, size=present.shape) * (present + 0.02)
        wrong *= (truth - hit).sum(axis=1, keepdims=True) / wrong.sum(axis=1, keepdims=True)
        windows = np.maximum(length - 7.0, 1.0)[:, None] * _UNIT
        window = _logistic(0.7 + 2 * (skill - 0.4) - hard + rng.normal(0, 0.3, (videos, 1))) * windows
        jumps = (moved + 0.1 * _logistic(hard - skill + rng.normal(0, 0.4, (videos, 1))) - 0.02) * pixels
        both.append(
            np.concatenate([hit, truth, hit + wrong, window, windows, jumps, moved * pixels, pixels], 1)
        )
    return Population(k, np.rint(np.stack(both)))


def _classes(
    kind: str, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Floats, float, NDArray[np.int64]]:
    """Which classes are in which video, how much harder each is, spread within a video, frames."""
    if kind == "even":
        present = np.argsort(rng.random((VIDEOS, 30)), axis=1) < 5
        return present, np.zeros(30), 0.15, np.full(VIDEOS, 40)
    if kind == "street":
        present = rng.random((VIDEOS, 11)) < np.linspace(1, 0.3, 11)
        return present, rng.normal(0, 1, 11), 0.4, np.full(VIDEOS, 30)
    if kind == "rare":
        present = rng.random((VIDEOS, 40)) < np.geomspace(0.6, 0.03, 40)
        present[np.arange(VIDEOS), rng.integers(0, 5, VIDEOS)] = True
        length = np.maximum(8, rng.lognormal(3.8, 0.5, VIDEOS)).astype(np.int64)
        return present, rng.normal(0, 1, 40), 0.5, length
    weight = -1.1 * np.log(np.arange(1, 125))
    order = np.argsort(-(weight + rng.gumbel(size=(VIDEOS, 124))), axis=1)[:, :8]
    present = np.zeros((VIDEOS, 124), bool)
    np.put_along_axis(present, order, True, axis=1)
    length = np.maximum(8, rng.lognormal(4.1, 0.4, VIDEOS)).astype(np.int64)
    return present, rng.normal(0, 1.2, 124), 0.6, length


def frames_of(sample: Sample, frames: int, rng: np.random.Generator) -> Sample:
    """The same data set as single frames, as if they had nothing to do with each other.

    Frames of a video show more or less of it, and share its difficulty and its classes.
    """
    share = rng.gamma(20.0, size=(len(sample.units), frames, 1))
    share /= share.sum(axis=1, keepdims=True)
    parts = np.floor(sample.sums[:, None] * share)
    parts[:, 0] += sample.sums - parts.sum(axis=1)  # the rest of rounding: frames add up to their video
    units = tuple(f"{video}/{t}" for video in sample.units for t in range(frames))
    return Sample(units, parts.reshape(len(units), -1), sample.names, sample.scores)


def _logistic(odds: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-odds))
    return found
