"""Reading a pack that may come from anybody: what its directory claims is checked before anything is read."""

from __future__ import annotations

import json
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from ovbench.core.errors import IntegrityError

MANIFEST = "pack.json"

MOST_FILES = 2_000_000
MOST_BYTES = 1 << 40
ROOM, MOST_GROWTH = 64 << 20, 200
"""What a pack may hold unpacked: so many bytes, and beyond them so many times its own size (records shrink to a
tenth). A bomb grows a thousandfold."""

LONGEST_NAME, LONGEST_PATH = 255, 1000

_INSIDE = re.compile(
    r"[^/]+/(manifest\.json|summary\.json|timing\.json|records/[^/]+\.json|predictions/[^/]+/[^/]+\.png)"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
AGAIN = "get the pack again from who made it"
BY_HAND = "unpacked and zipped again by hand? `ovbench pack FOLDER --out FILE.zip` packs it again"

Files = dict[str, dict[str, Any]]
Runs = dict[str, dict[str, Any]]


def refuse(where: object, what: str, hint: str = AGAIN) -> NoReturn:
    """Raise the `IntegrityError` of a pack that is not as we write them."""
    raise IntegrityError(what, where=where, hint=hint)


@contextmanager
def members(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The archive, open, and its members, the list of files first; names, kinds and sizes are checked.

    Raises:
        IntegrityError: no zip, or one with members that we do not write (paths that leave the folder, links,
            two of one name, encrypted ones, sizes that a pack does not have); damage found while reading.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
            _check_sizes(path, listed)
            seen: set[str] = set()
            for info in listed:
                _check_member(path, info, seen)
            if MANIFEST in seen and listed[0].filename != MANIFEST:
                refuse(path, f"{MANIFEST} is there, but not as the first file", BY_HAND)
            if not listed or listed[0].filename != MANIFEST:
                refuse(
                    path,
                    f"its first file is not {MANIFEST}",
                    "`ovbench pack` makes packs; this is none of them",
                )
            yield archive, listed
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise IntegrityError(f"the pack is damaged: {error}", where=path, hint=AGAIN) from error


def read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member in pieces, never more than its stated size."""
    left = info.file_size
    with archive.open(info) as stream:
        while chunk := stream.read(1 << 20):
            left -= len(chunk)
            if left < 0:
                refuse(path, f"'{info.filename}' is larger than the archive says")
            yield chunk


def checked_index(
    where: Path, source: Any, listed: list[zipfile.ZipInfo] | None = None
) -> tuple[Files, Runs]:
    """`files` and `runs` of a `pack.json`, checked to be of our form.

    Args:
        source: its parsed JSON, or with `listed` the open archive, whose members must be those that it lists.

    Raises:
        IntegrityError: it is not of our form, or lists other files than there are.
    """
    about = source if listed is None else _parsed(where, b"".join(read_member(where, source, listed[0])))
    if not isinstance(about, dict) or about.get("format") != 1:
        found = about.get("format") if isinstance(about, dict) else None
        refuse(where, f"{MANIFEST} is not of format 1 but of {found!r}", "a newer ovbench may read it")
    files, runs = about.get("files"), about.get("runs")
    if not isinstance(files, dict) or not isinstance(runs, dict) or not runs:
        refuse(where, f"{MANIFEST} does not list files and runs")
    for name, stated in files.items():
        check_name(where, name)
        if not _is_entry(stated):
            refuse(where, f"{MANIFEST} does not give bytes and SHA-256 of '{name}'")
    folders = {name.partition("/")[0] for name in files}
    if folders != set(runs) or not all(isinstance(facts, dict) for facts in runs.values()):
        refuse(where, f"{MANIFEST} lists files of other runs than it names")
    _check_label_maps(where, files, runs)
    if listed is not None:
        names = {info.filename for info in listed[1:]}
        for name in sorted(names ^ set(files)):
            refuse(where, f"'{name}' is {'missing' if name in files else f'not listed in {MANIFEST}'}")
    return files, runs


def check_name(where: object, name: str) -> None:
    """Raise `IntegrityError` unless `name` is a path below the folder that a pack is unpacked to, and one of ours."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\\" in name:
        refuse(where, f"the path {name!r} is absolute or not written with '/': refused")
    if ".." in parts:
        refuse(where, f"the path {name!r} leaves the folder ('..'): refused")
    odd = any(not part.isprintable() or part in ("", ".") or part.startswith(".") for part in parts)
    if odd or PurePosixPath(name).as_posix() != name or _too_long(parts):
        hint = BY_HAND if name.endswith("/") else AGAIN
        refuse(where, f"the path {name!r} is not one that a pack holds", hint)
    if name != MANIFEST and not _INSIDE.fullmatch(name):
        refuse(where, f"the file {name!r} does not belong to a run")


def _too_long(parts: list[str]) -> bool:
    """Longer than file systems take names, in bytes."""
    sizes = [len(part.encode()) for part in parts]
    return max(sizes) > LONGEST_NAME or sum(sizes) > LONGEST_PATH


def _check_label_maps(where: object, files: Mapping[str, Any], runs: Mapping[str, Any]) -> None:
    """Label maps belong to videos with a record, and are there where `pack.json` says so."""
    packed = set()
    for name in files:
        run, kind, *rest = name.split("/")
        if kind == "predictions":
            packed.add(run)
            if f"{run}/records/{rest[0]}.json" not in files:
                refuse(where, f"the file {name!r} is a label map of a video that the run does not have")
    for run, facts in runs.items():
        if facts.get("label_maps", run in packed) != (run in packed):
            there = "holds label maps" if run in packed else "holds no label maps"
            refuse(
                where, f"{MANIFEST} says of '{run}' that label_maps is {facts['label_maps']!r}; it {there}"
            )


def _check_member(path: Path, info: zipfile.ZipInfo, seen: set[str]) -> None:
    if info.orig_filename != info.filename:
        refuse(path, f"the path {info.orig_filename!r} is not one that a pack holds")
    check_name(path, info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        refuse(path, f"'{info.filename}' is {what}: refused")
    if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        refuse(path, f"'{info.filename}' is encrypted, or packed in a way that we do not use")
    same = unicodedata.normalize("NFC", info.filename).casefold()  # one file on some systems
    if same in seen:
        refuse(path, f"'{info.filename}' is there twice")
    seen.add(same)


def _check_sizes(path: Path, listed: list[zipfile.ZipInfo]) -> None:
    packed, total = path.stat().st_size, sum(info.file_size for info in listed)
    if len(listed) > MOST_FILES or total > min(MOST_BYTES, ROOM + MOST_GROWTH * packed):
        refuse(
            path,
            f"{len(listed)} files of {total} bytes in an archive of {packed}: no pack of runs grows like that; "
            "nothing was unpacked",
        )


def _is_entry(stated: Any) -> bool:
    if not isinstance(stated, Mapping):
        return False
    size, digest = stated.get("bytes"), stated.get("sha256")
    return type(size) is int and size >= 0 and isinstance(digest, str) and bool(_SHA256.fullmatch(digest))


def _parsed(where: Path, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{MANIFEST} is no JSON: {error}", where=where, hint=AGAIN) from error
