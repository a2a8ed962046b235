"""The world's mask maker: a training that was interrupted, its weights in use, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import ovbench
from ovbench.cli.train import command
from ovbench.core.errors import UserError
from ovbench.engine.masks import Batch
from ovbench.engine.targets import IGNORE
from ovbench.engine.train import train
from ovbench.engine.training import plan_training
from ovbench.nn.checkpoint import load_weights
from ovbench.protocol.load import load_protocol
from ovbench.protocol.vocabulary import Vocabulary

STEPS = 6
SMALL = {"batch": "2", "points": "6", "backbone_share": "0.34", "warmup": "1"}


class _Killed(BaseException):
    """Nothing in the loop catches this, as nothing catches a signal."""


def _plan(**more: str) -> Any:
    return plan_training("sam-clip", "world-27-9", settings={**SMALL, **more})


def _train(out: Path, stop: int = 0) -> tuple[Path, list[dict[str, Any]]]:
    """The weights and the log of six steps, two of them on the backbone alone; killed after step `stop`."""
    plan = _plan()

    def progress(done: int, _: Mapping[str, Any]) -> None:
        if done == stop:
            raise _Killed

    weights = train(plan.build(1, STEPS), out, plan.key, seed=1, every=1, progress=progress)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return weights, [{k: v for k, v in entry.items() if k != "cpu_seconds"} for entry in log]


def test_a_resumed_training_ends_with_the_same_bytes_which_run(tmp_path: Path) -> None:
    whole, expected = _train(tmp_path / "whole")
    for stop in (1, 4):  # in the first part and in the second
        with pytest.raises(_Killed):
            _train(tmp_path / "cut", stop)
    again, found = _train(tmp_path / "cut")
    assert found == expected and len(found) == STEPS
    assert "naming" in found[1] and "dice" in found[2] and "dice" not in found[1]
    assert again.read_bytes() == whole.read_bytes()
    state, header = load_weights(whole)
    assert header["method"] == "sam-clip" and header["variant"] == "world"
    assert len(json.loads(header["classes"])) == 27
    assert {name.partition(".")[0] for name in state} <= {
        *("backbone", "pixel_decoder", "embed", "scale", "margin", "quality")
    }
    made: Any = ovbench.create("sam-clip", variant="world", weights=whole)
    rows = load_protocol("world-27-9").classes
    made.prepare(Vocabulary([r.clean for r in rows], [r.seen for r in rows]))
    assert not made.untrained
    image = np.random.default_rng(0).integers(0, 255, (96, 160, 3)).astype(np.uint8)
    assert made.segment_frame(image).shape == (96, 160)


def test_every_parameter_moves() -> None:
    task = _plan(warmup="0").build(0, STEPS)
    before = {n: p.detach().clone() for n, p in task.module.named_parameters()}
    optimizer = task.optimizer()
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        task.loss(step)[0].backward()
        optimizer.step()
    still = [n for n, p in task.module.named_parameters() if torch.equal(p, before[n])]
    assert not still


def test_pixels_without_a_target_are_in_no_points_region() -> None:
    """Unseen classes and void are `IGNORE`; a frame may have nothing else."""
    task = _plan().build(0, STEPS)
    labels = torch.full((2, 32, 64), IGNORE, dtype=torch.uint8)
    labels[0, 4:9, 3:20], labels[0, 20:, :] = 5, 11
    batch = Batch(torch.zeros(2, 3, 32, 64), labels)
    places, regions = task._points(np.random.default_rng(0), batch)
    assert places.shape == (2, 6, 2) and regions.shape == (2, 6, 32, 64)
    assert not (regions & (labels == IGNORE)[:, None]).any()
    wanted = {5 * 17, 12 * 64}  # pixels of the two regions
    assert {int(found) for found in regions[0].flatten(1).sum(1)} == wanted and not regions[1].any()
    loss, parts = task._mask_loss(np.random.default_rng(0), batch)
    assert torch.isfinite(loss) and parts["mask"] > 0
    nothing = Batch(batch.pixels, torch.full_like(labels, IGNORE))
    loss, parts = task._mask_loss(np.random.default_rng(0), nothing)
    loss.backward()
    assert torch.isfinite(loss) and set(parts.values()) == {0.0}


@pytest.mark.parametrize("setting", ["points=0", "batch=0", "pyramid=0", "rate=nan"])
def test_trainings_that_cannot_be_leave_nothing(setting: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--method", "sam-clip", "--protocol", "world-27-9", "--out", str(out), "--set", setting]
    found = CliRunner().invoke(command, words)
    assert isinstance(found.exception, UserError), found.output
    assert setting.partition("=")[0] in str(found.exception) and not out.exists()


def test_sam_itself_is_not_trained() -> None:
    plan = plan_training("sam-clip", "world-27-9", variant="vit-b")
    with pytest.raises(UserError, match="takes SAM's published masks and is not trained"):
        plan.build(0, 1)
