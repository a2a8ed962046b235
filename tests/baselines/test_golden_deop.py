"""DeOP as its released code runs it, recorded with weights made from names: ours agrees at full size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_recipes import block_image, named_state

from ovbench.core.errors import UserError
from ovbench.methods.create import create
from ovbench.nn.maskformer import to_pixels
from ovbench.protocol.vocabulary import Vocabulary

LEFT_OVER = {"criterion.empty_weight"}


@pytest.fixture(scope="module")
def method() -> object:
    return create("deop", untrained=True)


@pytest.fixture(scope="module", params=["n02", "fanin"])
def case(request: pytest.FixtureRequest, golden_root: Path, method: object) -> Iterator[SimpleNamespace]:
    """A recording, our network with its weights, and what ours says of its image."""
    folder = golden_root / "deop"
    meta = json.loads((folder / f"{request.param}.json").read_text())
    method.load_official(named_state(folder, meta))
    method.prepare(Vocabulary(meta["vocabulary"]))
    network, image = method.network, block_image(meta["input"])
    with torch.inference_mode():
        images, seen_by_clip = network.inputs(to_pixels(image))
        found = network.net(images, seen_by_clip, method.text, every=True)
    scores = method.scores(image, resize=False, out_size=tuple(meta["input"]["requested_output"]))
    arrays = np.load(folder / f"{request.param}.npz", allow_pickle=False)
    yield SimpleNamespace(
        meta=meta, arrays=arrays, method=method, images=images, found=found, scores=scores, folder=folder
    )


def _close(ours: np.ndarray, theirs: np.ndarray, relative: float = 1e-4) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * np.abs(theirs).max())


@pytest.mark.slow
def test_names_and_shapes(golden_root: Path, method: object) -> None:
    recorded = json.loads((golden_root / "deop" / "state_dict_names.json").read_text())
    expected = {name: tuple(shape) for name, shape, _ in recorded}
    ours = method.official_names()
    assert set(expected) - set(ours) == LEFT_OVER
    assert ours == {name: shape for name, shape in expected.items() if name not in LEFT_OVER}


@pytest.mark.slow
def test_stages(case: SimpleNamespace) -> None:
    net, arrays = case.method.network.net, case.arrays
    with torch.inference_mode():
        maps = net.backbone(case.images)
        features = net.sem_seg_head["pixel_decoder"](maps)[0]
        dense = net.dense(case.images, case.found.final.masks[-1])[0]
        vectors = net.read_masks(case.images, case.found.final.masks[-1])[0]
    for name, value in maps.items():
        _close(value.mean((2, 3)).numpy(), arrays[f"{name}_chmean"])
    _close(maps["res5"][0, ::16, ::2, ::2].numpy(), arrays["res5_s"])
    _close(features[::8, ::6, ::6].numpy(), arrays["mask_features_s"])
    _close(case.found.final.masks[-1, 0, :, ::4, ::4].numpy(), arrays["pred_masks_s4"])
    theirs = torch.from_numpy(arrays["clip_dense_s"])
    ours = dense[:, ::3, ::4].permute(1, 2, 0)
    _close(ours.numpy(), F.normalize(theirs, dim=-1).numpy())
    _close(vectors.numpy(), arrays["query_features"][:, 0])
    _close(case.method.text.numpy(), arrays["text_features"][:-1])


@pytest.mark.slow
def test_class_logits(case: SimpleNamespace) -> None:
    _close(case.found.final.logits[-1, 0].numpy(), case.arrays["logits"])
    assert case.found.proposals.logits.shape == (6, 1, 100, len(case.meta["vocabulary"]) + 1)
    assert torch.equal(case.found.proposals.masks[-1:], case.found.final.masks)


@pytest.mark.slow
def test_scores_and_label_map(case: SimpleNamespace) -> None:
    scores, recorded = case.scores, case.meta["sem_seg_full"]
    assert list(scores.shape) == recorded["shape"]
    _close(scores[:, ::8, ::8], case.arrays["sem_seg_s8"])
    np.testing.assert_allclose(scores.mean((1, 2)), recorded["per_class_mean"], rtol=1e-4)
    np.testing.assert_allclose(scores.std((1, 2)), recorded["per_class_spatial_std"], rtol=1e-4, atol=1e-6)
    _same_label_map(scores, case.arrays["argmax"], 1e-4 * scores.max())
    centred = scores - scores.mean((1, 2), keepdims=True)
    standard = centred / scores.std((1, 2), keepdims=True)
    _same_label_map(standard, case.arrays["zscore_argmax"], 1e-3)


def _same_label_map(scores: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    top = np.sort(scores, axis=0)[-2:]
    sure = top[1] - top[0] > tolerance
    assert np.array_equal(scores.argmax(0)[sure], theirs[sure])


@pytest.mark.slow
def test_files_with_old_head_names_and_without_clip(case: SimpleNamespace) -> None:
    state = {}
    for name, value in case.method.network.net.state_dict().items():
        if name.startswith("clip_adapter.clip_model.") and not name.endswith("learned_position"):
            continue
        state[name.replace("sem_seg_head.pixel_decoder.", "sem_seg_head.")] = value.clone()
    before = case.method.network.net.backbone.stem.conv1.weight.clone()
    state["backbone.stem.conv1.weight"] += 1
    case.method.load_official(state)
    assert torch.equal(case.method.network.net.backbone.stem.conv1.weight, before + 1)
    state.pop("query_embedding.weight")
    with pytest.raises(UserError, match="1 missing \\(query_embedding.weight\\)"):
        case.method.load_official(state)
    state["query_embedding.weight"] = case.method.network.net.query_embedding.weight.clone()
    state["backbone.stem.conv1.weight"] -= 1
    case.method.load_official(state)
