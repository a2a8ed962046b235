"""Two-tower models by name, and dense features checked against open_clip's own forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ovbench.core.errors import UserError
from ovbench.nn.checkpoint import save_weights
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.dense import (
    add_learned_positions,
    dense_features,
    learned_positions,
    resize_positions,
    value_path,
    vit_features,
)
from ovbench.nn.seeded import fill_by_name


@pytest.fixture(scope="module")
def world() -> ClipPair:
    return load_clip("world", untrained=True)


def _images(h: int, w: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(seed))


def _small_vit(**options: object) -> ClipPair:
    """A ViT with a class token and square input, as OpenAI's, but small."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=2, width=32, head_width=8, patch_size=8, image_size=32, **options)
    model = CLIP(
        16, vision, CLIPTextCfg(context_length=8, vocab_size=20, width=16, heads=2, layers=1), quick_gelu=True
    )
    fill_by_name(model)
    model.eval()
    return ClipPair("small", model, lambda t: t, (0.5,) * 3, (0.5,) * 3, None, torch.device("cpu"))


def test_tokens_average_to_the_towers_own_output(world: ClipPair) -> None:
    images = _images(96, 160)
    with torch.no_grad():
        dense = dense_features(world, images, "tokens")
        pooled = world.model.encode_image(images)
    assert dense.shape == (2, 64, 12, 20)
    torch.testing.assert_close(dense.mean((2, 3)), pooled, rtol=1e-4, atol=1e-5)


def test_value_path_is_attention_to_oneself() -> None:
    block = _small_vit().model.visual.transformer.resblocks[0]
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        alone = block(x.reshape(10, 1, 32)).reshape(2, 5, 32)
        torch.testing.assert_close(value_path(block, x, residual=True), alone, rtol=1e-4, atol=1e-5)
        bare = value_path(block, x, residual=False)
        y = x + bare
        torch.testing.assert_close(y + block.mlp(block.ln_2(y)), alone, rtol=1e-4, atol=1e-5)


def test_maskclip_equals_a_pass_whose_last_block_masks_all_other_tokens() -> None:
    clip = _small_vit()
    visual, images = clip.model.visual, _images(32, 32)
    with torch.no_grad():
        x = visual._embeds(images)
        first, last = visual.transformer.resblocks
        only_self = torch.full((17, 17), float("-inf")).fill_diagonal_(0.0)
        x = last(first(x), attn_mask=only_self)
        expected = (visual.ln_post(x)[:, 1:] @ visual.proj).transpose(1, 2).reshape(2, 16, 4, 4)
        torch.testing.assert_close(dense_features(clip, images, "maskclip"), expected, rtol=1e-4, atol=1e-5)


def test_the_three_modes_differ_and_batches_do_not_mix() -> None:
    clip, images = _small_vit(), _images(32, 32)
    with torch.no_grad():
        maps = {mode: dense_features(clip, images, mode) for mode in ("tokens", "maskclip", "value-only")}
        alone = dense_features(clip, images[1:], "maskclip")
    assert not torch.allclose(maps["tokens"], maps["maskclip"])
    assert not torch.allclose(maps["value-only"], maps["maskclip"])
    torch.testing.assert_close(maps["maskclip"][1:], alone, rtol=1e-4, atol=1e-5)


def test_towers_that_put_the_batch_second_give_the_same() -> None:
    clip, images = _small_vit(), _images(32, 48)
    with torch.no_grad():
        first = dense_features(clip, images, "tokens")
        clip.model.visual.transformer.batch_first = False
        for block in clip.model.visual.transformer.resblocks:
            block.attn.batch_first = False
        torch.testing.assert_close(dense_features(clip, images, "tokens"), first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "grid"), [((64, 96), (8, 12)), ((96, 160), (12, 20)), ((104, 72), (13, 9))])
def test_other_grids(world: ClipPair, size: tuple[int, int], grid: tuple[int, int]) -> None:
    with torch.no_grad():
        assert dense_features(world, _images(*size), "tokens").shape == (2, 64, *grid)


def test_position_table_keeps_its_orientation() -> None:
    rows = torch.arange(4.0).view(4, 1).expand(4, 6).reshape(-1, 1)
    table = torch.cat([torch.tensor([[99.0]]), rows])
    out = resize_positions(table, (4, 6), (8, 5))
    assert out.shape == (41, 1) and float(out[0]) == 99
    grid = out[1:].view(8, 5)
    torch.testing.assert_close(grid, grid[:, :1].expand(8, 5))
    assert (grid[1:, 0] > grid[:-1, 0]).all()
    assert resize_positions(table, (4, 6), (4, 6)) is table


def test_resnet_tower() -> None:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, image_size=64)
    model = CLIP(16, vision, CLIPTextCfg(context_length=8, vocab_size=20, width=16, heads=2, layers=1)).eval()
    clip = ClipPair("rn", model, lambda t: t, (0.5,) * 3, (0.5,) * 3, None, torch.device("cpu"))
    with torch.no_grad():
        assert dense_features(clip, _images(64, 96), "maskclip").shape == (2, 16, 2, 3)
    with pytest.raises(UserError, match="ResNet"):
        dense_features(clip, _images(64, 64), "tokens")


def test_unknown_mode_names_the_known_ones(world: ClipPair) -> None:
    with pytest.raises(UserError, match="value-only"):
        dense_features(world, _images(96, 160), "maskclipp")


def test_normalize(world: ClipPair) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    out = world.normalize(image)
    assert out.shape == (1, 3, 8, 16)
    np.testing.assert_allclose(out[0, 1, 3, 5], (image[3, 5, 1] / 255 - 0.45) / 0.27, rtol=1e-5)


def test_weights_file_round_trip_and_misfit(tmp_path: Path, world: ClipPair) -> None:
    path = tmp_path / "w.safetensors"
    state = {k: v + 0.5 if v.is_floating_point() else v for k, v in world.model.state_dict().items()}
    save_weights(path, state, {})
    other = load_clip("world", path)
    assert torch.equal(other.model.logit_scale, state["logit_scale"])
    assert other.weights_id is not None and len(other.weights_id) == 64
    assert not any(p.requires_grad for p in other.model.parameters()) and not other.model.training
    state.pop("logit_scale")
    save_weights(path, state, {})
    with pytest.raises(UserError, match="1 missing \\(logit_scale\\)"):
        load_clip("world", path)


def test_openai_extras_are_accepted(world: ClipPair) -> None:
    state = {
        **world.model.state_dict(),
        "input_resolution": torch.tensor(224),
        "vocab_size": torch.tensor(40),
    }
    world.load_state(state)
    with pytest.raises(UserError, match="surplus"):
        world.load_state({**state, "surplus": torch.zeros(1)})


@pytest.mark.parametrize(
    ("name", "says"),
    [("ViT-B-16-quikgelu", "ViT-B-16-quickgelu"), ("ViT-B-16-SigLIP", "parts from elsewhere")],
)
def test_models_we_cannot_build(name: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_clip(name, untrained=True)
    assert says in str(caught.value)


def test_no_weights_no_model() -> None:
    with pytest.raises(UserError, match="needs a weights file"):
        load_clip("RN50-quickgelu")


def test_learned_positions_are_added_before_the_first_norm_and_to_their_blocks() -> None:
    clip, images = _small_vit(), _images(32, 32)
    visual = clip.model.visual
    add_learned_positions(visual, [1], (4, 4))
    names = {n for n in clip.model.state_dict() if n.endswith("learned_position")}
    assert names == {"visual.learned_position", "visual.transformer.resblocks.1.learned_position"}
    with torch.no_grad():
        x = visual.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(2, 1, -1), x], dim=1)
        x = visual.ln_pre(x + visual.positional_embedding + visual.learned_position)
        first, last = visual.transformer.resblocks
        x = visual.ln_post(last(first(x) + last.learned_position))[:, 1:] @ visual.proj
        ours = dense_features(clip, images, "tokens")
    torch.testing.assert_close(ours, x.transpose(1, 2).reshape(2, 16, 4, 4), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="no positions for block 2"):
        add_learned_positions(visual, [2], (4, 4))


def test_learned_positions_of_another_grid() -> None:
    visual = _small_vit().model.visual
    add_learned_positions(visual, [], (3, 8))
    table = visual.learned_position
    assert learned_positions(visual, (3, 8)) is table
    assert learned_positions(visual, (6, 4)) is table  # as many places: taken as it is
    assert learned_positions(visual, (6, 16)).shape == (97, 32)
    assert learned_positions(visual.transformer.resblocks[0], (6, 4)) is None


def test_weights_scale_the_values_of_the_last_block() -> None:
    clip, images = _small_vit(), _images(32, 48)
    visual = clip.model.visual
    ones = torch.ones(2, 1 + 4 * 6)
    with torch.no_grad():
        plain = dense_features(clip, images, "maskclip")
        torch.testing.assert_close(vit_features(visual, images, "maskclip", ones), plain)
        none = vit_features(visual, images, "value-only", 0 * ones)
        constant = visual.ln_post(visual.transformer.resblocks[-1].attn.out_proj.bias) @ visual.proj
    torch.testing.assert_close(none, constant.view(1, -1, 1, 1).expand_as(none), rtol=1e-4, atol=1e-5)
