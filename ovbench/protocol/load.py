"""From a protocol's TOML file to a `Protocol`: found, read, checked, hashed."""

from __future__ import annotations

import dataclasses
import importlib.util
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.hashing import hash_json
from ovbench.core.paths import check_id, room
from ovbench.core.plugins import entry_points

from .check import (
    CONVENTIONS,
    DATASETS,
    KEYS,
    NAME_VARIANTS,
    RELEASED,
    RESIZE,
    SCORED,
    TEMPORAL_MODES,
    VOCABULARY_MODES,
    Section,
)
from .groups import all_groups
from .schema import ClassInfo, DatasetSpec, Protocol
from .table import read_table, read_text
from .templates import load_templates

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "ovbench.protocols"
"""Entry-point group of third parties; each value is a module whose folder holds `*.toml`."""


def protocol_ids() -> list[str]:
    """Ids of all protocols that can be loaded by name, sorted."""
    return sorted(_files())


def load_protocol(id_or_path: str) -> Protocol:
    """Load a protocol by id, or from a user's own file (anything that ends in ".toml").

    Raises:
        UserError: no such protocol, or a mistake in it (naming file, key and allowed values).
    """
    return read_protocol(protocol_path(id_or_path))


def protocol_path(id_or_path: str) -> Path:
    """The file that `load_protocol` reads; raises `UserError` for an unknown id."""
    if id_or_path.endswith(".toml"):
        return Path(id_or_path)
    own = room("protocols") / f"{id_or_path}.toml"
    # A broken plug-in must not keep anybody from our own protocols, hence these come first.
    path = own if own.parent == room("protocols") and own.is_file() else _files().get(id_or_path)
    if path is None:
        raise unknown("protocol", id_or_path, _files())
    return path


def read_protocol(path: Path) -> Protocol:
    """Read and check one protocol file; see `load_protocol`."""
    try:
        values = tomllib.loads(read_text(path, "protocol file"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", where=path) from None
    return _build(Section(values, path, "", KEYS[""]))


def _files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in (room("protocols"), *_plugin_folders()):
        for path in sorted(folder.glob("*.toml")):
            if path.stem in found:
                raise UserError(
                    f"protocol '{path.stem}' exists twice",
                    where=f"{found[path.stem]} and {path}",
                    hint="rename one of the files and its id",
                )
            found[path.stem] = path
    return found


def _plugin_folders() -> Iterator[Path]:
    for point in sorted(entry_points(group=ENTRY_POINTS)):
        yield _folder_of(point)


def _folder_of(point: EntryPoint) -> Path:
    try:
        spec = importlib.util.find_spec(point.module)
    except ModuleNotFoundError:
        spec = None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    raise UserError(
        f"module '{point.module}' of the plug-in '{point.name}' cannot be found",
        where=f"entry point group '{ENTRY_POINTS}'",
        hint="reinstall or remove the package that registers it",
    )


def _build(top: Section) -> Protocol:
    identifier = check_id("protocol id", top.text("id"))
    if identifier != top.path.stem:
        raise top.fail("id", f"id '{identifier}' differs from the file's name", f"'{top.path.stem}'")
    table = read_table(_beside(top, "class_table"))
    ignored = top.integers("ignore_ids", 0, 65535)
    _check_ignored(top, table, ignored)
    groups = all_groups(top.section("groups"), table)
    classes = tuple(dataclasses.replace(r, seen=i in groups["seen"]) for i, r in enumerate(table))
    mode = top.choice("vocabulary", VOCABULARY_MODES)
    scored = top.choice("scored", SCORED)
    _check_modes(top, mode, scored, groups)
    extra = top.strings("extra_names")
    _check_extra(top, table, extra)
    set_name = top.text("templates")
    temporal = top.section("temporal", KEYS["temporal"])
    windows = temporal.integers("windows", 2, 1000)
    draft = Protocol(
        id=identifier,
        version=top.integer("version"),
        title=top.text("title"),
        description=top.text("description"),
        dataset=_dataset(top.section("dataset", KEYS["dataset"])),
        classes=classes,
        ignore_ids=ignored,
        groups=groups,
        vocabulary_mode=mode,
        vocabulary_classes=(*groups[mode], *(-1 for _ in extra)),
        scored=scored,
        scored_classes=groups[scored],
        name_variant=top.choice("name_variant", NAME_VARIANTS),
        template_set=set_name,
        templates=load_templates(set_name, top.path.parent, where=top.where("templates")),
        resize=top.choice("resize", RESIZE, "native"),
        convention=_convention(top, mode, scored),
        windows=tuple(sorted(windows)),
        temporal_modes=temporal.choices("modes", TEMPORAL_MODES, TEMPORAL_MODES if windows else ()),
        headline_group=top.choice("headline", (*groups, "harmonic"), "all"),
        notes=top.strings("notes"),
        hash="",
        board=top.section("board", KEYS["board"]).strings("methods"),
        extra_names=extra,
    )
    return dataclasses.replace(draft, hash=protocol_hash(draft))


def protocol_hash(protocol: Protocol) -> str:
    """SHA-256 over all that can change a number.

    Left out: id, title, description, notes, headline, board, colours, and those names and
    synonyms that the protocol's name variant does not use.
    """
    data = protocol.dataset
    rows = [[sorted(r.raw_ids), r.name, r.seen, r.kind] for r in protocol.classes]
    return hash_json(
        {
            "schema": 1,
            "version": protocol.version,
            "dataset": [data.name, data.split, data.train_split, dict(data.options), data.videos],
            "classes": rows,
            "ignore_ids": sorted(protocol.ignore_ids),
            "groups": {name: list(members) for name, members in protocol.groups.items()},
            "vocabulary": protocol.vocabulary.as_dict(),
            "vocabulary_classes": protocol.vocabulary_classes,
            "scored_classes": protocol.scored_classes,
            "resize": protocol.resize,
            "convention": protocol.convention,
            "windows": protocol.windows,
            "temporal_modes": sorted(protocol.temporal_modes),
        }
    )


def _dataset(section: Section) -> DatasetSpec:
    train = section.text("train_split", "")
    return DatasetSpec(
        name=section.choice("name", DATASETS),
        split=section.text("split"),
        train_split=train or None,
        options=section.plain("options"),
        videos=_videos(section),
    )


def _videos(section: Section) -> tuple[str, ...]:
    if "videos" not in section.values:
        return ()
    path = _beside(section, "videos")
    names = [line.strip() for line in read_text(path, "list of videos").splitlines() if line.strip()]
    if not names:
        raise UserError("the list of videos is empty", where=path)
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"video '{name}' appears twice", where=path)
    return tuple(names)


def _beside(section: Section, key: str) -> Path:
    """The file that `key` names: beside the protocol, else among those that come with ovbench."""
    name = section.text(key)
    for folder in (section.path.parent, room("protocols")):
        if (folder / name).is_file():
            return folder / name
    ours = ", ".join(sorted(f"classes/{p.name}" for p in (room("protocols") / "classes").glob("*.csv")))
    allowed = f"a file beside {section.path.name}" + (f", or {ours}" if key == "class_table" else "")
    raise section.fail(key, f"file '{name}' does not exist", allowed)


def _check_ignored(top: Section, table: Sequence[ClassInfo], ignored: Sequence[int]) -> None:
    for row in table:
        for raw in row.raw_ids:
            if raw in ignored:
                raise top.fail("ignore_ids", f"id {raw} is ignored, but is also the class '{row.name}'")


def _check_extra(top: Section, table: Sequence[ClassInfo], extra: Sequence[str]) -> None:
    taken = {word for row in table for word in (row.name, row.clean, *row.synonyms)}
    for name in extra:
        if name != name.strip():
            raise top.fail("extra_names", f"'{name}' begins or ends with a blank")
        if name in taken:
            raise top.fail(
                "extra_names", f"'{name}' is a class of the class table", "names that are no class"
            )


def _convention(top: Section, mode: str, scored: str) -> str:
    found = top.choice("convention", (*CONVENTIONS, RELEASED), "gt-present")
    if found == RELEASED and (mode, scored) != ("unseen", "unseen"):
        raise top.fail(
            "convention",
            f"'{RELEASED}' restates an evaluation of unseen names on unseen pixels",
            "with it, vocabulary = 'unseen' and scored = 'unseen'",
        )
    return found


def _check_modes(top: Section, mode: str, scored: str, groups: Mapping[str, Any]) -> None:
    if "unseen" in (mode, scored) and not groups["unseen"]:
        key = "vocabulary" if mode == "unseen" else "scored"
        raise top.fail(key, f"{key} = 'unseen', but [groups] unseen names no class", "'all'")
    if mode == "unseen" and scored == "all":
        raise top.fail(
            "scored", "seen pixels cannot be scored when seen names are not in the vocabulary", "'unseen'"
        )
