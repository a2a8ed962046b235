"""Names that may be swapped, and names that contain others: small reviewed tables in `protocols/taxonomies`.

They add scores (`openvocab.py`) and change none, hence they are no part of a protocol's hash; they
have a version and a hash of their own, which stand beside the numbers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovbench.core.errors import UserError, unknown
from ovbench.core.hashing import hash_json
from ovbench.core.paths import room
from ovbench.protocol.check import Section
from ovbench.protocol.schema import Protocol
from ovbench.protocol.table import read_table, read_text

_KEYS = ("id", "version", "class_table", "groups", "parents")
_GROUP_KEYS, _PARENT_KEYS = ("name", "classes", "why"), ("parent", "children", "why")


@dataclass(frozen=True)
class Taxonomy:
    """Relations between the names of a class table, in class indices.

    Attributes:
        groups: name -> two or more classes that a reasonable annotator may swap; no class is in two groups.
        parents: (parent, child) pairs: the parent's name is right for the child, only less exact.
        hash: SHA-256 over the relations and the version; reasons and remarks are left out.
    """

    id: str
    version: int
    groups: Mapping[str, tuple[int, ...]]
    parents: tuple[tuple[int, int], ...]
    hash: str

    def group_of(self, classes: int) -> NDArray[np.int64]:
        """(C,) number of the group that each class is in, -1: none."""
        place = np.full(classes, -1, np.int64)
        for number, members in enumerate(self.groups.values()):
            place[list(members)] = number
        return place

    def among(self, scored: Sequence[int]) -> Taxonomy:
        """Only relations between these classes; id, version and hash stay."""
        kept = {n: tuple(c for c in members if c in scored) for n, members in self.groups.items()}
        return replace(
            self,
            groups={n: members for n, members in kept.items() if len(members) > 1},
            parents=tuple(p for p in self.parents if p[0] in scored and p[1] in scored),
        )


def taxonomy_for(protocol: Protocol) -> Taxonomy | None:
    """The table for a protocol's scored classes; None where there is none.

    It is `taxonomies/<protocol id>.toml`, else the one whose class table has exactly the protocol's names:
    a user's own table that happens to have the same file name gets nothing that is not meant for it.

    Raises:
        UserError: a table with a mistake in it.
    """
    return _cached(protocol.id, tuple(c.name for c in protocol.classes), protocol.scored_classes)


@lru_cache(maxsize=32)
def _cached(protocol_id: str, names: tuple[str, ...], scored: tuple[int, ...]) -> Taxonomy | None:
    folder = room("protocols") / "taxonomies"
    own = folder / f"{protocol_id}.toml"
    if own.is_file():
        return read_taxonomy(own, names).among(scored)
    for path in sorted(folder.glob("*.toml")):
        table = _class_table(_open(path))
        if tuple(c.name for c in read_table(table)) == names:
            return read_taxonomy(path, names).among(scored)
    return None


def load_taxonomy(name: str) -> Taxonomy:
    """The shipped table of that name ("vspw"); raises `UserError` with near names for an unknown one."""
    folder = room("protocols") / "taxonomies"
    known = {p.stem: p for p in folder.glob("*.toml")}
    if name not in known:
        raise unknown("taxonomy", name, known)
    return read_taxonomy(known[name])


def read_taxonomy(path: Path, names: Sequence[str] | None = None) -> Taxonomy:
    """Read and check one table.

    Args:
        names: names of the classes in the order of their indices; default: those of the class table it names.

    Raises:
        UserError: naming file and key: an unknown class, a class in two groups, a parent of itself, ...
    """
    top = _open(path)
    identifier = top.text("id")
    if identifier != path.stem:
        raise top.fail("id", f"id '{identifier}' differs from the file's name", f"'{path.stem}'")
    version = top.integer("version")
    if names is None:
        names = [c.name for c in read_table(_class_table(top))]
    index = {name: i for i, name in enumerate(names)}
    groups = _groups(top, index)
    parents = _parents(top, index)
    named = {n: [names[c] for c in members] for n, members in groups.items()}
    pairs = [[names[p], names[c]] for p, c in parents]
    digest = hash_json({"id": identifier, "version": version, "groups": named, "parents": pairs})
    return Taxonomy(identifier, version, groups, parents, digest)


def _open(path: Path) -> Section:
    try:
        values = tomllib.loads(read_text(path, "taxonomy"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", where=path) from None
    return Section(values, path, "", _KEYS)


def _class_table(top: Section) -> Path:
    path = room("protocols") / top.text("class_table")
    if not path.is_file():
        raise top.fail("class_table", f"file '{path.name}' does not exist", "a file of protocols/classes")
    return path


def _rows(top: Section, key: str, keys: Sequence[str]) -> list[Section]:
    rows = top.values.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise top.fail(key, "this is not a list of tables", f"[[{key}]] with {', '.join(keys)} below it")
    sections = [Section(row, top.path, f"{key}.{i}", keys) for i, row in enumerate(rows, 1)]
    for section in sections:
        section.text("why")  # a relation without a reason is not reviewed
    return sections


def _groups(top: Section, index: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    groups: dict[str, tuple[int, ...]] = {}
    taken: dict[int, str] = {}
    for row in _rows(top, "groups", _GROUP_KEYS):
        name = row.text("name")
        if name in groups:
            raise row.fail("name", f"there are two groups '{name}'")
        members = _members(row, "classes", index)
        if len(members) < 2:
            raise row.fail("classes", f"group '{name}' needs two or more classes")
        for member in members:
            if member in taken:
                what = f"class '{row.values['classes'][members.index(member)]}' is in two groups"
                raise row.fail("classes", f"{what}, '{taken[member]}' and '{name}'")
            taken[member] = name
        groups[name] = tuple(sorted(members))
    return dict(sorted(groups.items(), key=lambda item: item[1]))


def _parents(top: Section, index: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    pairs: list[tuple[int, int]] = []
    for row in _rows(top, "parents", _PARENT_KEYS):
        name = row.text("parent")
        if name not in index:
            raise unknown("class", name, index, where=row.where("parent"))
        parent = index[name]
        if any(p == parent for p, _ in pairs):
            raise row.fail("parent", f"'{name}' is named as a parent twice", "one entry with all children")
        children = _members(row, "children", index)
        if not children:
            raise row.fail("children", f"parent '{name}' has no children")
        for child in children:
            if child == parent or (child, parent) in pairs:
                other = row.values["children"][children.index(child)]
                raise row.fail(
                    "children", f"'{name}' and '{other}' would contain each other", "a group of both"
                )
        pairs += [(parent, child) for child in children]
    return tuple(sorted(pairs))


def _members(row: Section, key: str, index: Mapping[str, int]) -> list[int]:
    members: list[int] = []
    for name in row.strings(key):
        if name not in index:
            raise unknown("class", name, index, where=row.where(key))
        members.append(index[name])
    return members


def describe_taxonomy(taxonomy: Taxonomy | None) -> dict[str, Any] | None:
    """Id, version and hash, for the summary."""
    if taxonomy is None:
        return None
    return {"id": taxonomy.id, "version": taxonomy.version, "hash": taxonomy.hash}
