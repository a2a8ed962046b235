"""The lines of a legend: only what occurs in the picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.protocol.schema import Protocol

from .colours import ERRORS, OTHER, OTHER_COLOUR, VOID, VOID_COLOUR
from .sheet import Entry


def occurring(maps: Iterable[NDArray[Any] | None]) -> set[int]:
    """Values that occur in maps."""
    return {int(v) for m in maps if m is not None for v in np.unique(m)}


def class_entries(present: set[int], protocol: Protocol) -> list[Entry]:
    """Name and colour of the classes present, in class order; unseen ones with a star where seen ones compete."""
    rows = protocol.classes
    stars = bool(protocol.groups["unseen"]) and bool(protocol.groups["seen"])
    unseen = [stars and not row.seen for row in rows]
    entries = [Entry(rows[c].clean, rows[c].color, " *" * unseen[c]) for c in sorted(present) if c >= 0]
    if OTHER in present:
        entries.append(Entry("(abstained)", OTHER_COLOUR))
    if VOID in present:
        entries.append(Entry("(not evaluated)", VOID_COLOUR))
    if any(c >= 0 and unseen[c] for c in present):
        entries.append(Entry("* = unseen in training", None))
    return entries


def error_entries(present: set[int]) -> list[Entry]:
    """What the colours of error maps mean, as far as they occur."""
    return [Entry(name, colour) for value, (name, colour) in enumerate(ERRORS) if value in present]
