"""SAN's official code, recorded with weights made from names: ours is the same function."""

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
from ovbench.baselines.san.segmenter import San

from ovbench.methods.create import create
from ovbench.methods.fit import segmenter_on_meta
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import clip_pixels, pad, resize_shortest, to_pixels
from ovbench.protocol.vocabulary import Vocabulary

TIGHT, AGREE = 1e-4, 0.9999
"""Of the maximum: logits, masks, features and scores; equal labels."""


@dataclass
class Case:
    """One recording, and our method with its weights."""

    meta: dict[str, Any]
    arrays: Any
    params: dict[str, Any]
    method: San

    def image(self, which: str = "") -> np.ndarray:
        meta = self.meta
        keys = (f"{which}image_seed", f"{which}image_hw", f"{which}image_sha256")
        return recorded_image(*(meta[key] for key in keys))


@pytest.fixture(scope="module", params=["b16_unit", "b16_s002"])
def case(request: pytest.FixtureRequest, golden_root: Path) -> Case:
    folder = golden_root / "san"
    meta = json.loads((folder / f"{request.param}.json").read_text())
    params = json.loads((folder / f"{request.param}_params.json").read_text())
    arrays = np.load(folder / f"{request.param}.npz", allow_pickle=False)
    method = create("san", "b16", untrained=True)
    assert isinstance(method, San)
    method.load_official({name: recorded_value(name, rule) for name, rule in params.items() if "std" in rule})
    return Case(meta, arrays, params, method)


def close(ours: Any, golden: np.ndarray, share: float = TIGHT) -> None:
    ours = np.asarray(ours)
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).max() <= share * np.abs(golden).max()


@pytest.mark.slow
def test_names_and_shapes(case: Case) -> None:
    recorded = {name: tuple(rule["shape"]) for name, rule in case.params.items()}
    assert recorded.pop("criterion.empty_weight") == (172,)
    assert case.method.official_names() == recorded


def test_names_and_shapes_of_the_large_one(golden_root: Path) -> None:
    listed = json.loads((golden_root / "san" / "l14_names.json").read_text())
    names = {name: tuple(rule["shape"]) for name, rule in listed.items()}
    assert len(names) == 586 and names.pop("criterion.empty_weight") == (172,)
    assert segmenter_on_meta("san", "l14-336").official_names() == names  # type: ignore[attr-defined]


@pytest.mark.slow
def test_small_image(case: Case) -> None:
    case.method.prepare(Vocabulary(case.meta["small_vocabulary"]))
    scores = case.method.scores(case.image("small_"), resize=False, out_size=case.meta["small_out_hw"])
    close(scores[:, ::2, ::2], case.arrays["small_sem_seg"])
    assert (scores.argmax(0) == case.arrays["small_argmax"]).mean() >= AGREE


@pytest.mark.slow
def test_clips_blocks(case: Case) -> None:
    """What CLIP sees of the small image, at half its size (8x6 places), and the vectors of its proposals."""
    network, starts = case.method.network, []
    extractor = network.net.clip_visual_extractor
    hooks = [
        block.ln_1.register_forward_pre_hook(lambda _, given: starts.append(given[0][0, 0].clone()))
        for block in extractor.resblocks
    ]
    images = pad(clip_pixels(network.clip, to_pixels(case.image("small_"))))
    with torch.inference_mode():
        maps, start = network.net.look(images)
        ((masks, bias),) = network.net.side_adapter_network(images, maps)
        vectors = network.net.clip_rec_head(maps[-1], start, bias, masks)
    close(vectors[0, ::10], case.arrays["mask_embed"])
    for hook in hooks:
        hook.remove()
    starts.append(start[0, 0])
    assert len(maps) == len(starts) == 10
    for level, (cells, found) in enumerate(zip(maps, starts, strict=True)):
        close(cells[0, ::32, ::2, ::2], case.arrays[f"clip_feat_{level}"])
        close(found, case.arrays[f"clip_cls_{level}"])


@dataclass
class Full:
    """The recording's large image on its way through the network."""

    case: Case
    resized: np.ndarray
    said: Predictions
    bias: torch.Tensor


@pytest.fixture(scope="module")
def full(case: Case) -> Full:
    """Every stage once."""
    network, net = case.method.network, case.method.network.net
    case.method.prepare(Vocabulary(case.meta["vocabulary"]))
    config = network.config
    resized = np.asarray(resize_shortest(case.image(), config.short_side, config.long_side))
    images = pad(clip_pixels(network.clip, to_pixels(resized)))
    with torch.inference_mode():
        maps, start = net.look(images)
        ((masks, bias),) = net.side_adapter_network(images, maps)
        vectors = net.clip_rec_head(maps[-1], start, bias, masks)
        logits = net.ov_classifier(vectors, case.method.text)
    return Full(case, resized, Predictions(logits[None], masks[None]), bias)


@pytest.mark.slow
def test_resizing(full: Full) -> None:
    meta = full.case.meta
    assert list(full.resized.shape[:2]) == meta["resized_hw"]
    assert hashlib.sha256(full.resized.tobytes()).hexdigest() == meta["resized_sha256"]


@pytest.mark.slow
def test_text(full: Full) -> None:
    method, arrays = full.case.method, full.case.arrays
    background = method.network.net.ov_classifier.bg_embed
    close(torch.cat([method.text, background / background.norm()]), arrays["text_classifier"])
    prompts = [f"a photo of a {name}." for name in full.case.meta["vocabulary"]]
    assert np.array_equal(method.network.clip.tokenizer(prompts).numpy(), arrays["tokens_photo_of_a"])


@pytest.mark.slow
def test_stages(full: Full) -> None:
    arrays = full.case.arrays
    close(full.said.masks[0, 0, ::10, ::2, ::2], arrays["mask_preds_q10"])
    close(full.bias[0, :, ::25, ::4, ::4], arrays["attn_bias_q25"])
    close(full.said.logits[0, 0], arrays["class_logits"])


@pytest.mark.slow
def test_full_image(full: Full) -> None:
    scores = full.case.method.scores(full.case.image())
    close(scores[:, ::8, ::8], full.case.arrays["sem_seg_stride8"])
    assert (scores.argmax(0) == full.case.arrays["argmax"]).mean() >= AGREE
