"""Our grid of points against segment-anything's own automatic generator, on a small SAM with name-seeded weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ovbench.baselines.sam_clip.config import GridConfig
from ovbench.baselines.sam_clip.decoder import PointDecoder, enlarge
from ovbench.baselines.sam_clip.proposals import AutomaticProposer, GridProposer, point_grid
from ovbench.baselines.sam_clip.regions import Regions

from ovbench.nn.seeded import fill_by_name

pytest.importorskip("segment_anything")

SIDE, WIDTH = 128, 32


def small_sam(salt: str = "") -> Any:
    """SAM's parts at a hundredth of their size."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    grid = SIDE // 16
    sam = Sam(
        ImageEncoderViT(
            img_size=SIDE, patch_size=16, embed_dim=48, depth=2, num_heads=4, out_chans=WIDTH,
            use_rel_pos=True, window_size=4, global_attn_indexes=(1,),
        ),
        PromptEncoder(WIDTH, (grid, grid), (SIDE, SIDE), 16),
        MaskDecoder(transformer_dim=WIDTH, transformer=TwoWayTransformer(2, WIDTH, 4, 64)),
    )  # fmt: skip
    fill_by_name(sam, salt)
    with torch.no_grad():
        # Regions instead of noise all over the frame: points differ more, masks are blocks, most pixels are outside.
        sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= 8
        for index in (0, 3):
            weight = sam.mask_decoder.output_upscaling[index].weight
            weight.copy_(2 * weight.mean((2, 3), keepdim=True).expand_as(weight))
        for net in sam.mask_decoder.output_hypernetworks_mlps:
            net.layers[-1].weight *= 50
            net.layers[-1].bias -= 40
    return sam.eval().requires_grad_(False)


def picture(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Coarse patches of colour with noise on them."""
    rng = np.random.default_rng(height)
    coarse = rng.integers(0, 200, (5, 7, 3))
    rows, columns = np.arange(height) * 5 // height, np.arange(width) * 7 // width
    return (coarse[rows][:, columns] + rng.integers(0, 50, (height, width, 3))).astype(np.uint8)


def pairs(ours: Regions, theirs: Regions) -> torch.Tensor:
    """IoU of the masks at the same place."""
    both = (ours.masks & theirs.masks).flatten(1).sum(1)
    return both / (ours.masks | theirs.masks).flatten(1).sum(1)


CONFIGS = {
    "all": GridConfig(8, 16, 0.0, 0.0, 0.1, 0.7),
    "filtered": GridConfig(8, 16, 0.0, 0.9, 0.05, 0.7),
    "odd batches": GridConfig(7, 13, 0.0, 0.6, 0.1, 0.5),
    "crops": GridConfig(6, 64, 0.0, 0.3, 0.05, 0.7, crop_layers=1),
    "tidied": GridConfig(6, 64, 0.0, 0.3, 0.05, 0.7, min_region=30),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("size", [(96, 160), (150, 90)])
def test_same_masks_as_the_package(config: GridConfig, size: tuple[int, int]) -> None:
    sam = small_sam()
    image = picture(*size)
    theirs = AutomaticProposer(sam, config, "vit_b")(image)
    ours = GridProposer(sam, config, "vit_b")(image)
    assert len(ours) == len(theirs) > 2
    assert float(pairs(ours, theirs).min()) >= 0.999
    assert torch.allclose(ours.quality, theirs.quality, atol=1e-5)
    assert torch.allclose(ours.stability, theirs.stability, atol=1e-3, equal_nan=True)
    assert torch.equal(ours.boxes, theirs.boxes)


def test_quality_threshold_draws_only_what_passes() -> None:
    sam = small_sam("q")
    image = picture(96, 160)
    everything = GridProposer(sam, GridConfig(8, 16, 0.0, 0.0, 0.1, 1.0), "vit_b")(image)
    limit = float(everything.quality.median())
    config = GridConfig(8, 16, max(limit, 1e-6), 0.0, 0.1, 1.0)
    theirs, ours = AutomaticProposer(sam, config, "vit_b")(image), GridProposer(sam, config, "vit_b")(image)
    assert 0 < len(ours) == len(theirs) < len(everything)
    assert float(pairs(ours, theirs).min()) >= 0.999


def test_no_mask_passes() -> None:
    sam = small_sam()
    config = GridConfig(4, 16, 1.0, 0.95, 1.0, 0.7)
    image = picture(64, 64)
    assert (
        len(GridProposer(sam, config, "vit_b")(image))
        == len(AutomaticProposer(sam, config, "vit_b")(image))
        == 0
    )


def test_decoder_equals_the_package() -> None:
    sam = small_sam()
    decoder = PointDecoder(sam)
    shape = (77, SIDE)
    embedding = torch.from_numpy(np.random.default_rng(0).standard_normal((1, WIDTH, 8, 8))).float()
    points = torch.tensor([[3.0, 4.0], [100.5, 60.0], [64.0, 20.0]], dtype=torch.float64)
    labels = torch.ones(3, 1, dtype=torch.int)
    sparse, dense = sam.prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)
    low, quality = sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)
    answers = decoder.ask(decoder.open(embedding), points)
    assert torch.allclose(answers.quality, quality, atol=1e-5)
    keep = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    masks = decoder.masks(answers, keep, shape)
    assert torch.allclose(masks, low[keep][:, : masks.shape[1], : masks.shape[2]], atol=1e-4)
    full = sam.postprocess_masks(low[keep][:, None], shape, (58, 96))[:, 0]
    assert torch.allclose(enlarge(masks, shape, (58, 96)), full, atol=1e-4)


def test_grid_of_points_is_the_packages() -> None:
    from segment_anything.utils.amg import build_point_grid

    assert np.allclose(point_grid(5).numpy(), build_point_grid(5))


def test_weights_put_in_later_count() -> None:
    """The grid keeps products of weights; new weights must reach them."""
    config = GridConfig(6, 64, 0.0, 0.0, 0.1, 0.7)
    old, new, image = small_sam(), small_sam("other"), picture(96, 160)
    proposer = GridProposer(old, config, "vit_b")
    proposer.load_official(new.state_dict())
    expected = GridProposer(new, config, "vit_b")(image)
    found = proposer(image)
    assert len(found) == len(expected)
    assert torch.equal(found.masks, expected.masks)
