"""From joint histograms to pixels per class: everything that scores under one convention need, and that adds up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import IntegrityError
from ovbench.protocol.schema import Protocol

from .conventions import Convention, convention
from .images import image_sums, no_images
from .released import released_sums
from .taxonomy import Taxonomy, taxonomy_for
from .videocounts import Joint, VideoCounts

Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class ClassSums:
    """Pixels per class of the protocol's table, as one convention counts them; arrays are int64.

    Attributes:
        intersection, truth, prediction: (C,) over scored truth pixels only.
        dropped: (C,) truth pixels that the convention took away because the method abstained there.
        unseen_as_seen: unseen truth pixels predicted as a seen class.
        merged: (G,) hits between different classes of each group of the taxonomy; not touched by the convention.
        images: (I,) what `images.image_sums` gives, for conventions that look at each image; else (0,).
        matrix: (3C + 1,) `released.ReleasedSums.matrix`, for the convention that is scored by it; else (0,).
    """

    intersection: Ints
    truth: Ints
    prediction: Ints
    dropped: Ints
    unseen_as_seen: int
    merged: Ints
    images: Ints
    matrix: Ints

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(
            self.intersection + other.intersection,
            self.truth + other.truth,
            self.prediction + other.prediction,
            self.dropped + other.dropped,
            self.unseen_as_seen + other.unseen_as_seen,
            self.merged + other.merged,
            self.images + other.images,
            self.matrix + other.matrix,
        )

    @property
    def all_truth(self) -> Ints:
        """(C,) truth pixels whatever the method did: the same for every method on the same data."""
        return self.truth + self.dropped


@dataclass(frozen=True)
class Entries:
    """Entries of several joint histograms in class indices, scored truth only: five (E,) int64 arrays.

    `guess` is -1 where the method abstained or answered a name that is no class; `name` is the vocabulary index, -1
    where it abstained; `part` says which histogram an entry comes from.
    """

    part: Ints
    truth: Ints
    guess: Ints
    pixels: Ints
    name: Ints

    def add_up(self, index: Ints, shape: tuple[int, ...], where: NDArray[np.bool_] | None = None) -> Ints:
        """(parts, classes) pixels by part and `index`, over the entries picked by `where`."""
        code, pixels = self.part * shape[1] + index, self.pixels
        if where is not None:
            code, pixels = code[where], pixels[where]
        # Weights are added as float64: exact, because no sum of pixels reaches 2**53.
        found = np.bincount(code, pixels, shape[0] * shape[1])
        return found.astype(np.int64).reshape(shape)

    def matrix(self, classes: int) -> Ints:
        """(C, C + 1) pixels by truth class and predicted class, all parts together; last column: abstained."""
        code = self.truth * (classes + 1) + np.where(self.guess < 0, classes, self.guess)
        found = np.bincount(code, self.pixels, classes * (classes + 1))
        return found.astype(np.int64).reshape(classes, classes + 1)


def joints(counts: Sequence[VideoCounts | Joint]) -> list[Joint]:
    """The joint histogram of each video."""
    return [c if isinstance(c, Joint) else c.joint for c in counts]


def entries(protocol: Protocol, tables: Sequence[Joint]) -> Entries:
    """Reduce histograms to class indices; raises `IntegrityError` for labels that the protocol does not know."""
    sizes = np.array([len(t.truth) for t in tables], np.int64)
    raw, predicted, pixels = (
        np.fromiter(chain.from_iterable(getattr(t, name) for t in tables), np.int64, int(sizes.sum()))
        for name in ("truth", "prediction", "pixels")
    )
    return in_classes(protocol, np.repeat(np.arange(len(tables)), sizes), raw, predicted, pixels)


def in_classes(protocol: Protocol, part: Ints, raw: Ints, predicted: Ints, pixels: Ints) -> Entries:
    """The same from columns: raw truth ids, vocabulary indices (-1: abstained) and pixels."""
    truth = protocol.truth_table[raw].astype(np.int64)
    if (truth == 254).any() or (predicted >= len(protocol.class_of_vocabulary)).any():
        raise IntegrityError(
            "counts hold labels that are not in the protocol",
            where=f"protocol {protocol.id}",
            hint="the record was made with another protocol; run again with --fresh",
        )
    is_scored = np.zeros(256, np.bool_)
    is_scored[list(protocol.scored_classes)] = True
    kept = is_scored[truth]
    guess = np.append(protocol.class_of_vocabulary, -1)[predicted[kept]]  # [-1]: abstained
    return Entries(part[kept], truth[kept], guess, pixels[kept], predicted[kept])


def counted(
    protocol: Protocol, found: Entries, rule: Convention
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which entries a convention counts in the truth, and which in the prediction: two (E,) arrays."""
    named = found.guess >= 0
    in_truth = named if rule.abstain_shrinks else np.ones(len(named), np.bool_)
    if not rule.base_ignored:
        return in_truth, named
    unseen = np.zeros(len(protocol.classes) + 1, np.bool_)
    unseen[list(protocol.groups["unseen"])] = True
    return in_truth, named & (unseen[found.guess] == unseen[found.truth])


def sums_of(
    protocol: Protocol,
    counts: Sequence[VideoCounts | Joint],
    rule: Convention | None = None,
    found: Entries | None = None,
) -> list[ClassSums]:
    """The sums of each video under a convention (default: the protocol's); see `class_sums`.

    `found` are the `entries` of the same histograms, where the caller has them already.
    """
    rule = convention(protocol.convention) if rule is None else rule
    if found is None:
        found = entries(protocol, joints(counts))
    if rule.as_released:
        return _as_released(protocol, found, len(counts))
    shape = (len(counts), len(protocol.classes))
    in_truth, in_guess = counted(protocol, found, rule)
    hit = found.add_up(found.truth, shape, found.guess == found.truth)
    truth = found.add_up(found.truth, shape, in_truth)
    dropped = found.add_up(found.truth, shape, ~in_truth)
    guess = found.add_up(found.guess, shape, in_guess)
    is_unseen, is_seen = (np.zeros(shape[1] + 1, np.bool_) for _ in range(2))  # [-1]: abstained, neither
    is_unseen[list(protocol.groups["unseen"])] = is_seen[list(protocol.groups["seen"])] = True
    taken = is_unseen[found.truth] & is_seen[found.guess]
    lost = found.add_up(np.zeros_like(found.truth), (shape[0], 1), taken)[:, 0]
    merged = _merged(found, taxonomy_for(protocol), shape)
    images = _images(protocol, counts, rule)
    none = [_NONE] * shape[0]
    rows = zip(hit, truth, guess, dropped, lost.tolist(), merged, images, none, strict=True)
    return [ClassSums(*row) for row in rows]


_NONE = np.zeros(0, np.int64)


def _as_released(protocol: Protocol, found: Entries, parts: int) -> list[ClassSums]:
    sums = released_sums(protocol, found, parts)
    nothing = np.zeros(len(protocol.classes), np.int64)
    rows = zip(sums.hit, sums.truth, sums.prediction, sums.matrix, strict=True)
    return [ClassSums(h, t, p, nothing, 0, _NONE, _NONE, m) for h, t, p, m in rows]


def class_sums(protocol: Protocol, counts: VideoCounts | Joint, rule: Convention | None = None) -> ClassSums:
    """Pixels per class of one video under a convention (default: the protocol's).

    A joint histogram alone knows nothing of images: scores that are means over images stay undefined.

    Raises:
        IntegrityError: labels that the protocol does not know.
    """
    return sums_of(protocol, [counts], rule)[0]


def total_sums(protocol: Protocol, parts: Iterable[ClassSums], rule: Convention | None = None) -> ClassSums:
    """Add up any number of videos, none included."""
    return sum(parts, class_sums(protocol, Joint(), rule))


def _merged(found: Entries, taxonomy: Taxonomy | None, shape: tuple[int, int]) -> Ints:
    if taxonomy is None or not taxonomy.groups:
        return np.zeros((shape[0], 0), np.int64)
    group = np.append(taxonomy.group_of(shape[1]), -2)  # [-1]: abstained, in no group
    of_truth, of_guess = group[found.truth], group[found.guess]
    swapped = (of_truth >= 0) & (of_truth == of_guess) & (found.truth != found.guess)
    return found.add_up(of_truth, (shape[0], len(taxonomy.groups)), swapped)


def _images(protocol: Protocol, counts: Sequence[VideoCounts | Joint], rule: Convention) -> Iterator[Ints]:
    for video in counts:
        if rule.pooled:
            yield np.zeros(0, np.int64)
        elif isinstance(video, Joint):
            yield no_images(protocol)
        else:
            series = video.per_frame
            columns = (c.astype(np.int64) for c in (series.truth, series.prediction, series.pixels))
            found = in_classes(protocol, series.frame_of_entry, *columns)
            shape = (len(series), len(protocol.classes))
            in_truth, in_guess = counted(protocol, found, rule)
            hit = found.add_up(found.truth, shape, found.guess == found.truth)
            truth, guess = (
                found.add_up(found.truth, shape, in_truth),
                found.add_up(found.guess, shape, in_guess),
            )
            yield image_sums(protocol, hit, truth, guess, rule)
