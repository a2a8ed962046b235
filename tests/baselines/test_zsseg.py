"""zsseg at the world's size: what regions count for, who is seen, and which weights are taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ovbench.baselines.zsseg.config import PROMPTS, Config
from ovbench.baselines.zsseg.network import Network, Opinions, combine_opinions
from ovbench.baselines.zsseg.segmenter import ZsSeg

from ovbench.core.errors import UserError
from ovbench.methods.create import create
from ovbench.methods.registry import card
from ovbench.nn.checkpoint import save_weights
from ovbench.nn.maskformer import clip_pixels
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

NAMES = ("red plain square", "blue dotted sky", "cyan checkered floor")
IMAGE = np.random.default_rng(0).integers(0, 256, (72, 120, 3)).astype(np.uint8)


def world(seen: tuple[bool, ...] | None = None, **options: Any) -> ZsSeg:
    method = create("zsseg", "world", untrained=True, **{"ensemble": True, **options})
    assert isinstance(method, ZsSeg)
    method.prepare(Vocabulary(NAMES, seen))
    return method


def opinions(masks: torch.Tensor, valid: list[bool]) -> Opinions:
    """Queries and regions that disagree."""
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(len(valid), len(NAMES) + 1, generator=generator)
    region = torch.randn(sum(valid), len(NAMES), generator=generator)
    return Opinions(query, masks, region, torch.tensor(valid))


def test_shapes_and_labels() -> None:
    method = world()
    found = method.network.opinions(IMAGE, method.texts)
    assert found.query.shape == (20, 4) and found.masks.shape == (20, 72, 120)
    assert found.region.shape == (int(found.valid.sum()), 3)
    scores = method.scores(IMAGE)
    assert scores.shape == (3, 72, 120) and scores.dtype == np.float32 and (scores >= 0).all()
    labels = method.segment_frame(IMAGE)
    assert labels.dtype == np.uint8 and np.array_equal(labels, scores.argmax(0))
    assert method.scores(IMAGE, out_size=(10, 20)).shape == (3, 10, 20)


def test_every_layer_speaks_in_training() -> None:
    network = world().network.net
    said = network(torch.zeros(2, 3, 96, 128), torch.eye(64)[:5], every=True)
    assert said.logits.shape == (3, 2, 20, 6) and said.masks.shape == (3, 2, 20, 48, 64)
    last = network(torch.zeros(2, 3, 96, 128), torch.eye(64)[:5])
    torch.testing.assert_close(said.logits[-1:], last.logits)
    torch.testing.assert_close(said.masks[-1:], last.masks)


def test_an_empty_mask_leaves_the_word_to_its_query() -> None:
    method = world(ensemble_weight=0.8)
    found = opinions(torch.rand(3, 8, 8), [True, False, True])
    query = found.query.softmax(-1)[:, :-1]
    weights = method.network.weigh(found, method.seen)
    torch.testing.assert_close(weights[1], query[1] ** 0.2)
    torch.testing.assert_close(weights[[0, 2]], query[[0, 2]] ** 0.2 * found.region.softmax(-1) ** 0.8)


def test_no_mask_reaches_the_threshold() -> None:
    method = world(mask_threshold=1.0, ensemble_weight=0.8)
    found = method.network.opinions(IMAGE, method.texts)
    assert not found.valid.any() and found.region.shape == (0, 3)
    expected = torch.einsum("qk,qhw->khw", found.query.softmax(-1)[:, :-1] ** 0.2, found.masks)
    np.testing.assert_allclose(method.scores(IMAGE), expected.numpy(), rtol=1e-4)
    alone = world(mask_threshold=1.0, ensemble_weight=0.0)
    assert not alone.scores(IMAGE).any() and (alone.segment_frame(IMAGE) == 0).all()


def test_weight_zero_counts_valid_regions_alone() -> None:
    method = world(ensemble_weight=0.0)
    found = opinions(torch.rand(3, 8, 8), [True, False, True])
    torch.testing.assert_close(method.network.weigh(found, method.seen), found.region.softmax(-1))
    assert method.scores(IMAGE).shape == (3, 72, 120)


def test_without_the_ensemble_no_region_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    method = world(ensemble=False)
    monkeypatch.setattr("ovbench.nn.regions.encode_images", None)
    found = method.network.opinions(IMAGE, method.texts)
    torch.testing.assert_close(method.network.weigh(found, method.seen), found.query.softmax(-1)[:, :-1])
    assert method.scores(IMAGE).shape == (3, 72, 120)


def test_trained_names_trust_the_query() -> None:
    query, region = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.1, 0.1]])
    mixed = combine_opinions(query, region, torch.tensor([True, False]), 0.8)
    torch.testing.assert_close(mixed, torch.tensor([[0.5**0.8 * 0.1**0.2, 0.5**0.2 * 0.1**0.8]]))


@pytest.mark.parametrize(
    ("rule", "flags", "seen"),
    [
        ("flags", (True, False, True), [True, False, True]),
        ("flags", None, [False, False, False]),
        ("none", (True, False, True), [False, False, False]),
    ],
)
def test_who_is_seen(rule: str, flags: tuple[bool, ...] | None, seen: list[bool]) -> None:
    method = world(flags, seen_rule=rule)
    assert method.seen.tolist() == seen
    assert method.facts()["seen_names"] == [n for n, s in zip(NAMES, seen, strict=True) if s]


def test_equal_masks_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ovbench.nn import regions

    seen: list[int] = []
    encode = regions.encode_images

    def counting(model: Any, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return encode(model, images)

    monkeypatch.setattr(regions, "encode_images", counting)
    masks = torch.zeros(5, 40, 60, dtype=torch.bool)
    masks[1, 3:20, 5:30] = masks[2, 3:20, 5:30] = masks[3, 3:20, 5:31] = True
    masks[4, 3:20, 5:30] = True
    masks[4, 8, 8] = False
    with torch.inference_mode():
        vectors, valid = world().network.net.regions.regions(torch.rand(3, 40, 60), masks)
    assert valid.tolist() == [False, True, True, True, True] and seen == [3]
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[3])


def test_a_crop_is_mean_outside_its_mask() -> None:
    network = world().network
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[10:20, 10:20] = True
    mask[30, 50] = True
    pixels = clip_pixels(network.clip, torch.full((1, 3, 40, 60), 255.0))[0]
    crop = network.net.regions.crop(pixels, mask, (10, 10, 51, 31))
    assert crop.shape == (3, 96, 160) and crop[:, 5, 5].min() > 1 and crop[:, 80, 20].abs().max() == 0


def test_padding_changes_nothing_of_the_size() -> None:
    method = world()
    assert method.scores(IMAGE[:65, :33], resize=False).shape == (3, 65, 33)


def test_its_own_weights_come_back(tmp_path: Path) -> None:
    method = world()
    state = dict(method.network.state())
    assert not any("clip_model" in name for name in state)
    file = tmp_path / "w.safetensors"
    header = {"method": "zsseg", "variant": "world", "classes": json.dumps(["red plain square"])}
    save_weights(file, state, header)
    loaded = create("zsseg", "world", weights=file, seen_rule="names")
    assert isinstance(loaded, ZsSeg)
    loaded.prepare(Vocabulary(NAMES))
    assert loaded.seen.tolist() == [True, False, False] and not loaded.untrained
    facts = loaded.facts()
    assert facts["seen_by_training_names"] == "the weights' own" and facts["seen_names"] == [
        "red plain square"
    ]
    assert "count as seen by training names" in facts["remark"]
    np.testing.assert_array_equal(
        loaded.scores(IMAGE),
        world((True, False, False)).scores(IMAGE),
        err_msg="the same rule, the same scores",
    )


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    state = dict(world().network.state())
    file = tmp_path / "w.safetensors"
    save_weights(file, state, {"method": "zegformer"})
    with pytest.raises(UserError, match="weights of 'zegformer'"):
        create("zsseg", "world", weights=file)
    save_weights(file, {**state, "sem_seg_head.extra": torch.zeros(1)}, {})
    with pytest.raises(UserError, match=r"1 unexpected \(sem_seg_head.extra\)"):
        create("zsseg", "world", weights=file)


def test_official_extras_and_old_head_names_are_taken() -> None:
    method = world()
    old = {n.replace("pixel_decoder.", ""): v.clone() for n, v in method.network.state().items()}
    extras = {"criterion.empty_weight": torch.ones(28), "clip_adapter.pixel_mean": torch.ones(1, 3, 1, 1)}
    method.load_official({**old, **extras, "clip_adapter.clip_model.logit_scale": torch.ones(())})


def test_learned_prompts_at_the_world_s_size() -> None:
    method = world(prompt="learned", prompt_length=4)
    assert "clip_adapter.prompt_learner.prefix_prompt" in method.official_names()
    assert method.scores(IMAGE).shape == (3, 72, 120)
    apart = world(region_prompt="learned", prompt_length=4)
    assert "_region_clip_adapter.prompt_learner.prefix_prompt" in apart.official_names()
    assert "_region_clip_adapter.non_object_embedding" in apart.official_names()
    assert not torch.equal(apart.text, apart.region_text)


@pytest.mark.parametrize("option", [{"ensemble_weight": 1.5}, {"mask_threshold": -0.1}, {"dim": 30}])
def test_values_that_cannot_be(option: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        create("zsseg", "world", untrained=True, **option)


def test_clip_weights_beside_an_embedded_model() -> None:
    with pytest.raises(UserError, match="takes no clip_weights"):
        create("zsseg", "world", untrained=True, clip_weights="clip.pt")


SETTINGS = {  # as its authors chose them: weight, threshold, short side, long side
    "r101c-vild": (0.8, 0.5, 640, 2560),
    "r101c-learned": (0.8, 0.5, 640, 2560),
    "r50-imagenet": (0.8, 0.5, 640, 2560),
    "r101c-vild-ade150": (0.5, 0.4, 512, 2048),
    "r101c-vild-ade847": (0.7, 0.3, 512, 2048),
    "r101c-vild-pcontext59": (0.4, 0.5, 512, 2048),
    "r101c-vild-cityscapes": (0.4, 0.3, 1024, 2048),
    "r101c-learned-voc20": (0.4, 0.5, 512, 2048),
    "r50-single-voc15": (0.7, 0.5, 512, 2048),
}


def test_named_settings() -> None:
    own = card("zsseg")
    for name, expected in SETTINGS.items():
        config = Config.from_options({**own.options, **own.variants[name].options})
        found = (config.ensemble_weight, config.mask_threshold, config.short_side, config.long_side)
        assert found == expected, name
        assert config.backbone == name.partition("-")[0]
        assert config.prompt == name.split("-")[1]
    assert own.variant_for(None, "cityscapes") == "r101c-vild-cityscapes"
    assert [len(load_templates(PROMPTS[p])) for p in ("vild", "imagenet", "single")] == [14, 80, 1]
    assert set(Config().__dict__) <= set(own.options) - {"clip_weights"}


@pytest.mark.slow
def test_a_checkpoint_without_clip(tmp_path: Path) -> None:
    config = Config(backbone="r50", clip="ViT-B-32-quickgelu", region_prompt="learned")
    network = Network(config)
    names = network.state()
    assert names["backbone.stem.conv1.weight"].shape == (64, 3, 7, 7)
    assert "_region_clip_adapter.clip_model.visual.proj" in names
    bare = {n: v for n, v in names.items() if "clip_model" not in n}
    network.load_official(bare)
    assert not network.clip_given
    save_weights(tmp_path / "bare", bare, {})
    with pytest.raises(UserError, match="holds no CLIP"):
        Network.load(config, tmp_path / "bare")
    file = tmp_path / "clip.safetensors"
    save_weights(file, network.clip.model.state_dict(), {})
    given = Network(config, file)
    given.load_official(bare)
    given.load_official(names)  # what is given by name wins
    assert len({clip.weights_id for clip in given.clips}) == 1 and len(given.clips) == 2
