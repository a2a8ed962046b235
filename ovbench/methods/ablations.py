"""The `[ablations]` section of a method's card: the rows of an ablation table as changes to a variant.

    [ablations]
    title = "Table III"
    variants = ["world", "sam-vit-b"]       # sizes that the rows are offered for
    prefix = "t3"
    metric = "unseen.miou"
    published = "paper/ov2vss-table3.csv"   # below results/; may be left out

    [ablations.rows.no-ffn]
    description = "attention without the feed-forward layer"
    options = { ffn = false }

A row becomes a variant of each size, here `world-t3-no-ffn`, which is trained, run and given weights like any
other. The size itself is the reference, called `full` in tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import check_id, room

REFERENCE = "full"
_KEYS = ("title", "variants", "prefix", "metric", "published", "rows")
_ROW = ("description", "options", "remark")


@dataclass(frozen=True)
class Ablation:
    """One row: what it takes away or changes. `remark` is what a reader of its number must know."""

    name: str
    description: str
    options: Mapping[str, Any]
    remark: str = ""


@dataclass(frozen=True)
class Ablations:
    """All rows of a card, without the reference. `published` is the file of the published numbers, or None."""

    title: str
    variants: tuple[str, ...]
    prefix: str = ""
    metric: str = "unseen.miou"
    published: Path | None = None
    rows: Mapping[str, Ablation] = field(default_factory=dict)

    def variant(self, size: str, row: str) -> str:
        """Name of the variant that is `row` at this size; the size itself for the reference."""
        if row == REFERENCE:
            return size
        return "-".join(part for part in (size, self.prefix, row) if part)

    def size_of(self, variant: str) -> str:
        """The size that a variant's name stands for: "world" for "world" and for "world-t3-no-ffn".

        Raises:
            UserError: the rows are not offered for it.
        """
        for size in self.variants:
            if variant in {self.variant(size, row) for row in (REFERENCE, *self.rows)}:
                return size
        raise unknown("variant with ablations", variant, self.variants)


def read_ablations(
    raw: Any, variants: Mapping[str, Any], options: Mapping[str, Any], path: Path
) -> Ablations:
    """Read the section; raises `UserError` naming the key that is wrong and what is allowed."""
    where = f"{path}, [ablations]"
    if not isinstance(raw, dict) or not isinstance(raw.get("rows"), dict) or not raw["rows"]:
        raise UserError("method card: 'ablations' must be a table with 'rows'", where=path)
    _known("key", raw, _KEYS, where)
    sizes = raw.get("variants", [])
    if not isinstance(sizes, list) or not sizes:
        raise UserError("method card: 'ablations.variants' must be a list of variants", where=path)
    _known("variant", sizes, variants, where)
    texts = {key: str(raw[key]) for key in ("title", "prefix", "metric") if key in raw}
    file = raw.get("published")
    return Ablations(
        **{"title": "ablations", **texts},
        variants=tuple(sizes),
        published=None if file is None else room("results") / str(file),
        rows={name: _row(name, row, options, path) for name, row in raw["rows"].items()},
    )


def _row(name: str, raw: Any, options: Mapping[str, Any], path: Path) -> Ablation:
    where = f"{path}, [ablations.rows.{name}]"
    if not isinstance(raw, dict) or not isinstance(raw.get("options"), dict) or not raw["options"]:
        raise UserError("method card: a row of the ablations needs 'options'", where=where)
    if name == REFERENCE:
        raise UserError(f"method card: '{REFERENCE}' is the reference, hence no row", where=where)
    _known("key", raw, _ROW, where)
    _known("option", raw["options"], options, where)
    texts = {key: str(raw.get(key, "")) for key in ("description", "remark")}
    return Ablation(check_id("row", name), options=dict(raw["options"]), **texts)


def _known(what: str, names: Any, allowed: Any, where: str) -> None:
    for name in names:
        if name not in allowed:
            raise unknown(what, str(name), allowed, where=where)
