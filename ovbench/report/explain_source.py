"""What an explanation can draw on: a run with its records, or only what a summary says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import IntegrityError, UserError
from ovbench.engine.records import CountedVideo
from ovbench.protocol.schema import Protocol
from ovbench.store.pack import is_pack
from ovbench.store.record import read_json
from ovbench.store.rundir import RunDir

from .find import refuse_many
from .model import Run, folder_of, installed_protocol
from .names import method_name
from .verified import verify

_NEEDED = ("protocol", "method", "convention", "scores", "per_class", "temporal", "intervals", "counts")


@dataclass(frozen=True)
class Source:
    """A summary and, where they are there, the protocol and the records it was made from.

    `lacking` says why there are no records to explain from; None where everything is there.
    """

    path: Path
    summary: Mapping[str, Any]
    name: str  # of the method
    protocol: Protocol | None
    records: Sequence[CountedVideo]
    lacking: str | None

    @property
    def full(self) -> bool:
        """Whether everything can be derived again from the records."""
        return self.lacking is None

    def need(self, what: str) -> Protocol:
        """The protocol, or a `UserError` that says why `what` cannot be shown."""
        if self.lacking is not None or self.protocol is None:
            raise UserError(
                f"{what} needs the records of the run: {self.lacking}",
                where=self.path,
                hint="explain the run folder itself, with the protocol it was made with "
                "(--protocol FILE.toml for your own)",
            )
        return self.protocol


def open_source(path: str | Path, protocol: str | None = None) -> Source:
    """Read a run folder, or a summary.json with or without the run around it.

    Args:
        protocol: the user's own protocol file, where the run was made with one.

    Raises:
        UserError: there is no such file, or it is no summary.
        IncompleteError: the run is not finished.
        IntegrityError: a stored file is damaged, or records are missing that the summary counts.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            "there is no such file or folder", where=path, hint="give a run folder or its summary.json"
        )
    path = folder_of(path) if is_pack(path) else path
    folder = path if path.is_dir() else path.parent
    inside_run = (folder / "manifest.json").is_file() and (path.is_dir() or path.name == "summary.json")
    if inside_run:
        return _of_run(Run.open(folder), protocol)
    file = folder / "summary.json" if path.is_dir() else path
    if not file.is_file():
        refuse_many(folder)
        RunDir(folder).manifest()  # says that this is no run
    return _alone(file)


def _of_run(run: Run, path: str | None) -> Source:
    assert run.summary is not None
    summary = _checked(run.summary, run.path / "summary.json")
    name = method_name(run.method, run.manifest.get("options", {}).get("given"))
    if summary["protocol"] != dict(run.protocol):
        raise IntegrityError(
            "summary and manifest name different protocols", where=run.path, hint="run again with --fresh"
        )
    protocol = installed_protocol(run.protocol, path)
    lacking = _lacking(run, protocol)
    if lacking is not None or protocol is None:
        return Source(run.path, summary, name, protocol, (), lacking)
    verify(run, protocol)
    return Source(run.path, summary, name, protocol, run.records, None)


def _lacking(run: Run, protocol: Protocol | None) -> str | None:
    about = run.protocol
    if protocol is None:
        return (
            f"this installation does not have {about['id']} v{about['version']} {str(about['hash'])[:12]}, "
            "with which the run was made; --protocol FILE.toml names your own"
        )
    if not RunDir(run.path).finished():
        return "the records of the run are not there"
    return None


def _alone(path: Path) -> Source:
    summary = _checked(read_json(path), path)
    return Source(
        path, summary, method_name(summary["method"]), None, (), "there is only a summary, no run around it"
    )


def _checked(summary: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(summary, Mapping):
        raise UserError(
            "this file is not a summary of ours", where=path, hint="give a run folder or its summary.json"
        )
    absent = [key for key in _NEEDED if key not in summary]
    if absent:
        raise UserError(
            f"this file is not a summary of ours: it lacks {', '.join(absent)}",
            where=path,
            hint="give a run folder or its summary.json",
        )
    return summary
