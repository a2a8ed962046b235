"""ResNet, pyramid and decoder: official names and shapes, strides, and what the blocks compute."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ovbench.nn.conv import Conv, FrozenBatchNorm
from ovbench.nn.detr import MLP, MaskPredictor, SinePositions
from ovbench.nn.fpn import PixelDecoder
from ovbench.nn.resnet import ResNet


@pytest.mark.parametrize(("depth", "tensors"), [(50, 53), (101, 104)])
def test_official_names(depth: int, tensors: int) -> None:
    with torch.device("meta"):
        names = {n: tuple(v.shape) for n, v in ResNet(depth).state_dict().items()}
    assert len(names) == 5 * tensors
    assert names["stem.conv1.weight"] == (64, 3, 7, 7)
    assert names["res2.0.shortcut.weight"] == (256, 64, 1, 1)
    assert names["res4.5.conv2.norm.running_var"] == (256,)
    assert names["res5.2.conv3.weight"] == (2048, 512, 1, 1)
    assert not [n for n in names if n.endswith("num_batches_tracked")]


def test_the_deep_stem_widens_the_first_shortcut() -> None:
    with torch.device("meta"):
        names = {n: tuple(v.shape) for n, v in ResNet(101, "deeplab", (1, 2, 4)).state_dict().items()}
    assert names["stem.conv3.weight"] == (128, 64, 3, 3)
    assert names["res2.0.shortcut.weight"] == (256, 128, 1, 1)


def test_strides_and_dilations() -> None:
    net = ResNet(stem="deeplab", res5_dilations=(1, 2, 4), blocks=(1, 1, 1, 3), width=8)
    maps = net(torch.randn(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps.values()] == [
        (32, 16, 24),
        (64, 8, 12),
        (128, 4, 6),
        (256, 2, 3),
    ]
    assert list(maps) == ["res2", "res3", "res4", "res5"]
    assert [block.conv2.dilation[0] for block in net.res5] == [1, 2, 4]
    assert [block.conv2.stride[0] for block in net.res5] == [2, 1, 1]
    assert net.res3[0].conv1.stride == (1, 1)  # the stride sits on the 3x3 convolution


def test_frozen_norm_is_affine_with_stored_statistics() -> None:
    norm = FrozenBatchNorm(3)
    for buffer in norm.buffers():
        buffer.uniform_(0.5, 2.0)
    x = torch.randn(2, 3, 4, 5)
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    expected = (x - norm.running_mean.view(3, 1, 1)) * scale.view(3, 1, 1) + norm.bias.view(3, 1, 1)
    torch.testing.assert_close(norm.train()(x), expected)
    assert not list(norm.parameters())


def test_conv_has_a_bias_only_without_a_norm() -> None:
    assert set(Conv(32, 64, 3, norm="group").state_dict()) == {"weight", "norm.weight", "norm.bias"}
    assert set(Conv(3, 8, 1).state_dict()) == {"weight", "bias"}
    assert Conv(32, 48, 1, norm="group").norm.num_groups == 6


def test_pyramid_by_hand() -> None:
    net = PixelDecoder((8, 16, 24, 32), dim=32, mask_dim=16)
    maps = {f"res{k}": torch.randn(1, 8 * (k - 1), 2 ** (6 - k), 3 * 2 ** (5 - k)) for k in (2, 3, 4, 5)}
    x = F.relu(net.layer_4.norm(F.conv2d(maps["res5"], net.layer_4.weight, padding=1)))
    for k in (3, 2, 1):
        adapter, layer = getattr(net, f"adapter_{k}"), getattr(net, f"layer_{k}")
        side = adapter.norm(F.conv2d(maps[f"res{k + 1}"], adapter.weight))
        x = side + x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = F.relu(layer.norm(F.conv2d(x, layer.weight, padding=1)))
    expected = F.conv2d(x, net.mask_features.weight, net.mask_features.bias, padding=1)
    torch.testing.assert_close(net(maps), expected)
    assert expected.shape == (1, 16, 16, 24)


def test_sine_positions_by_hand() -> None:
    code = SinePositions(4)(torch.zeros(1, 7, 3, 5))
    assert code.shape == (1, 8, 3, 5)
    for row, column in ((0, 0), (2, 4), (1, 3)):
        y = (row + 1) / (3 + 1e-6) * 2 * math.pi
        x = (column + 1) / (5 + 1e-6) * 2 * math.pi
        expected = [f(v / d) for v in (y, x) for d in (1, 100) for f in (math.sin, math.cos)]
        torch.testing.assert_close(code[0, :, row, column], torch.tensor(expected), atol=1e-5, rtol=0)


def test_queries_give_a_vector_and_a_mask_after_every_layer() -> None:
    net = MaskPredictor(12, queries=5, dim=16, heads=2, ffn=24, layers=3, mask_dim=8).eval()
    held = net.decode(torch.randn(2, 12, 3, 4))
    assert held.shape == (3, 2, 5, 16)
    features = torch.randn(2, 8, 6, 7)
    masks = net.masks(held, features)
    assert masks.shape == (3, 2, 5, 6, 7)
    torch.testing.assert_close(
        masks[1, 0, 2], (net.mask_embed(held[1, 0, 2])[:, None, None] * features[0]).sum(0)
    )
    torch.testing.assert_close(held.mean(-1), torch.zeros(3, 2, 5), atol=1e-5, rtol=0)  # the norm is the last


def test_decoder_layer_agrees_with_pytorchs_own() -> None:
    """torch's post-norm decoder layer is ours when no codes are added."""
    from ovbench.nn.detr import DecoderLayer

    ours = DecoderLayer(16, 4, 32).eval()
    theirs = torch.nn.TransformerDecoderLayer(16, 4, 32, dropout=0.0, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    torch.testing.assert_close(ours(x, torch.zeros(1, 5, 16), memory, memory), theirs(x, memory))


def test_mlp_names() -> None:
    net = MLP(4, 6, 2, 3)
    assert set(net.state_dict()) == {f"layers.{i}.{n}" for i in range(3) for n in ("weight", "bias")}
    assert net(torch.zeros(5, 4)).shape == (5, 2)
