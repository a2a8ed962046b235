"""What an explanation is made of: parts, each with its numbers (for JSON) and its words (for people)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Grid:
    """A small table inside an explanation; the first column is text, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Part:
    """One step of an explanation.

    `data` holds plain JSON types under `key`; `body` says the same: paragraphs and grids, in order.
    """

    key: str
    title: str
    data: Any
    body: Sequence[str | Grid] = field(default_factory=tuple)


@dataclass(frozen=True)
class Explanation:
    """How a score came about: a title and parts in reading order."""

    title: str
    parts: tuple[Part, ...]

    def data(self) -> dict[str, Any]:
        """All numbers by the key of their part, as plain JSON types."""
        return {part.key: part.data for part in self.parts}


def percent(value: float | None, digits: int = 2) -> str:
    """A percentage, "-" where it is undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def count(value: int | None) -> str:
    """An integer with separators, "-" where it is not known."""
    return "-" if value is None else f"{value:,}"


def share(part: int | None, whole: int | None) -> float | None:
    """100 * part / whole, None where that says nothing."""
    return None if part is None or not whole else 100.0 * part / whole


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in quotes, separated by commas; beyond `most` only how many more."""
    shown = ", ".join(f"'{n}'" for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
