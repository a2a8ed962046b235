"""zsseg.baseline's official code, recorded with weights made from names: ours is the same function."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_recipes import recorded_image, recorded_value
from ovbench.baselines.zsseg.network import Opinions
from ovbench.baselines.zsseg.segmenter import ZsSeg

from ovbench.methods.create import create
from ovbench.nn.maskformer import clip_pixels, normalise_pixels, pad, resize_shortest, to_pixels
from ovbench.nn.maskmodel import CONSTANTS
from ovbench.nn.regions import tight_boxes
from ovbench.protocol.vocabulary import Vocabulary

pytestmark = pytest.mark.slow
TIGHT, REGIONS, AGREE = 1e-4, 1e-3, 0.9995
"""Of the maximum: logits, masks and maps; scores that pass through crops cut at a threshold; equal labels then."""
VARIANTS = {"r101c_vild": "r101c-vild-ade150", "r101c_learn": "r101c-learned"}


@dataclass
class Case:
    """One recording, and our method with its weights."""

    meta: dict[str, Any]
    arrays: Any
    params: dict[str, Any]
    method: ZsSeg

    def vocabulary(self, flags: bool = False) -> Vocabulary:
        seen = [bool(f) for f in self.meta["trainable_flag"]] if flags else None
        return Vocabulary(self.meta["vocabulary"], seen)

    def small(self) -> np.ndarray:
        return recorded_image(
            self.meta["small_image_seed"], self.meta["small_image_hw"], self.meta["small_image_sha256"]
        )


@pytest.fixture(scope="module", params=["r101c_vild_unit", "r101c_vild_s002", "r101c_learn_unit"])
def case(request: pytest.FixtureRequest, golden_root: Path) -> Case:
    folder = golden_root / "zsseg"
    meta = json.loads((folder / f"{request.param}.json").read_text())
    params = json.loads((folder / f"{request.param}_params.json").read_text())
    arrays = np.load(folder / f"{request.param}.npz", allow_pickle=False)
    method = create("zsseg", VARIANTS[meta["variant"]], untrained=True)
    assert isinstance(method, ZsSeg)
    config, settings = method.network.config, meta["settings"]
    assert config.mask_threshold == settings["mask_thr"]
    assert config.ensemble_weight == settings["clip_ensemble_weight"]
    assert config.short_side == settings["min_size_test"]
    method.load_official({name: recorded_value(name, rule) for name, rule in params.items() if "std" in rule})
    method.prepare(Vocabulary(meta["vocabulary"]))
    return Case(meta, arrays, params, method)


def close(ours: Any, golden: np.ndarray, share: float = TIGHT) -> None:
    ours = np.asarray(ours)
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).max() <= share * np.abs(golden).max()


def same_labels(ours: np.ndarray, golden: np.ndarray) -> None:
    """Labels of (K, H, W) scores: equal where the lead is clear, and nearly everywhere."""
    best = np.sort(ours, 0)
    clear = best[-1] - best[-2] > 2 * REGIONS * best[-1].max()
    equal = ours.argmax(0) == golden
    assert equal[clear].all() and equal.mean() >= AGREE


def test_names_and_shapes(case: Case) -> None:
    recorded = {
        name: tuple(rule["shape"]) for name, rule in case.params.items() if not name.startswith(CONSTANTS)
    }
    assert case.method.official_names() == recorded
    left = {name for name in case.params if name.startswith(CONSTANTS)}
    assert left == {"criterion.empty_weight", "clip_adapter.pixel_mean", "clip_adapter.pixel_std"}
    assert left == {name for name, rule in case.params.items() if "keep" in rule}


def test_text(case: Case) -> None:
    adapter = case.method.network.net.clip_adapter
    with torch.no_grad():
        close(adapter.with_void(case.method.text), case.arrays["small_text_classifier"])
    tokens = adapter.clip.tokenizer(case.meta["vocabulary"]).numpy()
    assert np.array_equal(tokens, case.arrays["tokens_nouns"])


@pytest.fixture(scope="module")
def small(case: Case) -> Opinions:
    """What the method makes of the small image, which is not resized; flags come in later."""
    case.method.prepare(case.vocabulary())
    return case.method.network.opinions(case.small(), case.method.texts, resize=False)


@pytest.mark.parametrize("name", ["small_", "small_flag_"])
def test_small_image(case: Case, small: Opinions, name: str) -> None:
    case.method.prepare(case.vocabulary(flags="flag" in name))
    scores = case.method.network.assemble(small, case.method.seen, case.meta["small_out_hw"]).numpy()
    close(scores[:, ::2, ::2], case.arrays[name + "sem_seg"], REGIONS)
    same_labels(scores, case.arrays[name + "argmax"])
    assert np.array_equal(small.valid, case.arrays["small_valid"])


STRIDES = {"res2": (64, 4), "res3": (64, 2), "res4": (64, 2), "res5": (64, 2)}
"""Of channels and of places, in the recorded samples."""


@dataclass
class Full:
    """The recording's large image, resized, and what the method makes of it once."""

    case: Case
    resized: np.ndarray
    found: Opinions


@pytest.fixture(scope="module")
def full(case: Case) -> Full:
    meta, config = case.meta, case.method.network.config
    if "image_seed" not in meta:
        pytest.skip("recorded on the small image only")
    image = recorded_image(meta["image_seed"], meta["image_hw"], meta["image_sha256"])
    case.method.prepare(case.vocabulary())
    resized = resize_shortest(image, config.short_side, config.long_side)
    return Full(case, resized, case.method.network.opinions(image, case.method.texts))


def test_resizing(full: Full) -> None:
    meta = full.case.meta
    assert list(full.resized.shape[:2]) == meta["resized_hw"]
    assert hashlib.sha256(full.resized.tobytes()).hexdigest() == meta["resized_sha256"]


def test_full_image(full: Full) -> None:
    arrays, found = full.case.arrays, full.found
    close(found.query, arrays["class_logits"])
    assert np.array_equal(found.valid, arrays["valid"])
    scores = full.case.method.network.assemble(
        found, full.case.method.seen, full.case.meta["image_hw"]
    ).numpy()
    close(scores[:, ::8, ::8], arrays["sem_seg_stride8"], REGIONS)
    same_labels(scores, arrays["argmax"])


def test_stages(full: Full) -> None:
    arrays, network = full.case.arrays, full.case.method.network.net
    images = pad(normalise_pixels(to_pixels(full.resized)))
    with torch.inference_mode():
        maps = network.backbone(images)
        for name, (channels, cells) in STRIDES.items():
            close(maps[name][0, ::channels, ::cells, ::cells], arrays[name])
        features = network.sem_seg_head["pixel_decoder"](maps)
        close(features[0, ::64, ::4, ::4], arrays["mask_features_c64"])
        said = network(images, full.case.method.text)
        close(said.masks[0, 0, ::20, ::4, ::4], arrays["mask_preds_q20"])


def test_crops(full: Full) -> None:
    arrays, network = full.case.arrays, full.case.method.network
    masks = full.found.masks > network.config.mask_threshold
    regions = network.net.regions
    boxes, _ = tight_boxes(masks)
    pixels = clip_pixels(network.clip, to_pixels(full.resized))[0]
    crops = torch.stack([regions.crop(pixels, masks[i], boxes[i].tolist()) for i in range(0, 100, 25)])
    golden = arrays["region_input_q25"]
    off = np.abs(crops[:, :, ::8, ::8].numpy() - golden) > TIGHT * np.abs(golden).max()
    assert off.mean() <= 1 - AGREE
    with torch.inference_mode():
        vectors, _ = regions.regions(pixels, masks[::5])
    close(torch.nn.functional.normalize(vectors, dim=-1), arrays["region_features_q5"], REGIONS)
