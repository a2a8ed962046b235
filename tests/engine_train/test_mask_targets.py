"""Training of mask-drawing networks: what is drawn, what becomes a target, what is trained and stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ovbench.core.errors import UserError
from ovbench.engine.drawing import Variation
from ovbench.engine.masks import Trained, collate, load_backbone, truth_of
from ovbench.engine.recipe import poly
from ovbench.engine.targets import IGNORE
from ovbench.engine.train import train
from ovbench.engine.training import plan_training
from ovbench.methods.base import Setup
from ovbench.nn.checkpoint import apply, load_weights, save_weights
from ovbench.nn.resnet import ResNet

METHODS = ("zegformer", "zsseg", "deop", "freeseg", "san")
CLIP = ("clip_model", "clip_visual_extractor.", "clip_rec_head.", "ov_classifier.")
"""What names of CLIP's parameters hold."""
LEARNED = ("learned_position", "positional_embedding", "bg_embed")
"""Endings of the few among them that are trained."""
SMALL = {"batch": 1, "queries": 12, "layers": 2}
OPTIONS = {"train_sides": "", "train_crop": "", "flip": True, "colour": "none"}


def _picture(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A frame whose red channel is ten times its targets."""
    labels = np.random.default_rng(0).integers(0, 5, (height, width)).astype(np.uint8)
    return np.repeat(labels[..., None] * 10, 3, axis=2), labels


def test_one_mask_for_each_class_that_is_there() -> None:
    labels = torch.tensor([[3, 3, IGNORE], [0, 3, IGNORE]], dtype=torch.uint8)
    truth = truth_of(labels)
    assert truth.labels.tolist() == [0, 3] and truth.labels.dtype == torch.int64
    assert truth.masks.int().tolist() == [[[0, 0, 0], [1, 0, 0]], [[1, 1, 0], [0, 1, 0]]]
    assert truth.valid.all()
    assert truth_of(labels, skip_void=True).valid.int().tolist() == [[1, 1, 0], [1, 1, 0]]
    nothing = truth_of(torch.full((2, 3), IGNORE, dtype=torch.uint8))
    assert len(nothing.labels) == 0 and nothing.masks.shape == (0, 2, 3)


def test_frames_of_different_sizes_become_a_batch() -> None:
    batch = collate([_picture(20, 33), _picture(32, 10)], torch.device("cpu"))
    assert batch.pixels.shape == (2, 3, 32, 64) and batch.labels.shape == (2, 32, 64)
    assert (batch.labels[0, 20:] == IGNORE).all() and (batch.labels[1, :, 10:] == IGNORE).all()
    inside = batch.labels != IGNORE
    assert torch.equal(batch.pixels[:, 0][inside], batch.labels[inside].float() * 10)
    assert (batch.pixels[:, 0][~inside] == 128).all()


@pytest.mark.parametrize(
    "changes", [{}, {"train_crop": "8x12"}, {"train_crop": "64x64"}, {"train_sides": "16,16"}]
)
def test_image_and_targets_change_alike(changes: dict[str, Any]) -> None:
    variation = Variation.from_options({**OPTIONS, **changes})
    for seed in range(6):
        image, labels = variation(np.random.default_rng(seed), *_picture(16, 24))
        assert np.array_equal(image[..., 0], labels * 10)
        assert labels.shape == ((8, 12) if changes.get("train_crop") == "8x12" else (16, 24))


def test_flips_happen_and_sizes_change() -> None:
    _, labels = _picture(16, 24)
    flip = Variation.from_options(OPTIONS)
    drawn = [flip(np.random.default_rng(seed), *_picture(16, 24))[1] for seed in range(20)]
    flipped = [np.array_equal(d, labels[:, ::-1]) for d in drawn]
    assert any(flipped) and not all(flipped)
    resize = Variation.from_options({**OPTIONS, "train_sides": "8,32"})
    sides = {resize(np.random.default_rng(seed), *_picture(16, 24))[1].shape for seed in range(20)}
    assert len(sides) > 5 and all(8 <= h <= 32 and w == round(24 * h / 16) for h, w in sides)
    with pytest.raises(UserError, match="train_crop must be two numbers"):
        Variation.from_options({**OPTIONS, "train_crop": "640"})


def test_long_sides_have_a_limit() -> None:
    rng, frame = np.random.default_rng(0), _picture(10, 40)
    for options, size in (
        ({}, (20, 80)),
        ({"long_side": 60}, (15, 60)),
        ({"long_side": 60, "train_long": 72}, (18, 72)),
        ({"long_side": 60, "train_long": 0}, (15, 60)),
    ):
        vary = Variation.from_options({**OPTIONS, "train_sides": "20,20", **options})
        image, labels = vary(rng, *frame)
        assert image.shape[:2] == labels.shape == size
    with pytest.raises(UserError, match="smallest short side, then the largest; not '90,20'"):
        Variation.from_options({**OPTIONS, "train_sides": "90,20"})


def test_colours_change_and_targets_do_not() -> None:
    vary = Variation.from_options({**OPTIONS, "flip": False, "colour": "full"})
    image, labels = _picture(16, 24)
    pairs = [vary(np.random.default_rng(seed), image, labels) for seed in range(8)]
    assert all(np.array_equal(changed, labels) for _, changed in pairs)
    assert sum(not np.array_equal(changed, image) for changed, _ in pairs) > 3


def test_schedule() -> None:
    assert poly(0, 100) == 1 and poly(50, 100) == pytest.approx(0.5**0.9) and 0 < poly(99, 100) < 0.02
    assert poly(0, 100, 10) == pytest.approx(0.1) and poly(9, 100, 10) == pytest.approx(0.91**0.9)


def test_what_is_left_out_is_not_stored_and_not_asked_for() -> None:
    net = nn.ModuleDict({"head": nn.Linear(2, 2), "clip": nn.Linear(2, 2)})
    net["clip"].learned_position = nn.Parameter(torch.ones(3))
    module = Trained(net, ("clip.",), "learned_position")
    names = {"head.weight", "head.bias", "clip.learned_position"}
    assert set(module.state_dict()) == names and len(list(module.parameters())) == 5
    apply(module, {name: torch.zeros_like(value) for name, value in module.state_dict().items()})
    assert (
        not net["head"].weight.any() and not net["clip"].learned_position.any() and net["clip"].weight.any()
    )


def test_backbones_from_files(tmp_path: Path) -> None:
    source, net = (ResNet(blocks=(1, 1, 1, 1), width=8) for _ in range(2))
    state = {f"backbone.{k}": v for k, v in source.state_dict().items()}
    save_weights(tmp_path / "r.safetensors", {**state, "backbone.fc.weight": torch.ones(1)}, {})
    load_backbone(net, Setup("m", options={"backbone_weights": str(tmp_path / "r.safetensors")}), False)
    assert all(
        torch.equal(a, b)
        for a, b in zip(net.state_dict().values(), source.state_dict().values(), strict=True)
    )
    with pytest.raises(UserError, match="pre-trained on ImageNet"):
        load_backbone(net, Setup("m", variant="big", options={}), False)
    load_backbone(net, Setup("m", options={}), True)


@pytest.mark.parametrize("method", METHODS)
def test_full_size_asks_for_what_it_starts_from(method: str, tmp_path: Path) -> None:
    from make_trees import make_vspw

    make_vspw(tmp_path, videos={"a": 3}, split="train")
    plan = plan_training(method, "vspw-80-44", data_root=tmp_path)
    with pytest.raises(UserError, match="pre-trained CLIP"):
        plan.build(0, None)


def small(method: str) -> dict[str, Any]:
    """Options of a network that is quick to train."""
    own = {"san": {"fusion": "0,2"}, "freeseg": {"layers": 3}}  # a layer for each of FreeSeg's three maps
    return {**SMALL, **own.get(method, {})}


def plan_of(method: str, **more: str) -> Any:
    """Its training on the world."""
    settings = {name: str(value) for name, value in small(method).items()}
    return plan_training(method, "world-27-9", settings={**settings, **more})


@pytest.mark.parametrize("method", METHODS)
def test_resumed_training_gives_the_same_bytes(method: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    plan = plan_of(method)
    whole = train(plan.build(3, 4), tmp_path / "whole", plan.key, seed=3, every=3)

    def stop(done: int, entry: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(plan.build(3, 4), tmp_path / "cut", plan.key, seed=3, every=2, progress=stop)
    again = train(plan.build(3, 4), tmp_path / "cut", plan.key, seed=3, every=2)
    assert again.read_bytes() == whole.read_bytes()
    state, header = load_weights(whole)
    assert header["method"] == method and len(json.loads(header["classes"])) == 27
    assert not [n for n in state if any(c in n for c in CLIP) and not n.endswith(LEARNED)]
    assert all(
        np.isfinite(json.loads(line)["loss"])
        for line in (whole.parent / "log.jsonl").read_text().splitlines()
    )


@pytest.mark.parametrize("method", METHODS)
def test_trained_weights_run(method: str, tmp_path: Path) -> None:
    import ovbench
    from ovbench.protocol.load import load_protocol
    from ovbench.protocol.vocabulary import Vocabulary

    plan = plan_of(method)
    weights = train(plan.build(0, 2), tmp_path / "run", plan.key, seed=0)
    made = ovbench.create(method, variant="world", weights=weights, **small(method))
    rows = load_protocol("world-27-9").classes
    made.prepare(Vocabulary([r.clean for r in rows], [r.seen for r in rows]))
    image = np.random.default_rng(0).integers(0, 255, (96, 160, 3)).astype(np.uint8)
    assert made.segment_frame(image).shape == (96, 160) and not made.untrained


@pytest.mark.parametrize("method", METHODS)
def test_every_trained_parameter_moves_and_no_other(method: str) -> None:
    task: Any = plan_of(method, warmup="0").build(0, 4)
    before = {n: p.detach().clone() for n, p in task.module.named_parameters()}
    optimizer, reached = task.optimizer(), set()
    for step in range(4):
        optimizer.zero_grad(set_to_none=True)
        task.loss(step)[0].backward()
        optimizer.step()
        reached |= {n for n, p in task.module.named_parameters() if p.grad is not None}
    moved = {n for n, p in task.module.named_parameters() if not torch.equal(p, before[n])}
    wanted = {n for n, p in task.module.named_parameters() if p.requires_grad}
    unused = "net.decoder.norm"  # DeOP keeps it in its checkpoint, nothing reads it
    assert moved <= reached <= wanted
    assert not [n for n in wanted - reached if not n.startswith(unused)]
    assert not [n for n in moved if any(c in n for c in CLIP) and not n.endswith(LEARNED)]
