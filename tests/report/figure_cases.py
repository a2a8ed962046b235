"""Runs with many classes of long names, and the geometry of a drawn figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ovbench.core.paths import room
from ovbench.engine.records import decode
from ovbench.metrics.counts import counter_for
from ovbench.metrics.score import summarize
from ovbench.protocol.load import load_protocol
from ovbench.protocol.schema import Protocol
from ovbench.report.figures.style import styled
from ovbench.report.model import Run
from ovbench.store.record import Record
from ovbench.store.rundir import RunDir

VIDEOS = tuple(f"v{i}" for i in range(8))
_FIRST = (
    "reinforced",
    "overhanging",
    "ornamental",
    "battery-powered",
    "$discounted$",
    "<script>",
    "_hidden",
    "large",
)
_SECOND = ("playground", "pedestrian", "supermarket", "grandstand", "agricultural", "ventilation", "fire")
_THIRD = ("equipment & toys", "crossing_sign_or_board", "escalator", "car", "umbrella or sunshade")


def long_names(count: int) -> list[str]:
    """Different names, some of nearly fifty letters and some with signs that other programs would act on."""
    every = [f"{a} {b} {c}" for c in _THIRD for b in _SECOND for a in _FIRST]
    return [every[9 * i % len(every)] for i in range(count)]  # 9 and 280 share no factor: all are different


def wide_protocol(folder: Path) -> Path:
    """124 classes with long names, 44 of them unseen: a file of a user's own."""
    rows = [f"{i},{name},{name},,{'thing' if i % 2 else 'stuff'},#{i:02x}{2 * i % 256:02x}80" for i, name in
            enumerate(long_names(124), 1)]  # fmt: skip
    (folder / "long.csv").write_text("raw_ids,name,clean,synonyms,kind,color\n" + "\n".join(rows) + "\n")
    text = (room("protocols") / "vspw-80-44-gzs.toml").read_text()
    path = folder / "wide.toml"
    path.write_text(
        text.replace('id = "vspw-80-44-gzs"', 'id = "wide"', 1).replace('"classes/vspw.csv"', '"long.csv"', 1)
    )
    return path


def make_wide_run(
    path: Path, protocol: Protocol, right: float, method: str, seed: int = 0, **facts: Any
) -> Run:
    """A run whose label maps are right with probability `right`; the truth is the same for every run."""
    folder = RunDir(path)
    about = {
        "id": method, "variant": "", "kind": "image", "title": method, "options": {}, "weights": None,
        "weights_sha256": None, "untrained": False, **facts,
    }  # fmt: skip
    folder.write_manifest({
        "protocol": {"id": protocol.id, "version": protocol.version, "hash": protocol.hash},
        "method": about, "options": {"given": {}, "resolved": {}}, "videos": list(VIDEOS), "partial": None,
        "frames": None, "run_key": "k", "data": {"dataset": protocol.dataset.name},
        "vocabulary": {"names": len(protocol.vocabulary)},
    })  # fmt: skip
    guesses = np.random.default_rng(seed)
    records = []
    for v, video in enumerate(VIDEOS):
        rng = np.random.default_rng(v)
        truth = rng.integers(1, 125, (14, 16)).repeat(2, 0).repeat(2, 1).astype(np.uint8)
        counter = counter_for(protocol)
        for _ in range(9):
            wrong = guesses.integers(0, 124, truth.shape).astype(np.uint8)
            counter.update(
                truth, np.where(guesses.random(truth.shape) < right, truth - 1, wrong).astype(np.uint8)
            )
        record = Record(video, "k", counter.finish().to_json())
        folder.write_record(record)
        records.append(record)
    counted = [decode(r) for r in records]
    folder.write_summary(summarize(protocol, counted, about, expected_videos=VIDEOS))
    folder.write_timing({"frames_per_second": 3 + 40 * right, "device": "cpu", "threads": 1,
                         "hardware": {"cpu": "some processor", "gpu": None}})  # fmt: skip
    return Run.open(path)


LONG = "an-institute-with-a-very-long-method"


def wide_runs(folder: Path) -> list[Run]:
    """Eight methods (one of them with three seeds, one wrapped twin, one with a long name) and a control row."""
    protocol = load_protocol(str(wide_protocol(folder)))
    methods = ("ov2vss", "san", "zegformer", "zegformer+vote", "freeseg", "deop", LONG)
    made = [
        make_wide_run(folder / name, protocol, 0.9 - 0.1 * i, name, seed=i) for i, name in enumerate(methods)
    ]
    made += [
        make_wide_run(folder / f"zsseg{s}", protocol, 0.4, "zsseg", int(s), weights=s, weights_sha256=s * 64)
        for s in ("0", "1", "2")
    ]
    return [*made, make_wide_run(folder / "random", protocol, 0.0, "random", 30, kind="control")]


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is drawn, with where its ink is. (Tick labels beyond an axis exist, and are not drawn.)"""
    drawn: list[Text] = []
    original = Text.draw

    def recording(self: Text, renderer: Any) -> Any:
        drawn.append(self)
        return original(self, renderer)

    canvas = FigureCanvasAgg(figure)
    with styled(), patch.object(Text, "draw", recording):
        canvas.draw()
        seen = {id(t): t for t in drawn if t.get_visible() and t.get_text().strip()}
        return [(t, t.get_window_extent(canvas.get_renderer())) for t in seen.values()]


def overlaps(figure: Figure) -> list[str]:
    """Pairs of texts whose boxes share more than a hair's breadth."""
    found = texts(figure)
    low, high = (np.array([getattr(box, corner) for _, box in found]) for corner in ("min", "max"))
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)  # (N, N, 2): width and height
    size = (high - low)[:, 1]
    hit = (shared[..., 0] > 0.6) & (shared[..., 1] > 0.25 * np.minimum(size[:, None], size))
    return [
        f"{found[a][0].get_text()!r} and {found[b][0].get_text()!r}" for a, b in np.argwhere(np.triu(hit, 1))
    ]


def outside(figure: Figure) -> list[str]:
    """Texts that reach over the edge of the sheet."""
    sheet = figure.bbox
    return [
        t.get_text()
        for t, box in texts(figure)
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > sheet.width + 0.5 or box.y1 > sheet.height + 0.5
    ]
