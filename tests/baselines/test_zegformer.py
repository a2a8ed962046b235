"""ZegFormer: its rules by hand, its card, its weights, and the world's size from the same code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ovbench.baselines.zegformer.config import Config
from ovbench.baselines.zegformer.ensemble import class_scores
from ovbench.baselines.zegformer.model import ZegFormer
from ovbench.baselines.zegformer.network import Network
from ovbench.baselines.zegformer.regions import Regions, encode_regions, region_boxes
from ovbench.baselines.zegformer.segmenter import ZegFormerSegmenter, build

from ovbench.core.errors import UserError
from ovbench.core.paths import room
from ovbench.methods.base import Setup
from ovbench.methods.card import Card, read_card
from ovbench.nn.checkpoint import save_weights
from ovbench.protocol.vocabulary import Vocabulary

NAMES = Vocabulary(["red disc", "plain sky", "dotted floor"], seen=[True, False, True])


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(room("baselines") / "zegformer" / "method.toml")


def _options(card: Card, variant: str, **changes: Any) -> Mapping[str, Any]:
    return {**card.options, **card.variants[variant].options, **changes}


def _world(card: Card, **changes: Any) -> ZegFormerSegmenter:
    segmenter = build(Setup("zegformer", "world", _options(card, "world", **changes), untrained=True))
    segmenter.prepare(NAMES)
    return segmenter


def _image(h: int, w: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (h // 16 + 1, w // 16 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))[:h, :w]


def test_boxes_of_masks() -> None:
    masks = torch.zeros(5, 10, 12, dtype=torch.bool)
    masks[1, 4, 2:9] = True
    masks[2, 3:6, 2:9] = True
    masks[3, 0, 0] = masks[3, 9, 11] = True
    masks[4] = True
    whole = [0, 0, 12, 10]
    assert region_boxes(masks).tolist() == [whole, whole, [2, 3, 8, 5], [0, 0, 11, 9], [0, 0, 11, 9]]


@pytest.mark.parametrize("style", ["cropmask", "crop", "mask"])
def test_a_crop_shared_by_key_is_the_same_crop(style: str) -> None:
    logits = torch.full((4, 32, 48), -1.0)
    logits[1, 5:20, 7:30] = 1
    logits[2, 5, 7:30] = 1
    regions = Regions(torch.randn(3, 32, 48), logits, logits > 0, (16, 24), style)
    keys = regions.keys()
    assert keys[0] == keys[3]
    assert (
        len(set(keys)) == {"cropmask": 3, "crop": 2, "mask": 2 if not regions_hit(regions, 2) else 3}[style]
    )
    for i, a in enumerate(keys):
        for k, b in enumerate(keys):
            if a == b:
                assert torch.equal(regions.crop(i), regions.crop(k))


def regions_hit(regions: Regions, query: int) -> bool:
    return regions.style == "mask" and bool(regions.small_masks[query].any())


def test_ensembles_by_hand() -> None:
    logits, clip = torch.randn(6, 4), torch.randn(6, 3) * 3
    seen = torch.tensor([True, False, True])
    p = logits.softmax(1)[:, :3]
    c = torch.cat([clip, logits[:, 3:]], 1).softmax(1)[:, :3]
    shared = (c[:, 0] + c[:, 2]) / 2
    expected = [p[:, 0] ** (2 / 3) * shared ** (1 / 3), p[:, 1] ** (1 / 3) * c[:, 1] ** (2 / 3)]
    scores = class_scores(logits, clip, seen, "seen")
    torch.testing.assert_close(scores[:, :2], torch.stack(expected, 1))
    torch.testing.assert_close(class_scores(logits, clip, seen, "all"), p ** (1 / 3) * c ** (2 / 3))
    torch.testing.assert_close(class_scores(logits, clip, seen, "clip"), c)
    torch.testing.assert_close(class_scores(logits, None, seen, "none"), p)
    nobody = torch.zeros(3, dtype=torch.bool)
    torch.testing.assert_close(
        class_scores(logits, clip, nobody, "seen"), class_scores(logits, clip, nobody, "all")
    )


def test_calibration_lowers_seen_classes_alone(card: Card) -> None:
    image = _image(96, 160)
    plain = _world(card, calibration=0.0).scores(image)
    lowered = _world(card, calibration=0.3).scores(image)
    np.testing.assert_allclose(
        plain - lowered, np.broadcast_to([[[0.3]], [[0]], [[0.3]]], plain.shape), atol=1e-5
    )


@pytest.mark.parametrize("size", [(96, 160), (97, 131)])
@pytest.mark.parametrize(
    "changes",
    [{}, {"ensemble": "none"}, {"ensemble": "clip", "style": "crop"}, {"short_side": 64, "style": "mask"}],
)
def test_the_worlds_size_runs(card: Card, size: tuple[int, int], changes: dict[str, Any]) -> None:
    segmenter, image = _world(card, **changes), _image(*size)
    label_map = segmenter.segment_frame(image)
    assert label_map.shape == size and label_map.dtype == np.uint8 and label_map.max() < 3
    scores = segmenter.scores(image)
    assert np.array_equal(label_map, scores.argmax(0)) and np.isfinite(scores).all()
    assert segmenter.scores(image, resize=False, out_size=(7, 9)).shape == (3, 7, 9)
    assert segmenter.facts()["seen_names"] == ["red disc", "dotted floor"]


def test_predictions_of_every_layer_for_training(card: Card) -> None:
    net = ZegFormer(Config.from_options(_options(card, "world")), 64)
    text = torch.nn.functional.normalize(torch.randn(5, 64), dim=1)
    found = net(torch.randn(2, 3, 64, 96), text, every=True)
    assert found.logits.shape == (3, 2, 20, 6) and found.masks.shape == (
        3,
        2,
        20,
        32,
        48,
    )  # stride 2: no pooling in the stem
    (found.logits.sum() + found.masks.square().mean()).backward()
    idle = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle
    last = net.eval()(torch.zeros(1, 3, 64, 96), text)
    assert last.logits.shape == (1, 1, 20, 6)


def test_empty_masks_are_encoded_once(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    network = _world(card).network
    seen: list[int] = []
    import ovbench.nn.regions as module

    def counting(model: Any, crops: torch.Tensor) -> torch.Tensor:
        seen.append(len(crops))
        return crops.flatten(1)[:, :8]

    monkeypatch.setattr(module, "encode_images", counting)
    logits = torch.full((20, 96, 160), -1.0)
    logits[3, 10:40, 20:60] = 1
    regions = Regions(torch.randn(3, 96, 160), logits, logits > 0, (96, 160), "cropmask")
    assert encode_regions(network.clip, regions, 16).shape == (20, 8)
    assert seen == [2]


def test_a_comma_separates_synonyms(card: Card) -> None:
    segmenter = _world(card)
    segmenter.prepare(Vocabulary(["red disc, plain sky"]))
    one = segmenter.text
    segmenter.prepare(Vocabulary(["thing"], synonyms=[("red disc", "plain sky")]))
    torch.testing.assert_close(one, segmenter.text)


def test_every_variant_makes_a_network_on_paper(card: Card) -> None:
    for name, variant in card.variants.items():
        config = Config.from_options(_options(card, name))
        with torch.device("meta"):
            names = ZegFormer(config, 512).state_dict()
        blocks = {n.split(".")[2] for n in names if n.startswith("backbone.res4.")}
        expected = 1 if name == "world" else 6 if variant.options.get("depth") == 50 else 23
        assert len(blocks) == expected
    with pytest.raises(UserError, match="blocks"):
        Config.from_options({"blocks": "1,2"})


@pytest.fixture(scope="module")
def config(card: Card) -> Config:
    return Config.from_options(
        _options(card, "world", clip="tiny", templates="single", region_templates="single")
    )


@pytest.fixture(scope="module")
def network(config: Config) -> Network:
    return Network.load(config, None)


def test_with_clip(config: Config, network: Network, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in network.net.state_dict().items()}
    torch.save(
        {"model": {**state, "module.criterion.empty_weight": torch.ones(4)}, "iteration": 3},
        tmp_path / "w",
    )
    loaded = Network.load(config, tmp_path / "w")
    assert loaded.clip_given
    assert torch.equal(loaded.net.predictor.bg_feature, network.net.predictor.bg_feature)


def test_without_clip(config: Config, network: Network, tmp_path: Path) -> None:
    state = {k: v for k, v in network.net.state_dict().items() if not k.startswith(Network.clip_names)}
    save_weights(tmp_path / "w", state, {})
    with pytest.raises(UserError, match="holds no CLIP") as caught:
        Network.load(config, tmp_path / "w")
    assert "clip_weights" in str(caught.value.hint)
    tower = {k: v + 0.01 for k, v in network.clip.model.state_dict().items()}
    save_weights(tmp_path / "clip", tower, {})
    loaded = Network.load(config, tmp_path / "w", tmp_path / "clip")
    assert torch.equal(loaded.clip.model.text_projection, tower["text_projection"])


def test_half_a_clip_is_refused(network: Network) -> None:
    state = dict(network.net.state_dict())
    state.pop(f"{Network.clip_names[0]}text_projection")
    with pytest.raises(
        UserError, match=r"1 missing \(sem_seg_head\.predictor\.clip_model\.text_projection\)"
    ):
        network.load_official(state)


def test_old_head_names_and_misfits(network: Network) -> None:
    state = {k.replace(".pixel_decoder.", "."): v for k, v in network.net.state_dict().items()}
    network.load_official(state)
    with pytest.raises(UserError, match="1 unexpected"):
        network.load_official({**state, "backbone.extra": torch.zeros(1)})


def test_weights_of_another_method(card: Card, tmp_path: Path) -> None:
    save_weights(tmp_path / "w", {"a": torch.zeros(1)}, {"method": "ov2vss"})
    with pytest.raises(UserError, match="weights of 'ov2vss'"):
        Network.load(Config.from_options(_options(card, "world")), tmp_path / "w")
