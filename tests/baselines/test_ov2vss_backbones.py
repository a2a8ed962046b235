"""Full-size OV2VSS: token counts of both backbones, and published backbones read by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from ovbench.baselines.ov2vss.backbone_weights import load_backbone_weights
from ovbench.baselines.ov2vss.fusion import TokenPool, size_of, token_grids
from ovbench.baselines.ov2vss.model import FrameFeatures
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.methods.fit import best_fits, segmenter_on_meta
from ovbench.methods.stock import recognise

# Pooled from stride 16 by 2, 4, 6, 8: 818 tokens at 576x1024, as the released code has.
TOKENS = {(480, 853): 590, (576, 1024): 818}


@pytest.mark.parametrize("size", TOKENS, ids=str)
@pytest.mark.parametrize("variant", ["sam-vit-b", "resnet101"])
def test_every_scale_has_as_many_tokens(variant: str, size: tuple[int, int]) -> None:
    """The whole network's shapes at full size, on the meta device: nothing is computed."""
    network = segmenter_on_meta("ov2vss", variant).network  # type: ignore[attr-defined]
    with torch.device("meta"), torch.no_grad():
        image = torch.empty(1, 3, *size)
        maps = network.net.scales(image)
        grids = token_grids(size_of(maps[-1]), network.config.pool_ratios)
        pool = TokenPool(network.config.width, len(grids))
        counts = [pool(x, grids).shape[1] for x in maps]
        assert counts == [TOKENS[size]] * 4
        features = FrameFeatures(maps, network.clip_features(image))
        text = torch.empty(45, 80, 512)
        output = network.net(network.net.regions(features), [features] * 4, text, auxiliary=True)
    assert output.logits.shape == (1, 45, 72, 72)
    assert output.auxiliary.shape[-2:] == maps[0].shape[-2:]


class _Net(nn.Module):
    """Just enough of a network: its backbone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from ovbench.nn.backbones import build_backbone

        self.net = nn.Module()
        self.net.backbone = build_backbone(name)


def _save(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def sam() -> dict[str, Tensor]:
    """A stock SAM ViT-B file's names and shapes, random values in the encoder's tables."""
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        names = sam_model_registry["vit_b"]().state_dict()
    torch.manual_seed(0)
    return {n: torch.rand(v.shape) if "pos" in n else torch.zeros(v.shape) for n, v in names.items()}


@pytest.mark.slow
def test_a_stock_sam_file(tmp_path: Path, sam: dict[str, Tensor]) -> None:
    network = _Net("sam-vit-b")
    said = load_backbone_weights(network, _save(tmp_path / "sam.pth", sam))
    encoder = network.net.backbone.encoder
    assert torch.equal(encoder.pos_embed, sam["image_encoder.pos_embed"])
    assert torch.equal(encoder.blocks[2].attn.rel_pos_h, sam["image_encoder.blocks.2.attn.rel_pos_h"])
    assert said == "backbone: 177 tensors read; left out: 137 of prompt_encoder, mask_decoder"
    found = recognise(sam)
    assert found is not None and found.title.startswith("SAM ViT-B") and not found.missing


@pytest.mark.slow
def test_tables_of_another_image_size_are_adapted(tmp_path: Path, sam: dict[str, Tensor]) -> None:
    small = {n: v for n, v in sam.items() if n.startswith("image_encoder.")}
    small["image_encoder.pos_embed"] = torch.rand(1, 32, 32, 768)
    for n in (2, 5, 8, 11):
        for side in "hw":
            small[f"image_encoder.blocks.{n}.attn.rel_pos_{side}"] = torch.rand(63, 64)
    network = _Net("sam-vit-b")
    load_backbone_weights(network, _save(tmp_path / "sam512.pth", small))
    encoder = network.net.backbone.encoder
    table = small["image_encoder.pos_embed"].permute(0, 3, 1, 2)
    asked = F.interpolate(table, (64, 64), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    assert torch.equal(encoder.pos_embed, asked)
    assert encoder.blocks[5].attn.rel_pos_w.shape == (127, 64)


@pytest.mark.slow
def test_the_release_profile_takes_sam_under_its_own_names(tmp_path: Path, sam: dict[str, Tensor]) -> None:
    from ovbench.baselines.ov2vss.release.backbone import Backbone

    network = nn.Module()
    network.backbone = Backbone()
    load_backbone_weights(network, _save(tmp_path / "sam.pth", sam))
    table = network.backbone.pos_embed
    assert torch.equal(table[:, 1:], sam["image_encoder.pos_embed"].flatten(1, 2)) and not table[:, 0].any()
    assert not network.backbone.patch_embed.projection.weight.any()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_resnet_101_of_torchvision_and_timm(tmp_path: Path, source: str) -> None:
    if source == "timm":
        state = pytest.importorskip("timm").create_model("resnet101", pretrained=False).state_dict()
    else:
        import torchvision

        state = torchvision.models.resnet101(weights=None).state_dict()
        state = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}  # files of 2017
    network = _Net("resnet101")
    said = load_backbone_weights(network, _save(tmp_path / "r.pth", state))
    assert torch.equal(network.net.backbone.body.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])
    assert said.endswith("left out: 2 of fc")
    found = recognise(state)
    assert found is not None and "ResNet-101" in found.title


@pytest.mark.slow
def test_files_of_something_else_are_named_and_change_nothing(tmp_path: Path, sam: dict[str, Tensor]) -> None:
    network = _Net("resnet101")
    before = network.net.backbone.body.conv1.weight.clone()
    path = _save(tmp_path / "sam.pth", sam)
    with pytest.raises(UserError, match="no weights of this backbone.*missing") as caught:
        load_backbone_weights(network, path)
    assert "resnet101 takes" in str(caught.value) or "resnet101 a ResNet-101" in str(caught.value)
    assert torch.equal(network.net.backbone.body.conv1.weight, before)
    with pytest.raises(UserError, match="ConvPyramid starts from nothing"):
        load_backbone_weights(_Net("conv"), path)


@pytest.mark.parametrize(
    ("folder", "fits"),
    [("ov2vss", "ov2vss:release"), ("deop", "deop:coco-r101"), ("zegformer", "zegformer:coco-r101")],
)
def test_official_checkpoints_are_recognised_by_name(golden_root: Path, folder: str, fits: str) -> None:
    raw = json.loads((golden_root / folder / "state_dict_names.json").read_text())
    entries = raw["entries"] if isinstance(raw, dict) else raw
    state = {name: torch.empty(shape, device="meta") for name, shape, *_ in entries}
    best = best_fits(state, {})[0]
    assert best.loads and fits in (best.name, *best.also)
    assert not best.missing and not best.wrong
    named = {n: v for n, v in state.items() if n != next(iter(state))}
    nearest = best_fits(named, {}, *fits.split(":"))[0]
    assert not nearest.loads and nearest.missing == (next(iter(state)),)
