"""The full-size networks train on real frames: killed and taken up again, with the same losses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ovbench.baselines.ov2vss.training import Training

from ovbench.engine.train import train
from ovbench.engine.training import TrainingPlan, plan_training
from ovbench.nn.checkpoint import load_weights

pytestmark = pytest.mark.slow

_SMALL = {"clip_weights": "seeded", "train_crop": "96x128", "batch": "1", "accumulate": "1"}
_CHEAP = {"templates": "1", "template_set": "single", "clip_size": "96x128"}


def _plan(root: Path, variant: str, **settings: str) -> TrainingPlan:
    return plan_training(
        "ov2vss", "camvid-8-3-gzs", variant=variant, data_root=root, settings={**_SMALL, **settings}
    )


def _losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def _silent(task: Training) -> set[str]:
    """Parameters that require a gradient and get none, or only zeros."""
    task.loss(0)[0].backward()
    return {
        name
        for name, p in task.module.named_parameters()
        if p.requires_grad and (p.grad is None or not bool(p.grad.abs().sum() > 0))
    }


def test_an_interrupted_training_goes_on_with_the_same_losses(camvid_root: Path, tmp_path: Path) -> None:
    plan = _plan(camvid_root, "sam-vit-b", **_CHEAP)
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train(plan.build(0, 4), whole, plan.key, seed=0, every=2)

    def stop(done: int, entry: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan.build(0, 4), parted, plan.key, seed=0, every=2, progress=stop)
    assert json.loads((parted / "checkpoint.json").read_text())["step"] == 2
    train(plan.build(0, 4), parted, plan.key, seed=0, every=2)
    assert _losses(parted) == _losses(whole)
    expected, _ = load_weights(whole / "weights.safetensors")
    state, header = load_weights(parted / "weights.safetensors")
    assert header["profile"] == "paper" and all(torch.equal(v, expected[n]) for n, v in state.items())


def test_gradients_reach_every_parameter_of_the_paper_profile(camvid_root: Path) -> None:
    task = _plan(camvid_root, "sam-vit-b", checkpointing="on", **_CHEAP).build(0, 1)
    assert isinstance(task, Training)
    frozen = {n for n, p in task.module.named_parameters() if not p.requires_grad}
    assert frozen and all(n.startswith("clip.") for n in frozen)
    # The bias of a key shifts a whole softmax row alike.
    assert {n for n in _silent(task) if not n.endswith("key.bias")} == set()


def test_gradients_reach_every_live_parameter_of_the_release_profile(camvid_root: Path) -> None:
    from ovbench.baselines.ov2vss.release.learner import untrained_names

    task = _plan(camvid_root, "release").build(0, 1)
    assert isinstance(task, Training)
    names = [n for n, p in task.module.named_parameters() if p.requires_grad]
    assert _silent(task) - set(untrained_names(names)) == set()
    assert task.metadata()["profile"] == "release"
