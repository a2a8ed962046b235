"""From the word that a user gives to a backend: `--flow dis`, `dis-fb`, `raft-small=PATH`, `files=DIR`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovbench.core.errors import UserError, unknown
from ovbench.core.hashing import hash_file

from .base import FlowBackend

CHECKED = "-fb"
"""Appended to a backend's name: occluded pixels are left out, found by the flow back to frame t."""

KINDS = {
    "dis": "OpenCV DIS, preset medium (the usual choice)",
    "dis-fast": "OpenCV DIS, preset fast",
    "dis-ultrafast": "OpenCV DIS, preset ultrafast",
    "farneback": "OpenCV Farneback",
    "raft-small": "torchvision RAFT, small; raft-small=WEIGHTS",
    "raft-large": "torchvision RAFT, large; raft-large=WEIGHTS",
    "files": "flow on disk; files=DIR",
}
"""Backends by name, and what each is."""

_RAFT = ("raft-small", "raft-large")


@dataclass(frozen=True)
class FlowSpec:
    """A backend as asked for. `name` becomes part of the metric's name (`tc-dis-fb`)."""

    kind: str
    path: Path | None = None
    checked: bool = False  # occluded pixels are left out

    @property
    def name(self) -> str:
        """As in the records and tables."""
        return self.kind + (CHECKED if self.checked else "")

    @property
    def needs_images(self) -> bool:
        """Whether photographs are opened."""
        return self.kind != "files"

    @property
    def needs_models(self) -> bool:
        """Whether torch computes it."""
        return self.kind in _RAFT


def parse(text: str) -> FlowSpec:
    """`KIND[-fb][=PATH]`; raises `UserError` for anything else."""
    name, equals, path = text.partition("=")
    checked = name.endswith(CHECKED)
    kind = name.removesuffix(CHECKED)
    if kind not in KINDS:
        raise unknown("flow backend", kind, KINDS)
    takes_path = kind in _RAFT or kind == "files"
    if equals and not (path and takes_path):
        reason = "takes no path" if not takes_path else "is given an empty path"
        raise UserError(f"the flow backend '{name}' {reason}", where=f"--flow {text}", hint=KINDS[kind])
    return FlowSpec(kind, Path(path).expanduser() if path else None, checked)


def parse_all(texts: Iterable[str]) -> tuple[FlowSpec, ...]:
    """All backends of a run, sorted by name; raises `UserError` where two would have one name."""
    specs = sorted({parse(t) for t in texts}, key=lambda s: (s.name, str(s.path)))
    for one, two in zip(specs, specs[1:], strict=False):
        if one.name == two.name:
            raise UserError(
                f"two flows named '{one.name}': {one.path} and {two.path}", hint="give each a run of its own"
            )
    return tuple(specs)


def key_parts(spec: FlowSpec, video_ids: Sequence[str], device: str) -> dict[str, Any]:
    """What decides the flow, for the run key. This is where a missing package or file is found out.

    Raises:
        UserError: the package, the weights or the folder are missing.
    """
    if spec.kind == "files":
        from .files import check_folder, stamp

        folder = check_folder(spec.path)
        return {"name": spec.name, "folder": folder.resolve().name, "stamp": stamp(folder, video_ids)}
    if spec.kind in _RAFT:
        from .raft import UPDATES, check_weights

        weights = hash_file(check_weights(spec.kind, spec.path))
        return {"name": spec.name, "weights": weights, "updates": UPDATES, "device": device}
    from .opencv import options

    return {"name": spec.name, **options(spec.kind)}


def open_backend(spec: FlowSpec, threads: int = 1, device: str = "cpu") -> FlowBackend:
    """The backend, ready to compute.

    Raises:
        UserError: see `key_parts`; also weights that are damaged or of another network.
    """
    if spec.kind == "files":
        from .files import FileFlow, check_folder

        return FileFlow(check_folder(spec.path))
    if spec.kind in _RAFT:
        from .raft import RaftFlow

        return RaftFlow(spec.kind, spec.path, threads, device)
    from .opencv import OpenCvFlow

    return OpenCvFlow(spec.kind, threads)
