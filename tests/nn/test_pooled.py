"""The class token by itself: the same image vectors as the whole tower gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ovbench.nn.clip import load_clip
from ovbench.nn.pooled import encode_images
from ovbench.nn.seeded import fill_by_name


@pytest.fixture(scope="module")
def small_vit() -> Any:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=3, width=64, head_width=16, patch_size=8, image_size=32)
    model = CLIP(24, vision, CLIPTextCfg(width=32, heads=2, layers=1), quick_gelu=True)
    fill_by_name(model)
    return model.eval()


@torch.no_grad()
def test_a_vit_with_a_class_token(small_vit: Any) -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        encode_images(small_vit, images), small_vit.encode_image(images), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_other_towers_are_left_alone() -> None:
    model = load_clip("world").model
    images = torch.zeros(1, 3, 96, 160)
    assert torch.equal(encode_images(model, images), model.encode_image(images))
