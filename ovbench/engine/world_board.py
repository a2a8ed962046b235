"""The leaderboard that is kept in results/world: which runs it is made of (`board.toml` there)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.paths import check_id, room
from ovbench.methods.wrappers import SIGN, WRAPPERS

_KEYS = {"name": str, "method": str, "folder": str, "seeds": list, "twins": list, "set": dict}


@dataclass(frozen=True)
class Entry:
    """One method with one training seed (None: one run, no seeds), and the twins that take its label maps.

    `settings` are its options as `--set` takes them.
    """

    row: str
    method: str
    seed: int | None
    pattern: str
    twins: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """METHOD without its variant."""
        return self.method.partition(":")[0]

    @property
    def variant(self) -> str:
        """The variant, or ""."""
        return self.method.partition(":")[2]

    @property
    def name(self) -> str:
        """The run folder of the method itself."""
        return self.folder()

    def folder(self, twin: str = "") -> str:
        """The run folder of the method or of a twin ("vote")."""
        return self.pattern.format(twin=twin and SIGN + twin, seed=self.seed)

    @property
    def folders(self) -> tuple[str, ...]:
        """All run folders: the method's, then its twins'."""
        return tuple(self.folder(twin) for twin in ("", *self.twins))


@dataclass(frozen=True)
class Board:
    """Protocol id and entries, in the order of the file."""

    protocol: str
    entries: tuple[Entry, ...]

    @property
    def folders(self) -> list[str]:
        """Every run folder of the board, sorted as `ovbench table` finds them."""
        return sorted(name for entry in self.entries for name in entry.folders)

    def only(self, rows: Sequence[str] = (), seeds: Sequence[int] = ()) -> Board:
        """Some rows (none: all), and of those that have seeds some (none: all).

        Raises:
            UserError: a row or a seed that the board does not have.
        """
        names = list(dict.fromkeys(entry.row for entry in self.entries))
        having = sorted({entry.seed for entry in self.entries if entry.seed is not None})
        for row in rows:
            if row not in names:
                raise unknown("row", row, names, where="--rows")
        for seed in seeds:
            if seed not in having:
                raise unknown("seed", str(seed), list(map(str, having)), where="--seeds")
        kept = tuple(
            entry
            for entry in self.entries
            if (not rows or entry.row in rows) and (not seeds or entry.seed is None or entry.seed in seeds)
        )
        return Board(self.protocol, kept)


def world_room() -> Path:
    """The folder of the board and of the records kept for it."""
    return room("results") / "world"


def read_board(path: Path | None = None) -> Board:
    """Read a board; default: the one that is kept.

    Raises:
        UserError: the file is not what a board looks like, or two runs would share a folder.
    """
    path = path or world_room() / "board.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the board cannot be read: {error}", where=path) from error
    protocol, rows = values.get("protocol"), values.get("rows")
    if not isinstance(protocol, str) or not isinstance(rows, list):
        raise UserError("a board has a protocol and [[rows]]", where=path)
    entries = tuple(entry for row in rows for entry in _entries(row, path))
    folders = [name for entry in entries for name in entry.folders]
    for name in folders:
        check_id("run folder", name)
        if folders.count(name) > 1:
            raise UserError(
                f"two runs of the board would lie in '{name}'",
                where=path,
                hint="tell them apart in 'folder' by {seed} and {twin}",
            )
    return Board(protocol, entries)


def _entries(row: Mapping[str, Any], path: Path) -> list[Entry]:
    for key, value in row.items():
        if key not in _KEYS:
            raise unknown("key", key, list(_KEYS), where=f"{path}, [[rows]]")
        if not isinstance(value, _KEYS[key]):
            raise UserError(f"'{key}' must be a {_KEYS[key].__name__}", where=f"{path}, [[rows]]")
    if lacking := {"name", "method", "folder"} - row.keys():
        raise UserError(f"a row lacks {', '.join(sorted(lacking))}", where=path)
    for twin in row.get("twins", ()):
        if twin not in WRAPPERS:
            raise unknown("wrapper", str(twin), WRAPPERS, where=f"{path}, row '{row['name']}'")
    return [
        Entry(
            row=row["name"],
            method=row["method"],
            seed=seed,
            pattern=row["folder"],
            twins=tuple(row.get("twins", ())),
            settings={key: str(value) for key, value in row.get("set", {}).items()},
        )
        for seed in row.get("seeds", [None])
    ]
