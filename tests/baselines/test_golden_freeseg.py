"""FreeSeg as its released code runs it, recorded with weights made from names: ours is the same function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_recipes import block_image, named_state
from ovbench.baselines.freeseg.network import Network
from ovbench.baselines.freeseg.segmenter import FreeSeg

from ovbench.methods.create import create
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import clip_pixels, normalise_pixels, pad, to_pixels
from ovbench.nn.maskmodel import CONSTANTS
from ovbench.nn.regionmodel import Opinions
from ovbench.nn.regions import tight_boxes
from ovbench.protocol.vocabulary import Vocabulary

pytestmark = pytest.mark.slow
TIGHT, LOOSE = 1e-4, 5e-3
"""Of the maximum; `LOOSE` for what passes through crops cut at a threshold of masks that are not recorded."""
AGREE, RANKED = 0.998, 0.97
"""Share of equal labels; the same after every class was standardised, where two maps are nearly proportional."""


@dataclass
class Case:
    """One recording, and our method with its weights."""

    meta: dict[str, Any]
    arrays: Any
    method: FreeSeg

    @property
    def network(self) -> Network:
        return self.method.network

    @property
    def pixels(self) -> torch.Tensor:
        return to_pixels(block_image(self.meta["input"]))

    @property
    def asked(self) -> torch.Tensor:
        """(K + 1, 512) unit vectors, the last "no object"."""
        return self.network.net.clip_adapter.with_void(self.method.text)

    def vocabulary(self, flags: bool) -> Vocabulary:
        names, unseen = self.meta["vocabulary"], self.meta["unseen"]
        return Vocabulary(names, [n not in unseen for n in names] if flags else None)

    def assemble(self, found: Opinions, flags: bool = True) -> np.ndarray:
        self.method.prepare(self.vocabulary(flags))
        size = self.meta["input"]["requested_output"]
        return self.network.assemble(found, self.method.seen, size).numpy()


def close(ours: Any, golden: np.ndarray, share: float = TIGHT) -> None:
    ours = np.asarray(ours)
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).max() <= share * np.abs(golden).max()


@pytest.fixture(scope="module")
def method() -> FreeSeg:
    made = create("freeseg", untrained=True)
    assert isinstance(made, FreeSeg)
    return made


def opened(method: FreeSeg, folder: Path, name: str) -> Case:
    meta = json.loads((folder / f"{name}.json").read_text())
    method.load_official(named_state(folder, meta))
    method.prepare(Vocabulary(meta["vocabulary"]))
    return Case(meta, np.load(folder / f"{name}.npz", allow_pickle=False), method)


@pytest.fixture(scope="module", params=["n02", "fanin"])
def case(request: pytest.FixtureRequest, golden_root: Path, method: FreeSeg) -> Iterator[Case]:
    yield opened(method, golden_root / "freeseg", request.param)


def test_names_and_shapes(golden_root: Path, method: FreeSeg) -> None:
    recorded = json.loads((golden_root / "freeseg" / "state_dict_names.json").read_text())
    expected = {name: tuple(shape) for name, shape, _ in recorded if not name.startswith(CONSTANTS)}
    assert method.official_names() == expected
    left = {name for name, *_ in recorded if name.startswith(CONSTANTS)}
    assert left == {"criterion.empty_weight", "clip_adapter.pixel_mean", "clip_adapter.pixel_std"}


def test_stages(case: Case) -> None:
    """Backbone, text, pixel decoder, interaction, vectors and masks."""
    arrays, net = case.arrays, case.network.net
    head = net.sem_seg_head
    with torch.inference_mode():
        close(case.asked, arrays["text_features"])
        maps = net.backbone(pad(normalise_pixels(case.pixels)))
        for name in ("res2", "res3", "res4", "res5"):
            close(maps[name].mean((2, 3)), arrays[f"{name}_chmean"])
        features, levels = head["pixel_decoder"](maps)
        close(features[0, ::8, ::6, ::6], arrays["mask_features_s"])
        close(levels[0][0, ::8], arrays["ms0_s"])
        close(levels[2][0, ::8, ::4, ::4], arrays["ms2_s"])
        *levels, features = head["interaction"]([*levels, features], case.asked)
        close(features[0, ::8, ::6, ::6], arrays["mask_features_inter_s"])
        held, masks = net.predictor.decode(levels, features)
        close(net.predictor.class_embed(held)[0, 0], arrays["class_embed"])
        close(masks[0, 0, :, ::4, ::4], arrays["pred_masks_s4"])


def test_a_frame(case: Case) -> None:
    """Regions and scores, with and without names that count as seen."""
    arrays, image = case.arrays, block_image(case.meta["input"])
    found = case.network.opinions(image, case.method.texts, resize=False)
    assert np.array_equal(found.valid, arrays["clip_valid"])
    close(found.region, arrays["clip_logits"][:, :-1], LOOSE)
    free = case.assemble(found, flags=False)
    close(free[:, ::8, ::8], arrays["sem_seg_notrainflag_s8"], LOOSE)
    scores = case.assemble(found)
    close(scores[:, ::8, ::8], arrays["sem_seg_s8"], LOOSE)
    assert (scores.argmax(0) == arrays["argmax"]).mean() >= AGREE
    centred = (scores - scores.mean((1, 2), keepdims=True)) / scores.std((1, 2), keepdims=True)
    assert (centred.argmax(0) == arrays["zscore_argmax"]).mean() >= RANKED


def test_recorded_masks(golden_root: Path, method: FreeSeg) -> None:
    """Empty, thin, tiny, torn, full masks and some that reach into the padding, with the recorded vectors."""
    case = opened(method, golden_root / "freeseg", "region_synthetic")
    arrays, network = case.arrays, case.network
    vectors = F.normalize(torch.from_numpy(arrays["in_class_embed"]), dim=-1)
    logits = network.net.clip_adapter.similarities(vectors, case.asked)
    masks = torch.from_numpy(arrays["in_pred_masks"])
    found = network.judge(case.pixels, Predictions(logits[None, None], masks[None, None]), case.method.texts)
    assert np.array_equal(found.valid, arrays["clip_valid"]) and not found.valid.all()
    close(found.region, arrays["clip_logits"][:, :-1])
    close(case.assemble(found)[:, ::8, ::8], arrays["sem_seg_s8"])
    shown, cut = clip_pixels(network.clip, case.pixels)[0], found.masks > network.config.mask_threshold
    boxes, valid = tight_boxes(cut)
    crops = [network.regions.crop(shown, cut[i], boxes[i].tolist()) for i in valid.nonzero()[:, 0].tolist()]
    close(torch.stack(crops)[:, :, ::7, ::7], arrays["clip_crops_s"])
