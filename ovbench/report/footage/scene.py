"""One frame with all that is known of it, and the pictures that are made from that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ovbench.core.types import Image
from ovbench.protocol.schema import Protocol

from .colours import RIGHT, UNJUDGED, Classes, error_map, paint, paint_errors
from .legend import class_entries, error_entries, occurring
from .sheet import Entry
from .source import Footage

Errors: TypeAlias = NDArray[np.uint8]
Tile: TypeAlias = tuple[str, int]
"""What stands in a place of a picture ("image", "truth", "labels" or "errors"), and of which method."""

PER_ROW = 4


@dataclass(frozen=True)
class Scene:
    """A frame: its picture, its truth, and one label map and error map per method; None where there is none."""

    name: str
    image: Image
    truth: Classes | None
    labels: tuple[Classes | None, ...]
    errors: tuple[Errors | None, ...]

    @classmethod
    def of(
        cls,
        name: str,
        image: Image,
        truth: Classes | None,
        labels: Sequence[Classes | None],
        protocol: Protocol,
    ) -> Scene:
        """From class indices; the error maps follow from them."""
        errors = tuple(
            None if truth is None or m is None or m.shape != truth.shape else error_map(truth, m, protocol)
            for m in labels
        )
        return cls(name, image, truth, tuple(labels), errors)

    def picture(self, tile: Tile, protocol: Protocol) -> Image | str:
        """(H, W, 3) uint8 of one tile, or words where there is nothing to show."""
        kind, run = tile
        if kind == "image":
            return self.image
        if kind == "truth":
            return "no truth" if self.truth is None else paint(self.truth, protocol)
        if kind == "labels":
            labels = self.labels[run]
            return "no label map" if labels is None else paint(labels, protocol)
        errors = self.errors[run]
        return "" if errors is None else paint_errors(errors)


def read_scene(footage: Footage, index: int) -> Scene:
    """Frame `index` of some footage."""
    labels = [footage.label_map(run, index) for run in range(len(footage.names))]
    return Scene.of(
        footage.frame_names[index], footage.image(index), footage.truth(index), labels, footage.protocol
    )


def board(methods: int, errors: bool) -> list[list[Tile]]:
    """Rows of tiles that show one frame: a column per method, errors below labels, no place left empty inside."""
    columns: list[list[Tile]]
    if errors:
        columns = [[("image", -1), ("truth", -1)]]
        columns += [[("labels", run), ("errors", run)] for run in range(methods)]
    else:
        columns = [[("image", -1)], [("truth", -1)], *([("labels", run)] for run in range(methods))]
    across = min(PER_ROW, len(columns))
    blocks = [columns[i : i + across] for i in range(0, len(columns), across)]
    return [[column[line] for column in block] for block in blocks for line in range(len(columns[0]))]


def title(tile: Tile, names: Sequence[str]) -> str:
    """What stands over a tile; nothing over the frame itself, whose name is not always the same."""
    kind, run = tile
    return {"image": "", "truth": "truth", "errors": "errors"}.get(kind) or (names[run] if run >= 0 else "")


def share_right(maps: Iterable[Errors | None]) -> float | None:
    """Percent of the judged pixels that are right; None where none is judged."""
    there = [m for m in maps if m is not None]
    judged = sum(int((m != UNJUDGED).sum()) for m in there)
    return 100 * sum(int((m == RIGHT).sum()) for m in there) / judged if judged else None


class Legends:
    """Collects what occurs in scenes, one by one."""

    def __init__(self, protocol: Protocol, errors: bool) -> None:
        self._protocol, self._with_errors = protocol, errors
        self._classes: set[int] = set()
        self._errors: set[int] = set()

    def add(self, scene: Scene) -> None:
        self._classes |= occurring((scene.truth, *scene.labels))
        if self._with_errors:
            self._errors |= occurring(scene.errors)

    def entries(self) -> tuple[list[Entry], list[Entry]]:
        """Classes, and kinds of errors."""
        return class_entries(self._classes, self._protocol), error_entries(self._errors)
