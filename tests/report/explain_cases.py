"""A run whose every number is worked out by hand: 2 videos of 2 frames of 8 pixels, 4 classes, one of them absent.

    pixels   truth  TP  predicted   IoU
    road        12  10         12   10/14 = 71.43   seen
    car          8   7          8    7/9  = 77.78   seen
    cat          8   5          5    5/8  = 62.50   unseen
    sky          0   0          2    0    =  0.00   unseen, not in the truth

One road pixel is abstained on, one cat pixel is given to road, two cat pixels to sky; 4 pixels are void.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ovbench.engine.records import decode
from ovbench.metrics.counts import counter_for
from ovbench.metrics.score import summarize
from ovbench.protocol.load import load_protocol
from ovbench.store.record import Record
from ovbench.store.rundir import RunDir

TABLE = (
    "raw_ids,name,clean,synonyms,kind\n1,road,,,stuff\n2,car,,auto,thing\n3,cat_1,cat,,thing\n4,sky,,,stuff\n"
)
PROTOCOL = """id = "tiny"
version = 3
title = "Four classes"
description = "For tests."
class_table = "table.csv"
name_variant = "clean"
templates = "single"
vocabulary = "all"
scored = "all"
headline = "harmonic"
ignore_ids = [0, 255]

[dataset]
name = "folder"
split = "all"

[groups]
unseen = ["cat_1", "sky"]

[temporal]
windows = [2]
"""

VIDEOS = {
    "a": (
        [1, 1, 1, 1, 2, 2, 3, 0],
        [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 2, 3]],
    ),
    "b": (
        [1, 1, 2, 2, 3, 3, 3, 255],
        [[0, 255, 1, 0, 2, 2, 3, 2], [0, 0, 1, 1, 2, 2, 3, 2]],
    ),
}

SEEN = (100 * 10 / 14 + 100 * 7 / 9) / 2  # 74.603
UNSEEN = 62.5
HARMONIC = 2 * SEEN * UNSEEN / (SEEN + UNSEEN)  # 68.017


def tiny_protocol(folder: Path) -> Path:
    """The protocol as a file."""
    (folder / "table.csv").write_text(TABLE)
    path = folder / "tiny.toml"
    path.write_text(PROTOCOL)
    return path


def tiny_run(folder: Path, protocol_path: Path, method: str = "maskclip", kind: str = "image") -> Path:
    """The run as a folder."""
    protocol = load_protocol(str(protocol_path))
    run = RunDir(folder)
    facts = {
        "id": method,
        "variant": "",
        "kind": kind,
        "options": {},
        "weights": None,
        "weights_sha256": None,
    }
    run.write_manifest(
        {
            "protocol": {"id": protocol.id, "version": protocol.version, "hash": protocol.hash},
            "method": facts, "options": {"given": {}}, "videos": list(VIDEOS), "partial": None,
            "data": {"dataset": "folder"},
        }
    )  # fmt: skip
    records = []
    for video, (truth, predictions) in VIDEOS.items():
        counter = counter_for(protocol)
        for prediction in predictions:
            counter.update(np.array([truth], np.uint8), np.array([prediction], np.uint8))
        records.append(Record(video, "k", counter.finish().to_json()))
        run.write_record(records[-1])
    run.write_summary(summarize(protocol, [decode(r) for r in records], facts, expected_videos=list(VIDEOS)))
    return folder
