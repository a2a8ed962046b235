"""What never moves and is never right wins every label-free score, and no other: through a whole run."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_runs import REPOSITORY, WORLD, request

import ovbench
from ovbench.engine.evaluate import run, score
from ovbench.metrics.temporal import constant_reference, label_free
from ovbench.metrics.videocounts import VideoCounts
from ovbench.store.masks import write_mask
from ovbench.store.rundir import RunDir

VIDEOS = 3


@pytest.fixture(scope="module")
def picture():
    """docs/make_static_wrong.py as a module."""
    path = REPOSITORY / "docs" / "make_static_wrong.py"
    if not path.is_file():
        pytest.skip("the documentation is not here")
    spec = importlib.util.spec_from_file_location("make_static_wrong", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world():
    protocol = ovbench.load_protocol(WORLD.protocol)
    dataset = ovbench.open_dataset(protocol, None)
    return protocol, [dataset.open(v) for v in dataset.video_ids[:VIDEOS]]


def check(summary_path: Path) -> None:
    summary = json.loads(summary_path.read_text())
    temporal = summary["temporal"]
    for n in (8, 16):
        for scores in (temporal[f"vc{n}"], temporal["video_mean"][f"vc{n}"]):
            assert scores == {"script": 100.0, "clean": 100.0, "correct": 0.0}
    assert temporal["windows"]["vc8"]["script"]["windows"] == VIDEOS * (20 - 8)
    assert temporal["flicker"]["change_rate"] == temporal["flicker"]["aba_rate"] == 0.0
    assert temporal["flicker"]["excess_change"] == -temporal["flicker"]["truth_change_rate"] < 0
    assert summary["scores"]["all"]["miou"] == summary["scores"]["all"]["pacc"] == 0.0
    reference = constant_reference(
        [VideoCounts.from_json(r.counts) for r in RunDir(summary_path.parent).records()]
    )
    for n in (8, 16):
        for mode, value in temporal[f"vc{n}"].items():
            assert reference.get(f"vc{n}.{mode}") == (value if label_free(mode) else None)
    assert {k: reference[k] for k in temporal["flicker"]} == temporal["flicker"]


def test_a_shape_that_stands_still_under_wrong_names(picture, world, tmp_path):
    protocol, videos = world
    for video in videos:
        maps = picture.static_wrong(video, protocol)
        assert len(np.unique(maps[0])) > 5
        for name, label_map in zip(video.frame_names, maps, strict=True):
            path = tmp_path / "maps" / video.id / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mask(path, label_map)
    check(score(tmp_path / "maps", protocol.id, videos=VIDEOS, jobs=1, out=tmp_path / "run"))


def test_one_absent_name_everywhere(world, tmp_path):
    protocol, videos = world
    shown = {
        int(c) for v in videos for t in range(len(v)) for c in np.unique(protocol.truth_table[v.truth(t)])
    }
    absent = next(i for i, c in enumerate(protocol.vocabulary_classes) if c not in shown)
    settings = {"label": protocol.vocabulary.names[absent]}
    check(run(request(method="constant", settings=settings, frames=None, out=tmp_path / "run")))


@pytest.mark.slow
def test_the_picture_of_the_docs_shows_its_own_numbers(picture, tmp_path):
    pytest.importorskip("open_clip")
    scores = picture.draw(tmp_path / "picture.png")
    static, method = scores.values()
    assert static == (100.0, 0.0, 0.0)
    assert method[0] < 90 and min(method[1:]) > 50
    text = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert "img/static-wrong.png" in text and (REPOSITORY / "docs/img/static-wrong.png").is_file()
    for value in method:
        assert f"{value:.1f}" in text
    assert (tmp_path / "picture.png").stat().st_size > 20_000
