"""What methods whose networks draw masks refuse: options that cannot be, states that do not fit, odd sizes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mask_methods import ALL, METHODS, QUERIES, picture, small

import ovbench.nn.clip as clip_module
from ovbench.cli.train import command
from ovbench.core.errors import UserError
from ovbench.engine.masks import criterion_of
from ovbench.engine.training import plan_training
from ovbench.methods.create import create
from ovbench.methods.registry import cards
from ovbench.nn.checkpoint import save_weights
from ovbench.protocol.vocabulary import Vocabulary

NAMES = Vocabulary(["road", "tall tree"], seen=[True, False])
LAYER = "sem_seg_head.pixel_decoder.layer_1.weight"
OLD_LAYER = "sem_seg_head.layer_1.weight"


def _tensors(method: str) -> dict[str, torch.Tensor]:
    return {n: v.clone() for n, v in small(method).network.state().items()}


SIZES = [
    ("deop", {"heatmap_heads": "7"}, "heatmap_heads must divide 64"),
    ("deop", {"prompt_length": "-3"}, "prompt_length must be at least 1, not -3"),
    ("deop", {"stem_width": "0"}, "stem_width must be at least 1, not 0"),
    ("deop", {"heatmap_ffn": "-1"}, "heatmap_ffn must be at least 1, not -1"),
    ("deop", {"heatmap_layers": "-1"}, "heatmap_layers must be at least 0, not -1"),
    ("deop", {"ffn": "-1"}, "ffn must be at least 1, not -1"),
    ("deop", {"ffn": "0"}, "ffn must be at least 1, not 0"),
    ("deop", {"embed_width": "0"}, "embed_width must be at least 1, not 0"),
    ("deop", {"res5_stride": "3"}, "res5_stride must be 1 or 2, not 3"),
    ("zegformer", {"res5_stride": "0"}, "res5_stride must be 1 or 2, not 0"),
    ("zegformer", {"calibration": "nan"}, "calibration must be a finite number, not nan"),
    ("zegformer", {"calibration": "inf"}, "calibration must be a finite number, not inf"),
    ("zegformer", {"dropout": "2.0"}, "dropout must be from 0 to 1, not 2"),
    ("san", {"fusion": "0,1,9"}, "fusion must be 1 to 4 numbers from 0 to 2 (clip_blocks), not '0,1,9'"),
    ("san", {"fusion": "a"}, "fusion must look like 0,3,6,9, not 'a'"),
    ("san", {"side_grid": "40"}, "side_grid must look like 40x40, not '40'"),
    ("san", {"clip_scale": "0"}, "clip_scale must be more than 0 and at most 1, not 0"),
    ("san", {"patch": "0"}, "patch must be at least 1, not 0"),
    ("san", {"clip_blocks": "3"}, "clip_blocks must be from 1 to 2 of the tower's 3, not 3"),
    ("zsseg", {"ensemble_weight": "nan"}, "ensemble_weight must be a finite number, not nan"),
    ("zsseg", {"class_hidden": "0"}, "class_hidden must be at least 1, not 0"),
    ("zsseg", {"prompt": "learned", "prompt_length": "-2"}, "prompt_length must be at least 1, not -2"),
    ("zsseg", {"prompt": "learned", "prompt_length": "0"}, "prompt_length must be at least 1, not 0"),
]


@pytest.mark.parametrize(("method", "options", "says"), SIZES)
def test_sizes_that_cannot_be_are_named(method: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        create(method, "world", untrained=True, **options)
    assert says in str(caught.value)


TRAININGS = [
    ("zegformer", "batch=0", "batch"),
    ("zegformer", "dropout=2.0", "dropout"),
    ("zsseg", "train_sides=90,20", "train_sides"),
    ("san", "batch=0", "batch"),
    ("san", "mask_weight=-1", "mask_weight"),
    ("freeseg", "label_weight=-1", "label_weight"),
    ("san", "heads=7", "heads"),
    ("deop", "second_batch=0", "second_batch"),
    ("deop", "second_sides=90,20", "second_sides"),
    ("deop", "mask_share=2", "mask_share"),
    ("deop", "mask_share=nan", "mask_share"),
    ("deop", "mask_share=0.9", "backbone_share and mask_share must be at most 1 together, not 0.25 + 0.9"),
    ("deop", "heatmap_heads=7", "heatmap_heads"),
]


@pytest.mark.parametrize(("method", "setting", "says"), TRAININGS)
def test_trainings_that_cannot_be_leave_nothing(method: str, setting: str, says: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--method", method, "--protocol", "world-27-9", "--out", str(out), "--set", setting]
    found = CliRunner().invoke(command, words)
    assert isinstance(found.exception, UserError), found.output
    assert says in str(found.exception) and not out.exists()


def test_a_trainer_asks_for_itself() -> None:
    """Also one that is not made by the command."""
    task: Any = plan_training("zsseg", "world-27-9", settings={}).build(0, 1)
    task.options = {**task.options, "batch": 0}
    with pytest.raises(UserError, match="'batch' of zsseg must be at least 1"):
        task.check()


def _holds(segmenter: Any, state: dict[str, torch.Tensor]) -> bool:
    """Whether the network's weights are these."""
    found = segmenter.network.state()
    return all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize("method", ALL)
def test_states_in_every_form(method: str) -> None:
    state = _tensors(method)
    state[QUERIES[method]] += 1
    arrays = {name: value.numpy() for name, value in state.items()}
    mixed = {n: arrays[n] if i % 2 else v for i, (n, v) in enumerate(state.items())}
    prefixed = {f"module.{name}": value for name, value in state.items()}
    for given in (arrays, mixed, prefixed, {"model": state}, {"state_dict": prefixed, "meta": {}}):
        segmenter = small(method)
        segmenter.load_official(given)
        assert _holds(segmenter, state)


@pytest.mark.parametrize("method", ALL)
def test_what_is_no_state_changes_nothing(method: str) -> None:
    segmenter, state = small(method), _tensors(method)
    other = {name: value + 1 for name, value in state.items()}
    broken: list[Any] = [
        [1, 2],
        None,
        {},
        {**other, QUERIES[method]: np.array(["x"])},
        {**other, QUERIES[method]: [1.0]},
        {**other, QUERIES[method]: np.zeros((3, 5))},
    ]
    for given in broken:
        with pytest.raises(UserError):
            segmenter.load_official(given)
    assert _holds(segmenter, state)


@pytest.mark.parametrize("method", METHODS)
def test_names_from_before_are_told_as_they_are(method: str) -> None:
    segmenter, state = small(method), _tensors(method)
    with pytest.raises(UserError, match=rf"1 unexpected \({OLD_LAYER}\)"):
        segmenter.load_official({**state, OLD_LAYER: state[LAYER] + 1})
    with pytest.raises(UserError, match=r"1 unexpected \(sem_seg_head\.extra\.weight\)"):
        segmenter.load_official({**state, "sem_seg_head.extra.weight": torch.zeros(1)})
    old = {n: v for n, v in state.items() if n != LAYER} | {OLD_LAYER: torch.zeros(3, 5)}
    with pytest.raises(UserError, match=rf"1 wrong shape \({OLD_LAYER} \(3, 5\) instead of"):
        segmenter.load_official(old)
    assert torch.equal(segmenter.network.state()[LAYER], state[LAYER])


@pytest.mark.parametrize("method", ALL)
def test_misfits_say_which_file(method: str, tmp_path: Path) -> None:
    state = _tensors(method)
    prefix = small(method).network.clip_names[0]
    clip = clip_module.load_clip("tiny").model.state_dict()
    save_weights(tmp_path / "clip", clip, {})
    save_weights(tmp_path / "half", {"visual.conv1.weight": torch.zeros(1)}, {})
    save_weights(tmp_path / "extra", {**state, f"{prefix}extra": torch.zeros(1)}, {})
    save_weights(tmp_path / "gone", {n: v for n, v in state.items() if n != QUERIES[method]}, {})
    with pytest.raises(UserError, match="1 missing") as caught:
        small(method, tmp_path / "gone")
    assert caught.value.where == str(tmp_path / "gone")
    with pytest.raises(UserError) as caught:
        small(method, clip_weights=str(tmp_path / "half"))
    assert caught.value.where == str(tmp_path / "half") and "OpenAI's names" in str(caught.value.hint)
    # What clip_weights replaces must be that CLIP.
    with pytest.raises(UserError, match=re.escape(f"{prefix}extra")) as caught:
        small(method, tmp_path / "extra", clip_weights=str(tmp_path / "clip"))
    assert caught.value.where == str(tmp_path / "extra")


def test_a_backbones_file_is_named(tmp_path: Path) -> None:
    save_weights(tmp_path / "r.safetensors", {"stem.conv1.weight": torch.zeros(1)}, {})
    plan = plan_training(
        "zegformer", "world-27-9", settings={"backbone_weights": str(tmp_path / "r.safetensors")}
    )
    with pytest.raises(UserError, match="do not fit") as caught:
        plan.build(0, 1)
    assert caught.value.where == str(tmp_path / "r.safetensors")
    assert "detectron2's names" in str(caught.value.hint)


@pytest.mark.parametrize("method", ALL)
def test_sizes_of_scores(method: str) -> None:
    segmenter = small(method)
    segmenter.prepare(NAMES)
    image = picture(40, 64)
    assert segmenter.scores(image, out_size=(5, 7)).shape == (2, 5, 7)
    for size in ((0, 7), (5, -1), (5,), (5.5, 7), 7):
        with pytest.raises(UserError, match="out_size must be height and width"):
            segmenter.scores(image, out_size=size)


def test_training_names_of_ones_own(tmp_path: Path) -> None:
    segmenter = small("zegformer", seen_rule="names", seen_names="")
    with pytest.raises(UserError, match="no list of those comes with ovbench") as caught:
        segmenter.prepare(NAMES)
    assert "seen_names=FILE.txt" in str(caught.value.hint)
    (tmp_path / "names.txt").write_text("tall tree\n\nlamp\n")
    segmenter = small("zegformer", seen_rule="names", seen_names=str(tmp_path / "names.txt"))
    segmenter.prepare(NAMES)
    assert segmenter.facts()["seen_names"] == ["tall tree"]
    for content, says in ((b"\xff\xfe", "not text"), (b"\n", "is empty")):
        (tmp_path / "names.txt").write_bytes(content)
        with pytest.raises(UserError, match=says):
            segmenter.prepare(NAMES)
    with pytest.raises(UserError, match="no list of training names here"):
        small("zegformer", seen_rule="names", seen_names="nowhere.txt").prepare(NAMES)


def _options(method: str, variant: str) -> dict[str, Any]:
    card = cards()[method]
    return {**card.options, **card.variants[variant].options}


RECIPES = {  # steps, batch, short sides, crop: the official configurations
    ("zegformer", "coco-r101"): (60000, 32, "320,960", "640x640"),
    ("zegformer", "voc-r101"): (10000, 32, "256,1024", "512x512"),
    ("zegformer", "voc-r50"): (10000, 32, "256,1024", "512x512"),
    ("zegformer", "ade-r50"): (60000, 32, "256,1024", "512x512"),
    ("zsseg", "r101c-vild"): (60000, 32, "320,960", "640x640"),
    **{
        ("zsseg", f"r101c-vild-{name}"): (120000, 32, "320,960", "640x640")
        for name in ("ade150", "ade847", "pcontext59", "cityscapes")
    },
    ("zsseg", "r101c-learned-voc15"): (20000, 16, "320,960", "512x512"),
    ("san", "b16"): (60000, 32, "320,960", "640x640"),
    ("san", "l14-336"): (60000, 32, "320,960", "640x640"),
    ("freeseg", "coco-r101"): (60000, 32, "64,1280", "640x640"),
    ("freeseg", "voc15-r101"): (20000, 32, "320,960", "512x512"),
    ("deop", "coco-r101"): (120000, 32, "320,960", "640x640"),
    ("deop", "voc-r101"): (40000, 16, "320,960", "512x512"),
}


@pytest.mark.parametrize(("method", "variant"), RECIPES)
def test_recipes_of_trainings(method: str, variant: str) -> None:
    found = _options(method, variant)
    shown = tuple(found[key] for key in ("steps", "batch", "train_sides", "train_crop"))
    assert shown == RECIPES[method, variant]
    if method == "deop":
        assert found["mask_share"] == 0.5 and found["second_batch"] == 16
        assert (found["second_sides"], found["second_crop"]) == ("256,768", "512x512")


def test_freesegs_configurations() -> None:
    """Frame sizes, class weight and ensemble weight of the two official ones; VOC's is the one for other data sets."""
    keys = ("short_side", "long_side", "label_weight", "mask_weight", "dice_weight", "ensemble_weight")
    found = {v: tuple(_options("freeseg", v)[key] for key in keys) for v in ("coco-r101", "voc15-r101")}
    assert found == {
        "coco-r101": (640, 2560, 1.0, 20.0, 5.0, 0.8),
        "voc15-r101": (512, 2048, 2.0, 20.0, 5.0, 0.4),
    }
    weights = criterion_of(_options("freeseg", "voc15-r101")).weights
    assert (weights.label, weights.mask, weights.dice) == (2.0, 20.0, 5.0)


def test_prompts_of_zegformers_training() -> None:
    used = {v: _options("zegformer", v) for v in ("coco-r101", "coco-r50", "coco-r101-847", "voc-r101")}
    trained = {v: o["train_templates"] or o["templates"] for v, o in used.items()}
    assert trained == {v: "scene" if v == "voc-r101" else "imagenet8" for v in used}
    assert used["coco-r101"]["templates"] == "scene"

    def text(**settings: str) -> torch.Tensor:
        task: Any = plan_training("zegformer", "world-27-9", settings=settings).build(0, 1)
        return torch.as_tensor(task.text)

    own, tested = text(train_templates="single"), text(templates="single")
    assert torch.equal(own, tested) and not torch.equal(own, text())
