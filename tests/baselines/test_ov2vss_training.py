"""OV2VSS' training: what was shipped stays reproducible, and the paper's recipe does what it says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from make_trees import make_camvid, make_vspw
from ovbench.baselines.ov2vss.losses import Rule, relabel
from ovbench.baselines.ov2vss.samples import Samples
from ovbench.baselines.ov2vss.training import Training, _bare
from torch import nn

from ovbench.core.errors import UserError
from ovbench.datasets.base import ArrayVideo
from ovbench.engine.targets import IGNORE, SeenTargets
from ovbench.engine.training import plan_training
from ovbench.protocol.load import load_protocol


def world(steps: int = 4, **settings: str) -> Training:
    task = plan_training("ov2vss", "world-27-9", variant="world", settings=settings).build(0, steps)
    assert isinstance(task, Training)
    return task


def test_the_first_losses_of_the_shipped_weights_are_unchanged() -> None:
    """Recorded with the code that trained the shipped weights (4 steps, seed 0)."""
    task = world()
    optimizer = task.optimizer()
    for step, expected in enumerate((4.191548824310303, 4.40167236328125)):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * task.learning_rate(step)
        optimizer.zero_grad()
        loss, _ = task.loss(step)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
        loss.backward()
        nn.utils.clip_grad_norm_(task.module.parameters(), 1.0)
        optimizer.step()


def test_parts_of_a_batch_add_up_to_its_gradients() -> None:
    task = world()
    task.loss(0)[0].backward()
    whole = {n: p.grad.clone() for n, p in task.module.named_parameters() if p.grad is not None}
    task.module.zero_grad()
    parts = [task.part_loss(0, part, 4) for part in range(4)]
    for loss, _ in parts:
        loss.backward()
    assert sum(log["main"] for _, log in parts) == pytest.approx(task.loss(0)[1]["main"], rel=1e-5)
    for name, parameter in task.module.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-3, atol=1e-5)
    with pytest.raises(UserError, match="4 clips cannot be cut into 3"):
        task.part_loss(0, 0, 3)
    with pytest.raises(UserError, match="equal parts"):
        world(accumulate="3")


def test_every_frame_of_the_clip_can_be_a_target(tmp_path: Path) -> None:
    task = world(labels="every", batch="2")
    samples = task.samples.draw(np.random.default_rng(0), 2)
    assert task.samples.offsets == (18, 15, 12, 9, 6, 3, 0)
    assert samples[0].masks.shape[0] == 4 and len(samples[0].load()[0]) == 8
    loss, _ = task.loss(0)
    one, _ = world(batch="2").loss(0)
    assert math.isfinite(loss.item()) and loss.item() != one.item()
    make_camvid(tmp_path, {"0001TP": [0, 30, 60]}, split="train")
    make_vspw(tmp_path / "vspw", videos={"a": 12}, split="train")
    plan = plan_training(
        "ov2vss", "camvid-8-3-gzs", data_root=tmp_path, settings={"labels": "every", "input_size": "64x96"}
    )
    with pytest.raises(UserError, match="still_clips makes them of one frame"):
        plan.build(0, 1)


def _samples(masks: np.ndarray[Any, Any], annotated: set[int], **changes: Any) -> Samples:
    class Sparse(ArrayVideo):
        def annotated(self, index: int) -> bool:
            return index in annotated

    class One:
        video_ids = ("v",)

        def open(self, video_id: str) -> ArrayVideo:
            frames = np.random.default_rng(0).integers(0, 256, (*masks.shape, 3), dtype=np.uint8)
            return Sparse(frames, masks, video_id)

    options = {"labels": "target", "clip_draw": "any", "reverse": False, "still_clips": False}
    options |= {"mask_images": "none", "augment": "none", "train_size": "64x64", "train_crop": "32x48"}
    targets = SeenTargets(load_protocol("vspw-80-44"))
    return Samples(One(), targets, {**options, **changes}, torch.device("cpu"))  # type: ignore[arg-type]


def test_truth_that_is_lacking_is_named_before_the_training_begins() -> None:
    masks = np.ones((20, 8, 8), np.uint8)
    with pytest.raises(UserError, match=r"labels=every needs a mask .* 3 of 20 have none"):
        _samples(masks, {15}, labels="every")
    with pytest.raises(UserError, match=r"mask_images=unseen needs a mask .* 19 of 20"):
        _samples(masks, {15}, mask_images="unseen")
    with pytest.raises(UserError, match="nine frames before it"):
        _samples(masks[:10], set(range(10)), clip_draw="release")


def test_unseen_classes_are_painted_over_in_every_frame() -> None:
    masks = np.ones((20, 8, 8), np.uint8)
    masks[:, :4] = 81  # trash_can, unseen
    plain = _samples(masks, set(range(20)))
    painted = _samples(masks, set(range(20)), mask_images="unseen")
    before, after = (s.draw(np.random.default_rng(1), 1)[0].load()[0] for s in (plain, painted))
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a[..., 4:, :], b[..., 4:, :]) and not torch.equal(a, b)
        assert torch.equal(b[0, :, :4].unique(), torch.tensor([104.0, 116.0, 124.0]))


def test_the_released_rule_of_drawing() -> None:
    masks = np.ones((24, 8, 8), np.uint8)
    samples = _samples(masks, set(range(24)), clip_draw="release", reverse=True)
    rng, seen = np.random.default_rng(0), set()
    for sample in samples.draw(rng, 200):
        (far, *clip) = (i for _, i in sample.load()[1])
        forwards = clip[-1] > clip[0]
        seen.add(forwards)
        order = clip if forwards else [23 - i for i in clip]
        far = far if forwards else 23 - far
        assert order == [order[-1] - 9, order[-1] - 6, order[-1] - 3, order[-1]] and order[0] >= 0
        assert far <= 24 - 10 and far not in order
    assert seen == {True, False}


def test_variation_is_shared_by_the_clip_and_seeded() -> None:
    masks = np.tile(np.arange(1, 9, dtype=np.uint8)[:, None].repeat(8, 1), (20, 8, 8))[:, :64, :64]
    samples = _samples(masks, set(range(20)), augment="full", reverse=True)
    one, two = (samples.draw(np.random.default_rng(5), 3) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert a.masks.shape == (1, 32, 48)
        frames, names = a.load()
        assert {tuple(f.shape) for f in frames} == {(1, 3, 32, 48)} and names == [None] * 5
        assert all(torch.equal(x, y) for x, y in zip(frames, b.load()[0], strict=True))
        assert np.array_equal(a.masks, b.masks)


def _rule(**changes: Any) -> Rule:
    options = {"loss": "paper", "loss_at": "labels", "alpha": 1.0, "beta": 1.0}
    return Rule.from_options({**options, **changes})


def test_the_two_losses_by_hand() -> None:
    torch.manual_seed(0)
    logits, masks = (
        torch.randn(2, 3, 4, 4),
        np.random.default_rng(0).integers(0, 3, (1, 2, 8, 8)).astype(np.uint8),
    )
    masks[0, 0, :5] = IGNORE
    large = F.interpolate(logits, (8, 8), mode="bilinear", align_corners=False)
    each = F.cross_entropy(large, torch.from_numpy(masks[0]).long(), ignore_index=IGNORE, reduction="none")
    valid = float((masks != IGNORE).sum())
    whole = slice(0, 2)
    assert float(_rule()([logits], masks, whole)) == pytest.approx(float(each.sum()) / valid, rel=1e-5)
    released = _rule(loss="release")
    assert (released.alpha, released.beta) == (0.5, 0.5)
    assert float(released([logits], masks, whole)) == pytest.approx(float(each.mean()), rel=1e-5)
    halves = [_rule()([logits[i : i + 1]], masks, slice(i, i + 1)) for i in (0, 1)]
    assert float(sum(halves)) == pytest.approx(float(each.sum()) / valid, rel=1e-5)
    assert _rule(alpha=10.0, beta=0.1).alpha == 10
    assert relabel(np.array([4, 7, IGNORE], np.uint8), np.array([7, 4])).tolist() == [1, 0, IGNORE]


def test_a_batch_without_any_label_costs_nothing() -> None:
    masks = np.full((1, 1, 4, 4), IGNORE, np.uint8)
    assert float(_rule()([torch.randn(1, 3, 4, 4)], masks, slice(0, 1))) == 0


def test_rates_warm_up_and_decay_as_configured() -> None:
    task = world(steps=100000, warmup="1500", warmup_ratio="1e-6", head_rate="10", rate="3e-6")
    assert task.learning_rate(0) == pytest.approx(1e-6)
    assert task.learning_rate(750) == pytest.approx(0.5 * (1 - 0.0075) ** 0.9, rel=1e-4)
    assert task.learning_rate(50000) == pytest.approx(0.5**0.9) and task.learning_rate(99999) < 1e-4
    groups = task.optimizer().param_groups
    assert sorted({g["lr"] for g in groups}) == pytest.approx([3e-6, 3e-5])
    backbone = {id(p) for p in task.module.net.backbone.parameters()}
    for group in groups:
        slow = {id(p) in backbone for p in group["params"]}
        assert slow == {group["lr"] < 1e-5}
    count = sum(len(g["params"]) for g in groups)
    assert count == sum(p.requires_grad for p in task.module.parameters())


def test_what_is_not_decayed() -> None:
    module = nn.Module()
    module.pos_embed = nn.Parameter(torch.zeros(1, 2, 2))
    module.body = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    module.norm1 = nn.Linear(2, 2)
    assert _bare(module, "norms") == {"pos_embed", "body.1.weight", "body.1.bias"}
    assert _bare(module, "names") == {"norm1.weight", "norm1.bias"}
    assert _bare(module, "vectors") == {"body.0.bias", "body.1.weight", "body.1.bias", "norm1.bias"}
