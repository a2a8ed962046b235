"""Run folders made by the real counting, scoring and storing code, without a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ovbench.core.paths import room
from ovbench.engine.records import decode
from ovbench.metrics.counts import counter_for
from ovbench.metrics.score import summarize
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.store.record import Record
from ovbench.store.rundir import RunDir

PROTOCOL = "camvid-8-3-gzs"
VIDEOS = tuple(f"v{i}" for i in range(8))


def truth_of(video: str, frames: int = 4, salt: int = 0) -> list[np.ndarray]:
    """Masks with all 11 classes of CamVid and some void, moving a little."""
    rng = np.random.default_rng(int(video[1:]) + 100 * salt)
    first = rng.integers(0, 12, (6, 8)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    return [np.roll(first, t, axis=1) for t in range(frames)]


def predict(truth: np.ndarray, right: float, rng: np.random.Generator) -> np.ndarray:
    """Label maps that agree with the truth on a share of the pixels and are class 0..10 elsewhere."""
    guess = rng.integers(0, 11, truth.shape).astype(np.uint8)
    return np.where((rng.random(truth.shape) < right) & (truth < 11), truth, guess)


def make_run(
    path: Path,
    right: float,
    *,
    method: str = "maskclip",
    variant: str = "",
    kind: str = "image",
    weights: str | None = None,
    untrained: bool = False,
    options: dict[str, Any] | None = None,
    videos: tuple[str, ...] = VIDEOS,
    partial: str | None = None,
    seed: int = 0,
    salt: int = 0,
    unfinished: bool = False,
    protocol: Protocol | None = None,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write a run whose predictions are right with probability `right`."""
    protocol = protocol or load_protocol(PROTOCOL)
    folder = RunDir(path)
    facts = {
        "id": method, "variant": variant, "kind": kind, "title": method, "options": options or {},
        "weights": weights, "weights_sha256": weights and weights * 2, "untrained": untrained,
    }  # fmt: skip
    manifest = {
        "protocol": {"id": protocol.id, "version": protocol.version, "hash": protocol.hash},
        "method": facts, "options": {"given": options or {}, "resolved": options or {}},
        "videos": list(videos), "partial": partial, "frames": None, "run_key": "k",
        "data": {"dataset": protocol.dataset.name},
    }  # fmt: skip
    folder.write_manifest({**manifest, **(changes or {})})
    rng = np.random.default_rng(seed)
    records = []
    for video in videos:
        counter = counter_for(protocol)
        for truth in truth_of(video, salt=salt):
            counter.update(truth, predict(truth, right, rng))
        record = Record(video, "k", counter.finish().to_json())
        folder.write_record(record)
        records.append(record)
    if unfinished:
        return path
    counted = [decode(r) for r in records]
    folder.write_summary(summarize(protocol, counted, facts, partial=partial, expected_videos=videos))
    folder.write_timing({"frames_per_second": 100 * right, "device": "cpu", "threads": 1, "jobs": 1})
    return path


def own_protocol(folder: Path) -> Path:
    """A user's own protocol file: CamVid's, under another id and version."""
    text = (room("protocols") / f"{PROTOCOL}.toml").read_text()
    path = folder / "mine.toml"
    path.write_text(
        re.sub(r"(?m)^version = \d+", "version = 77", text.replace(f'id = "{PROTOCOL}"', 'id = "mine"'))
    )
    return path
