"""DeOP: its parts against slow versions by hand, its card, its weights, and the world's size from the same code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ovbench.baselines.deop.config import Config
from ovbench.baselines.deop.heatmap import HeatmapDecoder, MaskedGather, OutLayer
from ovbench.baselines.deop.model import severance
from ovbench.baselines.deop.network import Network
from ovbench.baselines.deop.segmenter import DeOPSegmenter, build

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.methods.base import Setup
from ovbench.methods.card import Card, read_card
from ovbench.nn.checkpoint import save_weights
from ovbench.protocol.vocabulary import Vocabulary

NAMES = Vocabulary(["red disc", "plain sky", "dotted floor"])


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(room("baselines") / "deop" / "method.toml")


@pytest.fixture(scope="module")
def network(card: Card) -> Network:
    """The world's size, filled; tests do not change it."""
    return Network.load(Config.from_options(_options(card, "world")), None)


def _options(card: Card, variant: str, **changes: Any) -> Mapping[str, Any]:
    return {**card.options, **card.variants[variant].options, **changes}


def _world(card: Card, weights: Path | None = None, **changes: Any) -> DeOPSegmenter:
    return build(Setup("deop", "world", _options(card, "world", **changes), weights, weights is None))


def _image(h: int, w: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (h // 16 + 1, w // 16 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:h, :w]


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_severance_is_the_sum_over_queries_of_masked_values() -> None:
    masks, values = 3 * _random(2, 5, 12, 16), _random(2, 1 + 3 * 4, 8, seed=1)
    small = F.interpolate(masks, (3, 4), mode="bilinear", align_corners=False).sigmoid().flatten(2)
    shares = torch.cat([torch.ones(2, 5, 1), small], dim=2)
    slow = torch.einsum("bqn,bnc->bqnc", shares, values).sum(1)
    torch.testing.assert_close(severance(masks, (3, 4))[..., None] * values, slow)


def test_gathering_multiplies_after_the_softmax_and_projects_nothing() -> None:
    gather = MaskedGather(8, 2, 0.0)
    query, key, value = _random(1, 3, 8), _random(1, 5, 8, seed=1), _random(1, 5, 8, seed=2)
    masks = _random(1, 3, 5, seed=3).sigmoid()
    with torch.no_grad():
        q = (query @ gather.in_proj_weight[:8].T)[0].reshape(3, 2, 4)
        k = (key @ gather.in_proj_weight[8:16].T)[0].reshape(5, 2, 4)
        rows = []
        for head in range(2):
            weights = (q[:, head] @ k[:, head].T / 4**0.5).softmax(-1) * masks[0]
            rows.append(weights @ value[0, :, 4 * head : 4 * head + 4])
        torch.testing.assert_close(gather(query, key, value, masks)[0], torch.cat(rows, dim=1))


@pytest.mark.parametrize(("strength", "length"), [(1e-15, 1.0), (0.0, 0.0)])
def test_faint_masks_still_give_unit_vectors(strength: float, length: float) -> None:
    layer = OutLayer(8, 2, 0.1).eval()
    memory, masks = _random(1, 5, 8, seed=1), torch.full((1, 3, 5), strength)
    with torch.no_grad():
        out = layer(torch.zeros(1, 3, 8), _random(1, 3, 8), memory, memory, masks)
    torch.testing.assert_close(out.norm(dim=-1), torch.full((1, 3), length))


def test_names_of_the_heatmap_decoder() -> None:
    names = set(HeatmapDecoder(1, 8, 2, 16).state_dict())
    assert "layers.0.multihead_attn_my.out_proj.weight" in names and "norm.weight" in names
    assert "outlayer.multihead_attn_my.in_proj_weight" in names
    assert not [n for n in names if n.startswith("outlayer.multihead_attn_my.out_proj")]
    assert not [n for n in names if ".multihead_attn." in n]


def test_what_a_criterion_is_given(network: Network) -> None:
    pixels = torch.from_numpy(_image(64, 96)).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1)
    images, seen_by_clip = network.inputs(pixels)
    text = network.texts(NAMES)[0]
    with torch.no_grad():
        found = network.net(images, seen_by_clip, text, every=True)
        alone = network.net(images[:1], seen_by_clip[:1], text)
    assert found.final.logits.shape == (1, 2, 20, 4) and found.final.masks.shape == (1, 2, 20, 32, 48)
    assert found.proposals is not None and alone.proposals is None
    assert found.proposals.logits.shape == (3, 2, 20, 4) and found.proposals.masks.shape == (3, 2, 20, 32, 48)
    torch.testing.assert_close(found.final.logits[:, :1], alone.final.logits, rtol=1e-3, atol=1e-3)


def test_gradients_reach_what_deop_trains(card: Card) -> None:
    network = Network(Config.from_options(_options(card, "world")))
    net = network.net.train().requires_grad_(True)
    images, seen_by_clip = network.inputs(torch.from_numpy(_image(64, 64)).permute(2, 0, 1)[None].float())
    found = net(images, seen_by_clip, network.texts(NAMES)[0], every=True)
    (found.final.logits.logsumexp(-1).mean() + found.proposals.logits.logsumexp(-1).mean()).backward()
    learned = [
        net.clip_adapter.clip_model.visual.learned_position,
        net.clip_adapter.clip_model.visual.transformer.resblocks[1].learned_position,
        net.clip_adapter.prompt_learner.prefix_prompt,
        net.clip_adapter.non_object_embedding,
        net.query_embedding.weight,
        net.decoder.outlayer.multihead_attn_my.in_proj_weight,
        net.predictor.class_embed.layers[1].weight,
        net.predictor.query_embed.weight,
        net.backbone.stem.conv1.weight,
    ]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learned)


def test_what_clip_sees(card: Card, network: Network) -> None:
    pixels = torch.from_numpy(_image(40, 64)).permute(2, 0, 1)[None].float()
    images, seen_by_clip = network.inputs(pixels)
    assert images.shape == seen_by_clip.shape == (1, 3, 64, 64)
    torch.testing.assert_close(seen_by_clip[:, :, :40], (pixels / 255 - 0.45) / 0.27)
    assert not seen_by_clip[:, :, 40:].any()
    released = Network(Config.from_options(_options(card, "world", clip_input="imagenet")))
    images, seen_by_clip = released.inputs(pixels)
    assert seen_by_clip is images
    torch.testing.assert_close(images[0, 0, :40], (pixels[0, 0] - 123.675) / 58.395)


@pytest.mark.parametrize("size", [(96, 160), (97, 123), (50, 40)])
def test_label_maps_have_the_frames_size(card: Card, size: tuple[int, int]) -> None:
    method = _world(card)
    method.prepare(NAMES)
    image = _image(*size)
    labels, scores = method.segment_frame(image), method.scores(image)
    assert labels.shape == size and labels.dtype == np.uint8 and scores.dtype == np.float32
    assert np.array_equal(labels, scores.argmax(0))
    assert method.scores(image, out_size=(7, 9)).shape == (3, 7, 9)


def test_the_attention_of_the_last_block_can_stay(card: Card) -> None:
    image, masks = _random(1, 3, 64, 96), _random(1, 20, 16, 24)
    maps = []
    for severed in (True, False):
        net = _world(card, severance=severed).network.net
        with torch.inference_mode():
            maps.append(net.dense(image, masks))
            changed = not torch.allclose(maps[-1], net.dense(image, masks - 2), atol=1e-3)
        assert changed == severed
    assert maps[0].shape == (1, 64, 8, 12) and not torch.allclose(*maps, atol=1e-3)


def test_weights_round_trip_with_and_without_clip(card: Card, tmp_path: Path, network: Network) -> None:
    own = network.state()
    clip = {n for n in network.net.state_dict() if n not in own}
    assert all(n.startswith("clip_adapter.clip_model.") for n in clip) and len(clip) > 50
    assert sum(n.endswith("learned_position") for n in own) == 2
    path = tmp_path / "w.safetensors"
    for state in (own, network.net.state_dict()):
        state = {n: v + 0.5 if n == "query_embedding.weight" else v for n, v in state.items()}
        save_weights(path, state, {"method": "deop", "classes": '["red disc"]'})
        loaded = _world(card, path)
        assert torch.equal(loaded.network.net.query_embedding.weight, state["query_embedding.weight"])
        assert loaded.network.trained_on == ("red disc",) and loaded.official_names().keys() == own.keys()
    save_weights(path, own, {"method": "zsseg"})
    with pytest.raises(UserError, match="weights of 'zsseg'"):
        _world(card, path)


def test_learned_positions_are_not_clips_own(network: Network, card: Card) -> None:
    method = _world(card)
    state = {n: v for n, v in network.state().items() if not n.endswith("resblocks.1.learned_position")}
    with pytest.raises(UserError, match="1 missing .*resblocks.1.learned_position"):
        method.load_official({**state, "criterion.empty_weight": torch.ones(4)})


def test_options_that_cannot_be(card: Card) -> None:
    for changes, says in [
        ({"position_blocks": "7"}, "no positions for block 7"),
        ({"position_grid": "24"}, "24x24"),
        ({"blocks": "1,1"}, "3,4,6,3"),
        ({"short_side": -1}, "short_side"),
        ({"clip_weights": "x.pt"}, "takes no clip_weights"),
    ]:
        with pytest.raises(UserError, match=says):
            _world(card, **changes)


def test_every_variant_of_the_card_configures(card: Card) -> None:
    for variant in card.variants:
        config = Config.from_options(_options(card, variant))
        assert config.shared_clip == (variant == "world")
    assert set(card.options) - {"clip_weights"} >= {f.name for f in fields(Config)}
