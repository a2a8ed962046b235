"""What is painted how: the colours of classes, of abstention and void, and of right and wrong."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.types import Image, LabelMap, RawMask, other_of
from ovbench.protocol.schema import Protocol

VOID = -1
"""Class index of truth pixels that are not evaluated."""
OTHER = -2
"""Class index where a method abstains or answers a name that is no class."""

Classes: TypeAlias = NDArray[np.int16]
Colour: TypeAlias = tuple[int, int, int]

VOID_COLOUR: Colour = (0, 0, 0)
OTHER_COLOUR: Colour = (255, 255, 255)

RIGHT, WRONG, SEEN_BIAS, ABSTAINED, UNJUDGED = range(5)
ERRORS: tuple[tuple[str, Colour], ...] = (
    ("right", (230, 230, 230)),
    ("wrong", (213, 94, 0)),
    ("wrong: unseen class called a seen one", (0, 90, 160)),
    ("abstained", (240, 228, 66)),
    ("not evaluated", (90, 90, 90)),
)
"""Words and colours of an error map, by its values. Vermilion, blue and yellow of Okabe and Ito (blue darkened):
apart for all common forms of colour blindness, and as greys in print."""


def class_colours(protocol: Protocol) -> NDArray[np.uint8]:
    """(K, 3) uint8: the colour of each class of the table, RGB; a fact of the protocol, so the same everywhere."""
    return np.array([row.color for row in protocol.classes], np.uint8).reshape(-1, 3)


def palette(protocol: Protocol) -> NDArray[np.uint8]:
    """(K + 2, 3) uint8: `class_colours`, then the colour of OTHER and that of VOID, which index from the end."""
    return np.concatenate([class_colours(protocol), np.array([OTHER_COLOUR, VOID_COLOUR], np.uint8)])


def truth_classes(mask: RawMask, protocol: Protocol) -> Classes:
    """(H, W) int16 class indices of a raw mask; VOID where nothing is evaluated."""
    scored = np.full(256, VOID, np.int16)
    scored[list(protocol.scored_classes)] = protocol.scored_classes
    found: Classes = scored[protocol.truth_table[mask]]
    return found


def predicted_classes(label_map: LabelMap, protocol: Protocol) -> Classes:
    """(H, W) int16 class indices of a label map; OTHER where the method abstains or names no class."""
    table = np.full(other_of(label_map.dtype) + 1, OTHER, np.int16)
    names = protocol.class_of_vocabulary
    table[: len(names)] = np.where(names < 0, OTHER, names)
    found: Classes = table[label_map]
    return found


def paint(classes: Classes, protocol: Protocol) -> Image:
    """(H, W) class indices -> (H, W, 3) uint8 in the protocol's colours."""
    return palette(protocol)[classes]


def error_map(truth: Classes, guess: Classes, protocol: Protocol) -> NDArray[np.uint8]:
    """(H, W) uint8 values of `ERRORS`: what became of each pixel.

    SEEN_BIAS sets apart the error of zero-shot methods: an unseen class taken for one of the training masks.
    """
    seen = np.array([*(row.seen for row in protocol.classes), False, False])
    found = np.full(truth.shape, WRONG, np.uint8)
    found[~seen[truth] & seen[guess]] = SEEN_BIAS
    found[guess == OTHER] = ABSTAINED
    found[guess == truth] = RIGHT
    found[truth == VOID] = UNJUDGED
    return found


def paint_errors(errors: NDArray[np.uint8]) -> Image:
    """(H, W) values of `ERRORS` -> (H, W, 3) uint8."""
    return np.array([colour for _, colour in ERRORS], np.uint8)[errors]
