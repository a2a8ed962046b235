"""Small runs that engine tests share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovbench.core.types import LabelMap
from ovbench.datasets.base import Video
from ovbench.engine.plan import Request
from ovbench.methods.base import Segmenter

REPOSITORY = Path(__file__).resolve().parents[1]
WORLD = Request(method="random", protocol="world-27-9", videos=3, frames=10, jobs=1)


def request(**changes: Any) -> Request:
    """A run of the world, three short videos."""
    return replace(WORLD, **changes)


def counts(out: Path) -> dict[str, Any]:
    """The counts of every record of a run."""
    return {p.stem: json.loads(p.read_text())["counts"] for p in sorted((out / "records").glob("*.json"))}


def ovbench(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(command(*arguments), **_keywords(environment), capture_output=True, timeout=120)


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start the command line and do not wait."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command(*arguments),
        **_keywords(environment),
        stdout=quiet,
        stderr=quiet,
        # A suite that a script starts in the background ignores SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def command(*arguments: object) -> Sequence[str]:
    return [sys.executable, "-m", "ovbench", *map(str, arguments)]


def _keywords(environment: dict[str, str]) -> dict[str, Any]:
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {"env": {**os.environ, "PYTHONPATH": paths, **environment}, "text": True}


class Scripted(Segmenter):
    """Gives out what a test tells it to."""

    def __init__(self, maps: Sequence[LabelMap]) -> None:
        self.maps = maps

    def segment(self, video: Video) -> Iterator[LabelMap]:
        yield from self.maps
