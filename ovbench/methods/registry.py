"""Which methods there are: the cards under baselines/ and those of installed plugins."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import room
from ovbench.core.plugins import entry_points

from .card import Card, read_card

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "ovbench.methods"
"""Entry point group of plugins: name = method id, value = the package that holds `method.toml`."""


@cache
def cards() -> dict[str, Card]:
    """All methods by id, sorted. A plugin cannot replace a method of ours.

    Raises:
        UserError: a card of ours is wrong, or two have one id. A wrong card of a plugin is a warning.
    """
    found: dict[str, Card] = {}
    for path in _card_files(room("baselines")):
        card = read_card(path)
        if card.id in found:
            raise UserError(f"two method cards have the id '{card.id}'", where=path)
        found[card.id] = card
    for point in entry_points(group=ENTRY_POINTS):
        try:
            for path in _plugin_files(point):
                card = read_card(path)
                if card.id in found:
                    raise UserError(f"a method '{card.id}' exists already", where=path)
                found[card.id] = card
        except UserError as error:
            warnings.warn(f"plugin '{point.name}' is left out: {error}", stacklevel=2)
    return dict(sorted(found.items()))


def card(method_id: str) -> Card:
    """The card of a method; raises `UserError` with near names when there is none.

    One of ours that lies where its id says is read alone: reading all of them takes longer.
    """
    if cards.cache_info().currsize == 0 and method_id.replace("-", "").isalnum():
        alone = _named(method_id)
        if alone is not None:
            return alone
    found = cards()
    if method_id not in found:
        raise unknown("method", method_id, found)
    return found[method_id]


@cache
def _named(method_id: str) -> Card | None:
    base = room("baselines")
    for path in (*base.glob(f"*/method-{method_id}.toml"), base / method_id / "method.toml"):
        if path.is_file():
            found = read_card(path)
            if found.id == method_id:
                return found
    return None


def _card_files(base: Path) -> Iterator[Path]:
    for folder in sorted(p for p in base.iterdir() if p.is_dir()):
        yield from sorted(folder.glob("method.toml"))
        yield from sorted(folder.glob("method-*.toml"))


def _plugin_files(point: EntryPoint) -> list[Path]:
    try:
        spec = importlib.util.find_spec(point.value)
    except (ImportError, ValueError) as error:
        raise UserError(f"its package cannot be found: {error}", where=point.value) from error
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    files = [f for p in folders for f in (*p.glob("method.toml"), *sorted(p.glob("method-*.toml")))]
    if not files:
        raise UserError("its package holds no method.toml", where=point.value)
    return files
