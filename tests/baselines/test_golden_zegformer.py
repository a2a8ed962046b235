"""ZegFormer beside recordings of the official code: names, every stage, regions, final scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_recipes import block_image, named_state
from ovbench.baselines.zegformer.network import Network
from ovbench.baselines.zegformer.segmenter import ZegFormerSegmenter, build

from ovbench.core.paths import room
from ovbench.methods.base import Setup
from ovbench.methods.card import read_card
from ovbench.nn.maskformer import enlarge, normalise_pixels, pad, postprocess, to_pixels
from ovbench.nn.regions import encode_crops
from ovbench.protocol.vocabulary import Vocabulary

pytestmark = pytest.mark.slow

TEMPLATES = {"single": "scene", "imagenet_select": "imagenet8"}
TOLERANCE = 1e-4
PADDED = (480, 640)


class Case:
    """A recording and our network with its weights."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.meta: dict[str, Any] = json.loads((folder / f"{profile}.json").read_text())
        self.arrays = np.load(folder / f"{profile}.npz", allow_pickle=False)
        card = read_card(room("baselines") / "zegformer" / "method.toml")
        options = {**card.options, "templates": TEMPLATES[self.meta["prompt_ensemble_type"]]}
        self.segmenter: ZegFormerSegmenter = build(Setup("zegformer", "coco-r101", options, untrained=True))
        self.segmenter.load_official(named_state(folder, self.meta))
        self.image = block_image(self.meta["input"])
        self.pixels = to_pixels(self.image)

    @property
    def network(self) -> Network:
        return self.segmenter.network

    def prepare(self, meta: dict[str, Any]) -> None:
        names = meta["vocabulary"]
        self.segmenter.prepare(Vocabulary(names, seen=[n not in meta["unseen"] for n in names]))


@pytest.fixture(scope="module", params=["fanin", "n02"])
def case(request: pytest.FixtureRequest, golden_root: Path) -> Iterator[Case]:
    case = Case(golden_root / "zegformer", request.param)
    case.prepare(case.meta)
    yield case


@pytest.fixture(autouse=True)
def two_threads(one_torch_thread: None) -> None:
    """As recorded: convolutions round differently with other numbers of threads."""
    torch.set_num_threads(2)


def _near(ours: Any, recorded: np.ndarray, tolerance: float = TOLERANCE) -> None:
    ours = np.asarray(ours)
    assert ours.shape == recorded.shape
    assert np.abs(ours - recorded).max() <= tolerance * np.abs(recorded).max()


def _same_winner(maps: np.ndarray, recorded: np.ndarray, margin: float) -> None:
    second, first = np.sort(maps, axis=0)[-2:]
    sure = first - second > margin
    assert np.array_equal(maps.argmax(0)[sure], recorded[sure])


def test_names_and_shapes(case: Case, golden_root: Path) -> None:
    listed = json.loads((golden_root / "zegformer" / "state_dict_names.json").read_text())
    official = {name: tuple(shape) for name, shape, _ in listed}
    assert official.pop("criterion.empty_weight")
    assert case.segmenter.official_names() == official


@torch.inference_mode()
def test_every_stage(case: Case) -> None:
    _near(case.segmenter.text, case.arrays["text_features"])
    _near(case.segmenter.region_text, case.arrays["text_features_clip"])
    net, recorded = case.network.net, case.arrays
    maps = net.backbone(pad(normalise_pixels(case.pixels)))
    for name, value in maps.items():
        _near(value.mean((2, 3)), recorded[f"{name}_chmean"])
    _near(maps["res5"][0, ::16, ::2, ::2], recorded["res5_s"])
    features = net.sem_seg_head["pixel_decoder"](maps)
    _near(features[0, ::8, ::6, ::6], recorded["mask_features_s"])
    held = net.predictor.decode(maps["res5"])
    _near(net.predictor.classify(held, case.segmenter.text)[-1, 0], recorded["pred_logits"])
    masks = net.predictor.masks(held, features)[-1]
    _near(masks[0, :, ::4, ::4], recorded["pred_masks_s4"])
    logits = enlarge(masks, PADDED)[0]
    regions = case.network.regions(case.pixels, logits, logits.sigmoid() > 0.5)
    assert np.array_equal(regions.boxes.numpy(), recorded["boxes_xyxy"])
    crops = torch.stack([regions.crop(query) for query in range(0, 100, 20)])
    _near(crops[:, :, ::14, ::14], recorded["clip_crops_s"])
    some = list(range(0, 100, 11))
    features = encode_crops(lambda i: regions.crop(some[i]), some, case.network.clip.model.encode_image)
    _near(features, recorded["clip_image_features"][some])


def test_scores(case: Case) -> None:
    ours = case.segmenter.scores(
        case.image, resize=False, out_size=tuple(case.meta["input"]["requested_output"])
    )
    _near(ours[:, ::8, ::8], case.arrays["sem_seg_s8"])
    whole = case.meta["sem_seg_full"]
    np.testing.assert_allclose(ours.mean((1, 2)), whole["per_class_mean"], atol=1e-4 * abs(whole["max"]))
    _same_winner(ours, case.arrays["argmax"], TOLERANCE * np.abs(ours).max())
    deviation = ours.std((1, 2), keepdims=True)
    # Random networks name nearly every place alike; standardised maps show where the structure lies.
    spread = (ours - ours.mean((1, 2), keepdims=True)) / deviation
    _same_winner(spread, case.arrays["zscore_argmax"], TOLERANCE * np.abs(ours).max() / deviation.min())


@torch.inference_mode()
def test_regions_of_made_up_masks(case: Case, golden_root: Path) -> None:
    """Empty, thin, one cell, blob, two blobs, full, reaching into the padding, corner; three decision rules."""
    meta = json.loads((golden_root / "zegformer" / "region_synthetic.json").read_text())
    if meta["salt"] != case.meta["salt"]:
        return
    recorded = np.load(golden_root / "zegformer" / "region_synthetic.npz", allow_pickle=False)
    case.prepare(meta)
    network, seen = case.network, case.segmenter.seen
    _near(case.segmenter.region_text, recorded["text_features_clip"])
    masks = torch.from_numpy(recorded["in_pred_masks"])[None]
    logits = enlarge(masks, PADDED)[0]
    regions = network.regions(case.pixels, logits, logits.sigmoid() > 0.5)
    assert np.array_equal(regions.boxes.numpy(), recorded["boxes_xyxy"])
    crops = torch.stack([regions.crop(query) for query in range(8)])
    _near(crops[:, :, ::7, ::7], recorded["clip_crops_s"])
    assert len(set(regions.keys())) == 7  # one cell among its opposites is nothing once enlarged
    _near(
        encode_crops(regions.crop, regions.keys(), network.clip.model.encode_image),
        recorded["clip_image_features"],
    )
    rules = {"ensembling": "seen", "ensembling_all_cls": "all", "clip_only": "clip"}
    for name, ensemble in rules.items():
        config = network.config
        try:
            network.config = type(config)(**{**vars(config), "ensemble": ensemble})
            scores = network.assemble(
                case.pixels,
                torch.from_numpy(recorded["in_pred_logits"]),
                masks,
                case.segmenter.region_text,
                seen,
            )
        finally:
            network.config = config
        scores = postprocess(scores, case.image.shape[:2], meta["input"]["requested_output"])
        scores = scores - meta["gzero_calibrate"] * seen[:, None, None]
        _near(scores[:, ::8, ::8], recorded[f"sem_seg_s8_{name}"])
