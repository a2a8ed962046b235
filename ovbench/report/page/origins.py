"""Where the numbers of a run come from: what made it, from what, and how anybody can check it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.methods.options import show
from ovbench.report.model import Run


@dataclass(frozen=True)
class Origin:
    """One run, said in (label, value) pairs; `folder` is as it was named or below the folder in which the page was
    made, never a whole path of somebody's machine."""

    folder: str
    facts: tuple[tuple[str, str], ...]
    command: str
    check: str


def origin_of(run: Run, protocol: str | None = None) -> Origin:
    """What a reader needs to trace a number of this run; `protocol`: the user's own file that it needs."""
    manifest = run.manifest
    folder = _named(run.path)
    check = ["ovbench", "explain", folder]
    key: Mapping[str, Any] = manifest.get("key") or {}
    git: Mapping[str, Any] = manifest.get("git") or {}
    facts = {
        "run key": manifest.get("run_key"),
        "method": _method(run),
        "options set by hand": _given(manifest),
        "weights": run.method.get("weights"),
        "weights SHA-256": run.method.get("weights_sha256"),
        "trained on": "; ".join(run.method.get("trained_on") or ()),
        "protocol": f"{run.protocol['id']} v{run.protocol['version']}",
        "protocol hash": run.protocol["hash"],
        "vocabulary hash": key.get("vocabulary"),
        "code hash": key.get("code"),
        "commit": _commit(git),
        "versions": _pairs(manifest.get("versions")),
        "machine": _pairs(manifest.get("hardware")),
        "videos": f"{len(run.videos)}" + (f" ({run.partial})" if run.partial else ""),
        "begun": manifest.get("created"),
    }
    return Origin(
        folder,
        tuple((label, str(value)) for label, value in facts.items() if value not in (None, "")),
        _command(manifest),
        shlex.join([*check, "--protocol", _named(Path(protocol))] if protocol else check),
    )


def _named(path: Path) -> str:
    """A path as seen from here: nothing that tells where on a machine this is."""
    if not path.is_absolute():
        return str(path)
    here = Path.cwd()
    return str(path.relative_to(here)) if path != here and path.is_relative_to(here) else path.name


def _method(run: Run) -> str:
    method = run.method
    name = ":".join(str(part) for part in (method["id"], method.get("variant")) if part)
    title = str(method.get("title") or "")
    kind = str(method.get("kind") or "")
    beside = ", ".join(text for text in (title if title != name else "", kind) if text)
    return f"{name} ({beside})" if beside else name


def _given(manifest: Mapping[str, Any]) -> str:
    given = (manifest.get("options") or {}).get("given") or {}
    return ", ".join(f"{key}={show(value)}" for key, value in sorted(given.items()))


def _commit(git: Mapping[str, Any]) -> str:
    commit = str(git.get("commit") or "")
    return f"{commit[:12]} with changes" if commit and git.get("dirty") else commit[:12]


def _pairs(found: object) -> str:
    if not isinstance(found, Mapping):
        return ""
    return ", ".join(
        f"{str(key).replace('_', ' ')} {value}" for key, value in found.items() if value not in (None, "")
    )


def _command(manifest: Mapping[str, Any]) -> str:
    """The command that finished the run, or "" where none was kept."""
    sessions = manifest.get("sessions") or []
    words = sessions[-1].get("command") if sessions else None
    return shlex.join(map(str, words)) if words else ""
