"""Image backbones that give four feature maps, shallow first."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import missing_extra, unknown


class ConvPyramid(nn.Module):
    """A small residual network: (B, 3, H, W) -> four maps, the first at stride 4, the others at stride 8."""

    def __init__(self, channels: tuple[int, int, int, int] = (24, 48, 48, 64)) -> None:
        super().__init__()
        self.channels = channels
        self.stem = nn.Sequential(_conv(3, 24, 2), _conv(24, channels[0], 2))
        inputs = (channels[0], *channels[:-1])
        self.stages = nn.ModuleList(
            _Residual(a, b, 2 if i == 1 else 1) for i, (a, b) in enumerate(zip(inputs, channels, strict=True))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.GroupNorm(8, outputs)
        )
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.second(self.first(x)))


class SamPyramid(nn.Module):
    """SAM's ViT-B image encoder: the four global-attention blocks, each through the shared neck, all at stride 16.

    Built from segment-anything's encoder (names `patch_embed.proj`, `blocks.N...`, `neck.N`), so a stock SAM
    file's `image_encoder.*` entries fit. Any input size: padded to a multiple of 16 at the bottom and right,
    the position table resized bicubically.
    """

    channels = (256, 256, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        try:
            from segment_anything.modeling import ImageEncoderViT
        except ImportError:
            raise missing_extra("segment-anything", "models") from None
        self.encoder = ImageEncoderViT(
            depth=12,
            embed_dim=768,
            img_size=1024,
            mlp_ratio=4,
            norm_layer=_layer_norm_6,
            num_heads=12,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(2, 5, 8, 11),
            window_size=14,
            out_chans=256,
        )
        self.taps = (2, 5, 8, 11)

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[-2:]
        x = self.encoder.patch_embed(F.pad(x, (0, -width % 16, 0, -height % 16)))
        table = self.encoder.pos_embed.permute(0, 3, 1, 2)
        if table.shape[-2:] != x.shape[1:3]:
            table = F.interpolate(table, tuple(x.shape[1:3]), mode="bicubic", align_corners=False)
        x = x + table.permute(0, 2, 3, 1)
        maps = []
        for i, block in enumerate(self.encoder.blocks):
            x = block(x)
            if i in self.taps:
                maps.append(self.encoder.neck(x.permute(0, 3, 1, 2)))
        return maps


def _layer_norm_6(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6)


class ResNetPyramid(nn.Module):
    """torchvision's ResNet-101: 256, 512, 1024 and 2048 channels at strides 4, 8, 16 and 32."""

    channels = (256, 512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        try:
            from torchvision.models import resnet101
        except ImportError:
            raise missing_extra("torchvision", "models") from None
        self.body = resnet101(weights=None)
        self.body.fc = nn.Identity()

    def forward(self, x: Tensor) -> list[Tensor]:
        body = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
        maps = []
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = stage(x)
            maps.append(x)
        return maps


_BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "conv": ConvPyramid,
    "conv-wide": lambda: ConvPyramid((32, 64, 96, 128)),
    "sam-vit-b": SamPyramid,
    "resnet101": ResNetPyramid,
}


def build_backbone(name: str) -> nn.Module:
    """A backbone with fresh weights; its `channels` tell the widths of the four maps.

    Raises:
        UserError: unknown name, or a package that is not installed.
    """
    if name not in _BACKBONES:
        raise unknown("backbone", name, _BACKBONES)
    return _BACKBONES[name]()


def normalise(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 or float 0..255 RGB -> float32 with ImageNet's mean and deviation."""
    mean = torch.tensor((123.675, 116.28, 103.53), device=images.device).view(3, 1, 1)
    std = torch.tensor((58.395, 57.12, 57.375), device=images.device).view(3, 1, 1)
    return (images.float() - mean) / std
