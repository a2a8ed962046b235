"""What a table is made of, and the runs it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ovbench.core.errors import IntegrityError, OvbenchError, UserError
from ovbench.engine.records import CountedVideo, read_records
from ovbench.metrics.sample import run_sample
from ovbench.protocol.load import load_protocol, protocol_ids
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import Sample
from ovbench.store.pack import is_pack, unpacked
from ovbench.store.rundir import RunDir

from .extent import limits
from .sound import sound_manifest, sound_summary, sound_timing

FEW_VIDEOS = 8
"""With fewer videos than this no interval means much (docs/statistics.md)."""


@dataclass(frozen=True)
class Cell:
    """One value of a row; None where undefined or missing.

    `low`, `high`: 95 % interval over videos. `sd`: standard deviation over training seeds.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Column:
    """One quantity: `key` is its name in data ("unseen.miou"), `title` its heading."""

    key: str
    title: str
    digits: int = 1
    interval: bool = False  # show the interval beside the value


@dataclass(frozen=True)
class Row:
    """One method (or several training seeds of it).

    `marks` are short words with a footnote each ("control", "untrained", ...); `note` says why a row
    has no values. `rank` is None for rows that are not ranked; `tied`: another row has the same rank.
    """

    name: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    rank: int | None = None
    tied: bool = False
    marks: tuple[str, ...] = ()
    note: str = ""
    seeds: int = 1
    runs: tuple[str, ...] = ()
    group: str = ""

    def cell(self, key: str) -> Cell:
        """The cell of a column; an empty one where there is no value."""
        return self.cells.get(key, Cell())


@dataclass(frozen=True)
class Table:
    """Rows that may be compared with each other: one protocol version, the same videos."""

    title: str
    protocol: Mapping[str, Any]  # id, version, hash
    headline: str  # key of the column that sorts the rows
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, Any] = field(default_factory=dict)
    convention: str = ""
    partial: str | None = None
    grouped: str = ""  # by what, one of `grouping.BY`


@dataclass(frozen=True)
class Run:
    """A run folder, read. `summary` is None while the run is not finished."""

    path: Path
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    timing: Mapping[str, Any] | None

    @classmethod
    def open(cls, path: str | Path, *, unfinished: bool = False) -> Run:
        """Read a run folder; a file of the run that lies in it (summary.json) stands for it.

        Raises:
            UserError: there is no such folder, or it holds no run.
            IncompleteError: the run has no summary yet and `unfinished` is False.
            IntegrityError: a file in it is damaged.
        """
        folder = RunDir(folder_of(path))
        manifest = sound_manifest(folder.manifest(), folder.manifest_path)
        waiting = unfinished and not folder.summary_path.is_file()
        summary = None if waiting else sound_summary(folder.summary(), folder.summary_path)
        timing = folder.timing()
        return cls(folder.path, manifest, summary, timing and sound_timing(timing, folder.timing_path))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """id, version and hash of the protocol."""
        found: Mapping[str, Any] = self.manifest["protocol"]
        return found

    @property
    def method(self) -> Mapping[str, Any]:
        """The facts about the method."""
        found: Mapping[str, Any] = self.manifest["method"]
        return found

    @property
    def profile(self) -> str:
        """Which of a method's networks it was: the option `profile`; "" for methods with one network."""
        resolved = (self.manifest.get("options") or {}).get("resolved") or {}
        found = (self.method.get("options") or {}).get("profile") or resolved.get("profile")
        return str(found or (self.manifest.get("facts") or {}).get("profile") or "")

    @cached_property
    def partial(self) -> str | None:
        """Why this is not a whole run, or None; held against the protocol's own videos where these are known here.

        Raises:
            IntegrityError: a video that the protocol does not have.
        """
        protocol = installed_protocol(self.protocol)
        stated: str | None = self.manifest.get("partial")
        return stated if protocol is None else limits(self, protocol)

    @property
    def videos(self) -> tuple[str, ...]:
        """Ids of the videos asked for, in protocol order."""
        return tuple(self.manifest["videos"])

    @property
    def complete(self) -> bool:
        """Whether every video asked for is in the summary."""
        return self.summary is not None and bool(self.summary["complete"])

    @cached_property
    def records(self) -> list[CountedVideo]:
        """All videos with their integer counts.

        Raises:
            IntegrityError: one is damaged, missing, or of another run than the summary.
        """
        found = read_records(RunDir(self.path), self.videos, self.manifest.get("run_key"))
        absent = sorted({*self.videos} - {r.video_id for r in found}) if self.complete else []
        if absent:
            raise IntegrityError(
                f"{len(absent)} of {len(self.videos)} records are missing, first that of video '{absent[0]}'",
                where=self.path,
                hint="give the command of this run again: it does what is missing; or leave this folder out",
            )
        return found

    def sample(self, protocol: Protocol, convention: str | None = None) -> Sample:
        """The run as per-video sums, for intervals and paired tests; under the protocol's convention or another."""
        return run_sample(protocol, self.records, convention=convention)


def folder_of(path: str | Path) -> Path:
    """The folder that a path means: itself, where the summary.json or manifest.json named lies, or that of a pack
    (of its run, where it holds a single one), unpacked in the cache.

    Raises:
        UserError: there is nothing at this path.
        IntegrityError: a pack that is damaged or was tampered with.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            "there is no such file or folder", where=path, hint="give a run folder or its summary.json"
        )
    if is_pack(path):
        folder = unpacked(path)
        runs = [entry for entry in folder.iterdir() if entry.is_dir()]
        return runs[0] if len(runs) == 1 else folder
    return path.parent if path.is_file() and path.name in ("summary.json", "manifest.json") else path


def required_protocol(
    wanted: Mapping[str, Any], path: str | None, where: object, what: str = "this"
) -> Protocol:
    """The very protocol that runs name; `where` are their folders, `what` says who needs it.

    Raises:
        UserError: this installation (or the file `path`) does not have it.
    """
    found = installed_protocol(wanted, path)
    if found is not None:
        return found
    hint = "give the file that the run was made with: --protocol FILE.toml"
    if path is None and str(wanted["id"]) not in protocol_ids():
        raise UserError(
            f"unknown protocol '{wanted['id']}': {what} needs the protocol of the run, and this one does not come "
            "with ovbench",
            where=where,
            hint=hint,
        )
    here = load_protocol(path or str(wanted["id"]))  # says what is wrong with it, if anything is
    raise UserError(
        f"{what} needs the protocol that the run was made with, '{wanted['id']}' v{wanted['version']} "
        f"{str(wanted['hash'])[:12]}; here is another version of protocol '{here.id}', v{here.version} "
        f"{here.hash[:12]}",
        where=where,
        hint=f"run again, or {hint}",
    )


def installed_protocol(wanted: Mapping[str, Any], path: str | None = None) -> Protocol | None:
    """The protocol that runs name, if this installation (or the file `path`) has the very same one."""
    key = (str(wanted["id"]), str(wanted["hash"]))
    if path is None and key in _installed:
        return _installed[key]
    try:
        protocol = load_protocol(path or key[0])
    except OvbenchError:
        if path is not None:
            raise
        return None
    if protocol.hash != wanted["hash"]:
        return None
    if path is None:
        _installed[key] = protocol
    return protocol


_installed: dict[tuple[str, str], Protocol] = {}
