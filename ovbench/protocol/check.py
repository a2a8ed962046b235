"""Checked access to a protocol's TOML: every complaint names file, key and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown

DATASETS = ("vspw", "cityscapes", "camvid", "folder", "world")
VOCABULARY_MODES = ("all", "unseen")
SCORED = ("all", "unseen")
NAME_VARIANTS = ("raw", "clean", "clean+synonyms")
RESIZE = ("native",)
CLASS_RULES = ("gt-present", "union-present", "all-classes", "per-image", "per-image-class")
CONVENTIONS = tuple(
    rule + abstain + base
    for rule in CLASS_RULES
    for abstain in ("", "+abstain-shrinks")
    for base in ("", "+base-ignored")
)
RELEASED = "ov2vss-released"
"""The convention of one published evaluation, bugs included; only for unseen names and unseen pixels."""
TEMPORAL_MODES = ("script", "clean", "correct")
RESERVED_GROUPS = ("all", "seen", "harmonic", "seen_bias")
"""Names that summaries use for something else; "seen" is always the rest of "unseen"."""

KEYS: dict[str, tuple[str, ...]] = {
    "": (
        *("id", "version", "title", "description", "notes", "class_table", "name_variant", "templates"),
        *("vocabulary", "extra_names", "scored", "resize", "convention", "headline", "ignore_ids"),
        *("dataset", "groups", "temporal", "board"),
    ),
    "dataset": ("name", "split", "train_split", "videos", "options"),
    "temporal": ("windows", "modes"),
    "board": ("methods",),
}


class Section:
    """One table of a TOML file, read key by key.

    Args:
        values: the parsed table.
        path: the file, for messages.
        name: the table's name; "" is the top level.
        keys: the keys that may occur; None allows any.
    """

    def __init__(
        self, values: Mapping[str, Any], path: Path, name: str = "", keys: Collection[str] | None = None
    ) -> None:
        self.values, self.path, self.name = values, path, name
        if keys is not None:
            for key in values:
                if key not in keys:
                    raise unknown("key", key, keys, where=self.where(key))

    def where(self, key: str) -> str:
        """File and full key, for messages."""
        return f"{self.path}, key '{f'{self.name}.{key}' if self.name else key}'"

    def fail(self, key: str, what: str, allowed: str | None = None) -> UserError:
        """A `UserError` about `key`."""
        return UserError(what, where=self.where(key), hint=None if allowed is None else f"allowed: {allowed}")

    def section(self, key: str, keys: Collection[str] | None = None) -> Section:
        """A sub-table; empty when absent."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(key, f"{_found(value)} where a table is expected", f"[{key}] with keys below it")
        return Section(value, self.path, f"{self.name}.{key}" if self.name else key, keys)

    def text(self, key: str, default: str | None = None) -> str:
        """A non-empty string; required when there is no default."""
        value = self._get(key, default, "a string")
        if not isinstance(value, str):
            raise self.fail(key, f"{_found(value)} where a string is expected", "a string")
        if not value.strip() and default is None:
            raise self.fail(key, "the string is empty")
        return value.strip()

    def choice(self, key: str, allowed: Collection[str], default: str | None = None) -> str:
        """One of the allowed strings."""
        value = self.text(key, default)
        if value not in allowed:
            raise unknown("value", value, allowed, where=self.where(key))
        return value

    def integer(self, key: str) -> int:
        """A required whole number from 1."""
        value = self._get(key, None, "a whole number from 1")
        if not _is_int(value) or value < 1:
            raise self.fail(key, f"{_found(value)} where a version is expected", "a whole number from 1")
        number: int = value
        return number

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of different whole numbers in low..high; empty when absent."""
        allowed = f"a list of different whole numbers from {low} to {high}"
        values = self.values.get(key, [])
        if not isinstance(values, list) or not all(_is_int(v) and low <= v <= high for v in values):
            raise self.fail(key, f"{_found(values)} is not such a list", allowed)
        if len(set(values)) != len(values):
            raise self.fail(key, "a number appears twice", allowed)
        return tuple(values)

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of different non-empty strings; empty when absent."""
        values = self.values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
            raise self.fail(key, f"{_found(values)} is not such a list", "a list of strings")
        if len(set(values)) != len(values):
            raise self.fail(key, "a string appears twice", "a list of different strings")
        return tuple(values)

    def choices(self, key: str, allowed: Collection[str], default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of different strings out of `allowed`."""
        if key not in self.values:
            return default
        values = self.strings(key)
        for value in values:
            if value not in allowed:
                raise unknown("value", value, allowed, where=self.where(key))
        return values

    def plain(self, key: str) -> dict[str, Any]:
        """A table of strings, numbers, booleans and lists of these (what a data set reader takes)."""
        table = dict(self.section(key).values)
        for name, value in table.items():
            if not _is_plain(value):
                raise self.fail(
                    f"{key}.{name}",
                    f"{_found(value)} cannot be an option",
                    "a string, number, boolean or list",
                )
        return table

    def _get(self, key: str, default: Any, expected: str) -> Any:
        if key not in self.values and default is None:
            raise self.fail(key, f"key '{key}' is missing", expected)
        return self.values.get(key, default)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(v, (str, int, float, bool)) for v in value)
    return isinstance(value, (str, int, float, bool))


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
