"""SAN at the world's size: what proposals see, how masks become scores, what is trained and what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mask_methods import picture, small
from ovbench.baselines.san.config import Config
from ovbench.baselines.san.network import BACKGROUND, POSITIONS
from ovbench.baselines.san.segmenter import San
from ovbench.baselines.san.side import SideViT
from ovbench.baselines.san.towers import proposal_mask, run_block

from ovbench.core.errors import UserError
from ovbench.engine.training import plan_training
from ovbench.methods.create import create
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import clip_pixels, combine_resized, pad, to_pixels
from ovbench.protocol.vocabulary import Vocabulary

NAMES = ("red plain square", "blue dotted sky", "cyan checkered floor")
IMAGE = np.random.default_rng(0).integers(0, 256, (72, 120, 3)).astype(np.uint8)


def world(**options: Any) -> San:
    method = create("san", "world", untrained=True, **options)
    assert isinstance(method, San)
    method.prepare(Vocabulary(NAMES))
    return method


@pytest.mark.parametrize("reading", ["pool", "tokens"])
def test_shapes_and_labels(reading: str) -> None:
    method = world(reading=reading)
    scores = method.scores(IMAGE)
    assert scores.shape == (3, 72, 120) and scores.dtype == np.float32 and (scores >= 0).all()
    labels = method.segment_frame(IMAGE)
    assert labels.dtype == np.uint8 and np.array_equal(labels, scores.argmax(0))
    said = method.network.net(torch.zeros(2, 3, 96, 128), method.text, last=2)
    assert said.logits.shape == (2, 2, 20, 4) and said.masks.shape == (2, 2, 20, 24, 32)
    last = method.network.net(torch.zeros(2, 3, 96, 128), method.text)
    torch.testing.assert_close(said.logits[1:], last.logits)
    torch.testing.assert_close(said.masks[1:], last.masks)


def plain_places(table: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """The official rule said plainly: counts are compared. (1, rows columns, D) -> one vector per cell."""
    if table.shape[1] == size[0] * size[1]:
        return table
    channels = [table[0, :, i].reshape(1, 1, *grid) for i in range(table.shape[2])]
    cut = [F.interpolate(c, size, mode="bicubic", align_corners=False).flatten() for c in channels]
    return torch.stack(cut, dim=1)[None]


@pytest.mark.parametrize("size", [(40, 40), (32, 50), (50, 32), (20, 80), (16, 100), (40, 42), (30, 40)])
def test_positions_of_every_grid(size: tuple[int, int]) -> None:
    """A frame of 512x800 has as many cells as one of 640x640, and the same table, not resized."""
    vit = SideViT(Config(dim=12, heads=6, ffn=24, layers=1))
    with torch.inference_mode():
        cells, places = vit.patches(torch.zeros(1, 3, 16 * size[0], 16 * size[1]))
    assert tuple(cells.shape[-2:]) == size
    torch.testing.assert_close(places, plain_places(vit.pos_embed.detach(), (40, 40), size))
    assert torch.equal(places, vit.pos_embed) == (size[0] * size[1] == 1600)


def test_whole_network_on_another_layout() -> None:
    """48x320 has 12x80 cells, the table's 960 in another layout: scores are those of a table of that layout."""
    method, other = world(), world(side_grid="12x80")
    state = {name: value.clone() for name, value in method.network.state().items()}
    other.load_official(state)
    image = picture(64, 240)  # padded to 64x256: 16x64 cells, 1024, not the table's number
    assert np.abs(method.scores(image) - other.scores(image)).max() > 0
    images = torch.rand(1, 3, 48, 320)
    with torch.inference_mode():
        found, same = (m.network.net(images, method.text).masks for m in (method, other))
    assert torch.equal(found, same)


def test_a_scale_too_small_for_clip() -> None:
    with pytest.raises(UserError, match="clip_scale 0.01 is too small: .*96x160 as 0x1"):
        create("san", "world", untrained=True, clip_scale=0.01)
    method = world(clip_scale=0.2)  # enough for the world's frames, not for small ones
    assert method.scores(IMAGE).shape == (3, 72, 120)
    with pytest.raises(UserError, match="clip_scale 0.2 is too small: .*32x32 as 6x6"):
        method.scores(picture(20, 20))


def test_names_keep_their_order() -> None:
    method = world()
    scores = method.scores(IMAGE)
    method.prepare(Vocabulary(NAMES[::-1]))
    np.testing.assert_allclose(method.scores(IMAGE)[::-1], scores, rtol=1e-4, atol=1e-6)


def plain_scores(found: Predictions, padded: Any, size: Any, out: Any) -> torch.Tensor:
    """The order of the official code, every step on whole masks."""
    masks = F.interpolate(found.masks[0], padded, mode="bilinear")[:, :, : size[0], : size[1]]
    masks = F.interpolate(masks, out, mode="bilinear")[0].sigmoid()
    return torch.einsum("qk,qhw->khw", found.logits[0, 0].softmax(-1)[:, :-1], masks)


@pytest.mark.parametrize("drawing", ["own", "empty", "halves"])
@pytest.mark.parametrize("out", [(72, 120), (31, 50), (90, 200)])
def test_masks_are_resized_before_they_are_combined(
    drawing: str, out: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = world()
    network = method.network
    images = pad(clip_pixels(network.clip, to_pixels(IMAGE)))
    with torch.inference_mode():
        found = network.net(images, method.text)
    logits, masks = found.logits.clone(), found.masks.clone()
    if drawing != "own":
        masks[:] = -60.0
    if drawing == "halves":  # two proposals of different names, each with a half of the frame
        masks[0, 0, 4, :, :12] = masks[0, 0, 9, :, 12:] = 60.0
        logits[0, 0, 4, 0] = logits[0, 0, 9, 2] = 90.0
    found = Predictions(logits, masks)
    monkeypatch.setattr(network.net, "forward", lambda *_, **__: found)
    scores = method.scores(IMAGE, out_size=out)
    np.testing.assert_allclose(scores, plain_scores(found, (96, 128), (72, 120), out), rtol=1e-4, atol=1e-6)
    if drawing == "empty":
        assert scores.max() < 1e-6
    if drawing == "halves":
        assert set(np.unique(scores.argmax(0))) == {0, 2}


def test_combining_in_parts_is_combining() -> None:
    generator = torch.Generator().manual_seed(0)
    masks, classes = torch.randn(7, 6, 8, generator=generator), torch.rand(7, 3, generator=generator)
    sizes = ((24, 32), (20, 30), (17, 44))
    torch.testing.assert_close(
        combine_resized(classes, masks, *sizes, queries=2), combine_resized(classes, masks, *sizes)
    )


def test_who_sees_whom() -> None:
    near = torch.arange(2 * 3 * 4.0).reshape(1, 2, 3, 4)  # two heads, three proposals, four places
    mask = proposal_mask(near)
    assert mask.shape == (2, 8, 8)
    for head in range(2):
        for row in range(8):
            for column in range(8):
                expected = 0.0
                if (column < 3 and row != column) or (row < 3 and column == 3):
                    expected = -100.0
                elif row < 3 and column > 3:
                    expected = float(near[0, head, row, column - 4])
                assert mask[head, row, column] == expected, (head, row, column)


def test_the_last_block_computes_proposals_alone() -> None:
    """Equal to whole blocks one after the other, whatever the bias, also where all places are far."""
    method = world(reading="tokens", clip_blocks=1, fusion="0,1")
    head = method.network.net.clip_rec_head
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 1 + 12, 96, generator=generator)
    near = 20 * torch.randn(2, 3, 5, 12, generator=generator)
    near[:, :, 0] = -1000.0
    x = torch.cat([tokens[:, :1].expand(-1, 5, -1), tokens], 1)
    with torch.inference_mode():
        found = head.attend(tokens, near)
        for block in head.resblocks:
            x = run_block(block, x, proposal_mask(near))
    assert len(head.resblocks) == 2
    torch.testing.assert_close(found, x[:, :5], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(found).all()


def test_a_mask_points_to_what_is_named() -> None:
    """Pooled: a proposal with one place and no bias has that place's vector."""
    head = world().network.net.clip_rec_head
    tokens, near = torch.randn(1, 1 + 6, 96), torch.full((1, 2, 6), -1e4)
    near[0, 0, 2] = near[0, 1, 5] = 0.0
    with torch.inference_mode():
        pooled = head.pool(tokens, near)
        for block in head.resblocks:
            tokens = run_block(block, tokens)
        local = head.ln_post(tokens[:, 1:]) @ head.proj
    torch.testing.assert_close(pooled[0], local[0, [2, 5]])


def test_fixed_mask_of_the_text_tower() -> None:
    """It may lie in a file or not; what stands there is not looked at."""
    method = small("san")
    state = {n: v.clone() for n, v in method.network.state().items()}
    name = "ov_classifier.attn_mask"
    causal = state.pop(name).clone()
    for given in (state, {**state, name: torch.zeros_like(causal)}):
        method.load_official({"model": given})
        assert torch.equal(method.network.state()[name], causal)


def test_a_clip_that_was_given_keeps_its_positions() -> None:
    method, other = world(), world()
    assert torch.equal(
        method.network.state()[POSITIONS], other.network.clip.model.visual.positional_embedding
    )
    assert set(method.official_names()) & set(method.network.clip.model.state_dict()) == set()
    trained = {n for n in method.official_names() if not n.startswith("side_adapter_network.")}
    assert trained == {POSITIONS, BACKGROUND}


def test_odd_sizes() -> None:
    method = small("san")
    method.prepare(Vocabulary(["road", "tall tree"]))
    for size in ((1, 1), (33, 7), (97, 161)):
        assert method.scores(picture(*size)).shape == (2, *size)


def test_what_is_trained() -> None:
    plan = plan_training("san", "world-27-9", settings={"batch": "1", "positions_trained": "on"})
    task: Any = plan.build(0, 8)
    assert task.parts == (0, 2, 8)
    for step, absent in ((0, "side_adapter_network.mask_decoder."), (2, "nothing")):
        task.module.zero_grad(set_to_none=True)
        task.loss(step)[0].backward()
        moved = {n for n, p in task.net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        outside = {n for n in moved if not n.startswith("side_adapter_network.")}
        assert not any(n.startswith(absent) for n in moved)
        assert outside == ({POSITIONS} if step == 0 else {POSITIONS, BACKGROUND})
    kept = task.module.state_dict()
    assert {n for n in kept if not n.startswith("side_adapter_network.")} == {POSITIONS, BACKGROUND}
    usual: Any = plan_training("san", "world-27-9", settings={"batch": "1"}).build(0, 8)
    assert not usual.net.clip_visual_extractor.positional_embedding.requires_grad
    decays = {n for n, p in usual.net.named_parameters() if p.requires_grad and usual.decays(n, p)}
    assert BACKGROUND in decays and not any("_embed" in n and "patch" not in n for n in decays - {BACKGROUND})
