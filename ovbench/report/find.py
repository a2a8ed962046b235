"""Which runs are meant: found below a folder, or named; sorted into groups that may share a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ovbench.core.errors import UserError
from ovbench.store.pack import is_pack, unpacked
from ovbench.store.rundir import RunDir

from .model import Run, folder_of

RUNS = Path("runs")
"""Where `ovbench run` puts its folders, hence where tables look."""


class AllPartial(UserError):
    """Nothing but partial runs, and nobody asked for them."""


@dataclass(frozen=True)
class Group:
    """Runs that may share a table: one protocol version, the same videos, the same limits."""

    runs: tuple[Run, ...]
    partial: str | None
    left_out: int  # runs that a table was not asked to show (partial ones)


def open_runs(folders: Sequence[str | Path]) -> list[Run]:
    """The runs in these folders, or below them; without any, all below ./runs.

    Unfinished runs are included where they were found, not named; those in which nothing was done are not.

    Raises:
        UserError: a folder holds no run, or none was found.
        IncompleteError: a folder that was named holds an unfinished run.
    """
    if folders:
        return [run for folder in dict.fromkeys(map(Path, folders)) for run in _opened(folder)]
    found = _below(RUNS)
    if not found:
        raise UserError(
            "no runs were found", where=RUNS, hint="`ovbench demo` makes some; or name their folders"
        )
    return found


def _opened(folder: Path) -> list[Run]:
    folder = folder_of(folder)
    below = [] if (folder / "manifest.json").is_file() else _below(folder)
    return below or [Run.open(folder)]


def open_run(path: str | Path) -> Run:
    """One finished run, named by its folder or its summary.json.

    Raises:
        UserError: no such path, no run, or a folder that holds runs and is none (some are named).
        IncompleteError: the run is not finished.
    """
    refuse_many(folder_of(path))
    return Run.open(path)


def refuse_many(folder: Path) -> None:
    """Raise `UserError` for a folder that holds runs and is none."""
    if not folder.is_dir() or (folder / "manifest.json").is_file():
        return
    some = list(islice(find(folder), 4))
    if some:
        names = ", ".join(map(str, some[:3])) + (", ..." if len(some) > 3 else "")
        raise UserError("this folder holds runs and is none itself", where=folder, hint=f"name one: {names}")


def _below(root: Path) -> list[Run]:
    runs = [Run.open(folder, unfinished=True) for folder in find(root)]
    return [run for run in runs if run.summary is not None or RunDir(run.path).finished()]


def find(root: Path) -> Iterator[Path]:
    """Run folders at or below `root`, sorted by path; those in packs too, unpacked in the cache."""
    for path, folders, files in os.walk(root):
        if "manifest.json" in files:
            folders.clear()
            yield Path(path)
            continue
        folders.sort()
        for name in sorted(files):
            if is_pack(Path(path, name)):
                yield from find(unpacked(Path(path, name)))


def grouped(runs: Sequence[Run], *, protocol_id: str | None = None, partial: bool = False) -> list[Group]:
    """Runs sorted into tables, in the order of protocol ids, whole runs first.

    Args:
        protocol_id: only runs of this protocol.
        partial: also show runs that were limited to some videos or frames, each limit apart.

    Raises:
        UserError: one protocol id with two hashes, whole runs over different videos, or nothing left.
    """
    if protocol_id is not None:
        kept = [r for r in runs if r.protocol["id"] == protocol_id]
        if not kept:
            there = ", ".join(sorted({str(r.protocol["id"]) for r in runs}))
            raise UserError(f"no run is of protocol '{protocol_id}'", hint=f"there are runs of: {there}")
        runs = kept
    groups = [
        group
        for name in sorted({str(r.protocol["id"]) for r in runs})
        for group in _of_protocol([r for r in runs if r.protocol["id"] == name], partial)
    ]
    if not groups:
        raise AllPartial(
            f"{_all(len(runs))} partial (limited to some videos or frames)",
            hint="--partial shows them, in tables of their own",
        )
    return groups


def _all(number: int) -> str:
    return "the run is" if number == 1 else f"all {number} runs are"


def _of_protocol(runs: list[Run], partial: bool) -> Iterator[Group]:
    _check_hashes(runs)
    whole = [r for r in runs if r.partial is None]
    limited = [r for r in runs if r.partial is not None]
    if whole:
        _check_videos(whole)
        yield Group(tuple(whole), None, 0 if partial else len(limited))
    if partial:
        for key in dict.fromkeys((r.partial, r.videos) for r in limited):
            yield Group(tuple(r for r in limited if (r.partial, r.videos) == key), key[0], 0)


def _check_hashes(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs:
        if run.protocol["hash"] != first.protocol["hash"]:
            raise UserError(
                f"runs of two different versions of protocol '{run.protocol['id']}' cannot stand in one table: "
                f"v{first.protocol['version']} {first.protocol['hash'][:12]} and "
                f"v{run.protocol['version']} {run.protocol['hash'][:12]}",
                where=f"{first.path} and {run.path}",
                hint="run again what was made with the older version, or name only runs of one version",
            )


def _check_videos(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs:
        differing = sorted(set(first.videos) ^ set(run.videos))
        if differing:
            raise UserError(
                f"the runs are over different videos ({len(differing)} are in one only, first: '{differing[0]}')",
                where=f"{first.path} and {run.path}",
                hint="name runs over the same videos; `ovbench compare --common` pairs two of them",
            )
