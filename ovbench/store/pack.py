"""Finished runs in one file that another machine can check: a zip whose first member lists the hash of all others.

    pack.json                      format, runs, and bytes and SHA-256 of every other file
    RUN/manifest.json, summary.json, timing.json
    RUN/records/VIDEO.json
    RUN/predictions/VIDEO/FRAME.png   (where the label maps are packed too)

Equal runs give equal archives: members are sorted, and carry no times, owners or names of machines.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ovbench
from ovbench.core.errors import IntegrityError, UserError
from ovbench.core.hashing import canonical_json, hash_file
from ovbench.core.paths import cache_dir, check_id

from .atomic import TEMPORARY_SUFFIX
from .packread import MANIFEST, checked_index, members, read_member
from .predictions import frames_on_disk
from .record import read_json
from .rundir import RunDir

FORMAT = 1
SUFFIX = ".zip"

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_PLAIN_FILE = 0o100644 << 16


@dataclass(frozen=True)
class Pack:
    """What a pack says of itself.

    `content` is the SHA-256 of its list of files: the same for equal contents, whoever compressed them.
    """

    runs: Mapping[str, Mapping[str, Any]]  # folder -> facts
    files: Mapping[str, Mapping[str, Any]]  # path -> bytes, sha256
    content: str


def write_pack(out: Path, runs: Mapping[str, Path], facts: Mapping[str, Any], predictions: bool) -> Pack:
    """Write runs into a new archive.

    Args:
        out: a file that may be half-written while this goes on.
        runs: name in the archive -> run folder.
        facts: the same names -> what the archive says about each run.
        predictions: pack the label maps too.
    """
    sources = {f"{name}/{inner}": path for name in runs for inner, path in _files(runs[name], predictions)}
    index = {
        name: {"bytes": path.stat().st_size, "sha256": hash_file(path)} for name, path in sources.items()
    }
    index = dict(sorted(index.items()))
    about = {
        "what": "runs of ovbench",
        "format": FORMAT,
        "ovbench": ovbench.__version__,
        "runs": facts,
        "files": index,
    }
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(_member(MANIFEST), canonical_json(about) + "\n", zipfile.ZIP_DEFLATED, 9)
        for name in index:
            kind = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(_member(name), sources[name].read_bytes(), kind, 9)
    return Pack(dict(facts), index, _content(index))


def is_pack(path: Path) -> bool:
    """Whether a path means a packed file (by its ending; what is in it is checked when it is read)."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def check_folder(folder: Path) -> Pack:
    """Read every file of an unpacked pack and compare it with the list of files.

    Raises:
        IntegrityError: a file is missing, left over or changed; or `pack.json` is not as we write it.
    """
    files, runs = checked_index(folder, read_json(folder / MANIFEST))
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()}
    for name in sorted(there ^ {*files, MANIFEST}):
        what = "is missing" if name in files else "is not in the list of files"
        raise IntegrityError(f"'{name}' {what}", where=folder, hint="unpack the archive again")
    for name in files:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise IntegrityError(f"'{name}' is no plain file", where=folder, hint="unpack the archive again")
        with open(path, "rb") as stream:
            _hashed(folder, name, iter(lambda: stream.read(1 << 20), b""), files[name])
    return Pack(runs, files, _content(files))


def unpacked(path: Path, again: bool = False) -> Path:
    """A folder with the checked contents of a pack: `<cache>/packs/<sha256>`, made when it is first asked for.

    Args:
        again: make it anew in any case.

    Raises:
        IntegrityError: the archive is damaged or was tampered with; the message names the member and the reason.
            Nothing of it is left on the disk, and nothing is ever written outside the folder.
        UserError: there is no such file; the cache folder cannot be written.
    """
    final = cache_dir("packs", hash_file(path))
    if again:
        shutil.rmtree(final, ignore_errors=True)
    if final.is_dir():
        return final
    temporary = final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        temporary.mkdir(parents=True)
        _extract(path, temporary)
        try:
            temporary.rename(final)
        except OSError:
            if not final.is_dir():  # else another process was faster
                raise
    except OSError as error:
        raise UserError(
            f"the pack cannot be unpacked: {error.strerror or error}",
            where=final.parent,
            hint="make room there, or set OVBENCH_CACHE to another folder",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def name_in_pack(run: RunDir) -> str:
    """What a run is called in a pack: its folder's name, or method, variant and key where that is only the key."""
    manifest, name = run.manifest(), run.path.resolve().name
    key = str(manifest["run_key"])[:10]
    if re.match(rf"{key}\b", name) or name == "run":
        method = manifest["method"]
        name = "-".join(filter(None, (str(method["id"]), str(method.get("variant", "")), name)))
    return check_id("run folder", name)


def _extract(path: Path, into: Path) -> None:
    with members(path) as (archive, listed):
        files, _ = checked_index(path, archive, listed)
        for info in listed:
            target = into / info.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as stream:
                chunks = _written(stream, read_member(path, archive, info))
                if info.filename == MANIFEST:
                    for _ in chunks:
                        pass
                else:
                    _hashed(path, info.filename, chunks, files[info.filename])


def _written(stream: Any, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        stream.write(chunk)
        yield chunk


def _hashed(where: Path, name: str, chunks: Iterator[bytes], stated: Mapping[str, Any]) -> None:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    if size != stated["bytes"] or digest.hexdigest() != stated["sha256"]:
        raise IntegrityError(
            f"'{name}' is not the file that was packed: SHA-256 {digest.hexdigest()[:12]}, {size} bytes; "
            f"{MANIFEST} says {stated['sha256'][:12]}, {stated['bytes']} bytes",
            where=where,
            hint="get the pack again from who made it",
        )


def _content(files: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(files).encode()).hexdigest()


def _files(folder: Path, predictions: bool) -> Iterator[tuple[str, Path]]:
    """(name below the run's folder, file) of all that is packed."""
    run = RunDir(folder)
    videos: Sequence[str] = run.manifest()["videos"]
    for path in (run.manifest_path, run.summary_path, run.timing_path):
        if path.is_file():
            yield path.name, path
    for video_id in videos:
        yield f"records/{video_id}.json", run.record_path(video_id)
        if predictions:
            for frame, path in frames_on_disk(run.predictions_path / video_id).items():
                yield f"predictions/{video_id}/{frame}.png", path


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3  # Unix, whatever this machine is
    info.external_attr = _PLAIN_FILE
    return info
