"""What a table is made of, and the runs it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ovbench.core.errors import IntegrityError, OvbenchError
from ovbench.engine.records import CountedVideo, read_records
from ovbench.metrics.sample import run_sample
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.stats.bootstrap import Sample
from ovbench.store.rundir import RunDir

_NEEDED = ("protocol", "method", "videos")


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
    has no values. `rank` is None for rows that are not ranked.
    """

    name: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    rank: int | None = None
    tied: bool = False
    marks: tuple[str, ...] = ()
    note: str = ""
    seeds: int = 1
    runs: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class Run:
    """A run folder, read. `summary` is None while the run is not finished."""

    path: Path
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    timing: Mapping[str, Any] | None

    @classmethod
    def open(cls, path: str | Path, *, unfinished: bool = False) -> Run:
        """Read a run folder.

        Raises:
            UserError: the folder holds no run.
            IncompleteError: the run has no summary yet and `unfinished` is False.
            IntegrityError: a file in it is damaged.
        """
        folder = RunDir(path)
        manifest = folder.manifest()
        absent = [key for key in _NEEDED if key not in manifest]
        if absent:
            raise IntegrityError(
                f"the manifest lacks {', '.join(absent)}: no run of ours has written it",
                where=folder.manifest_path,
                hint="leave this folder out, or run again with --fresh",
            )
        waiting = unfinished and not folder.summary_path.is_file()
        return cls(folder.path, manifest, None if waiting else folder.summary(), folder.timing())

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
    def partial(self) -> str | None:
        """Why this is not a whole run by request, or None."""
        found: str | None = self.manifest.get("partial")
        return found

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
        """All videos with their integer counts; raises `IntegrityError` when one is damaged."""
        return read_records(RunDir(self.path), self.videos)

    def sample(self, protocol: Protocol, convention: str | None = None) -> Sample:
        """The run as per-video sums, for intervals and paired tests; under the protocol's convention or another."""
        return run_sample(protocol, self.records, convention=convention)


def installed_protocol(wanted: Mapping[str, Any], path: str | None = None) -> Protocol | None:
    """The protocol that runs name, if this installation (or the file `path`) has the very same one."""
    try:
        protocol = load_protocol(path or str(wanted["id"]))
    except OvbenchError:
        if path is not None:
            raise
        return None
    return protocol if protocol.hash == wanted["hash"] else None
