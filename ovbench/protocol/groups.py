"""Groups of classes: seen, unseen and any that a protocol names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ovbench.core.errors import unknown

from .check import RESERVED_GROUPS, Section
from .schema import ClassInfo

EVERY = "*"
_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def all_groups(section: Section, table: Sequence[ClassInfo]) -> dict[str, tuple[int, ...]]:
    """Group name -> class indices in table order; always with "all", "seen" and "unseen".

    Members are written as class names, raw ids ("81"), ranges of raw ids ("81-124") or "*".
    Seen is whatever is not unseen.

    Raises:
        UserError: a reserved group name, an unknown class, a range without a class.
    """
    named: dict[str, tuple[int, ...]] = {}
    for name in section.values:
        if name in RESERVED_GROUPS:
            raise section.fail(name, f"'{name}' cannot be set", "unseen, and names of your own")
        if not _NAME.fullmatch(name):
            raise section.fail(name, f"'{name}' cannot name a group", "small letters, digits and '_'")
        members = {i for item in section.strings(name) for i in _members(item, section, name, table)}
        if not members and name != "unseen":
            raise section.fail(name, "the group is empty")
        named[name] = tuple(sorted(members))
    unseen = named.pop("unseen", ())
    every = tuple(range(len(table)))
    seen = tuple(i for i in every if i not in unseen)
    return {"all": every, "seen": seen, "unseen": unseen, **named}


def _members(item: str, section: Section, key: str, table: Sequence[ClassInfo]) -> list[int]:
    if item == EVERY:
        return list(range(len(table)))
    by_name = [i for i, row in enumerate(table) if row.name == item]
    by_name = by_name or [i for i, row in enumerate(table) if row.clean == item]
    if by_name:
        return by_name
    match = _RANGE.fullmatch(item)
    low, high = (int(match[1]), int(match[2])) if match else (-1, -1)
    if item.isascii() and item.isdigit():
        low = high = int(item)
    inside = [i for i, row in enumerate(table) if any(low <= r <= high for r in row.raw_ids)]
    if not inside and low >= 0:
        raise section.fail(key, f"no class has a raw id in '{item}'", "raw ids of the class table")
    if not inside:
        raise unknown("class", item, [row.name for row in table], where=section.where(key))
    return inside
