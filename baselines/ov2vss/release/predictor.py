"""From text and CLIP features to class scores: text refinement, cost volume, decoder; one frame at a time.

Names and function: decode_heads/cat_zeroshot_classifier.py (`CatClassifier`, `VideoSpecificPrompt`) and
decode_heads/hyper_correlation_copy.py (`Corr`) of the official code.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import CrossAttention

CorrLayout = Literal["fixed", "legacy"]

TEMPLATES, WIDTH = 80, 512
COST, DECODER, OUTPUT = 24, 72, 120  # sides of the cost volume, of the decoder's map, of the logits

_CLASSES_AT_ONCE = 32


class TextLayer(nn.Module):
    """Cross-attention of text on CLIP tokens and a feed-forward part, both with shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cross_attn = CrossAttention(width, width // 64)
        self.norm1 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), QuickGELU(), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, text: Tensor, visual: Tensor) -> Tensor:
        """(1, N, C) text, (B, M, C) normed tokens -> (B, N, C)."""
        x = text + self.cross_attn(self.norm1(text), visual)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out


class QuickGELU(nn.Module):
    """CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x * torch.sigmoid(1.702 * x)


class TextRefiner(nn.Module):
    """What a frame changes in the text: `alpha` times the text after it has looked at the frame."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList([TextLayer(width)])
        self.alpha = nn.Parameter(torch.full((width,), 1e-4))

    def forward(self, text: Tensor, clip: Tensor) -> Tensor:
        """(K, P, C) text, (B, C, h, w) CLIP features -> (B, K, P, C), to be added to the text."""
        visual = self.norm(clip.flatten(2).transpose(1, 2))
        x = self.decoder[0](text.flatten(0, 1)[None], visual)
        out: Tensor = self.alpha * x.unflatten(1, text.shape[:2])
        return out


class Decoder(nn.Module):
    """(N, 80, 24, 24) per class -> (N, 72, 72): upsampling, guidance, two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        double = nn.Sequential(nn.Conv2d(80, 64, 3, padding=1, bias=False), nn.GroupNorm(4, 64), nn.ReLU())
        self.decoder1 = nn.ModuleDict(
            {
                "up": nn.ConvTranspose2d(80, 16, 3, stride=3),
                "conv": nn.ModuleDict({"double_conv": double}),
            }
        )
        self.head = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """(B, K, 80, 24, 24), guidance (B, 64, 72, 72) -> (B, K, 72, 72).

        The first convolution reads 16 channels of a class and 64 that all classes share: as it is linear, the
        shared part is computed once per frame.
        """
        mix, norm, _ = self.decoder1["conv"]["double_conv"]  # type: ignore[index]
        shared = F.conv2d(guidance, mix.weight[:, 16:], padding=1)[:, None]
        parts = []
        for some in x.split(_CLASSES_AT_ONCE, dim=1):
            count = some.shape[:2]
            own = F.conv2d(self.decoder1["up"](some.flatten(0, 1)), mix.weight[:, :16], padding=1)
            mixed = (own.unflatten(0, count) + shared).flatten(0, 1)
            parts.append(self.head(F.relu(norm(mixed))).view(*count, DECODER, DECODER))
        return torch.cat(parts, dim=1)


class Corr(nn.Module):
    """Cosine cost volume, guided by the deepest map, and the decoder. Of four official layers the last one acts."""

    def __init__(self, layout: CorrLayout = "fixed") -> None:
        super().__init__()
        self.layout = layout
        self.conv1 = nn.Conv2d(TEMPLATES, 80, 7, padding=3)
        self.layers = nn.ModuleDict({"3": nn.ModuleDict({"downlinear": nn.Linear(80 + 128, 80)})})
        self.proj_img_1 = nn.Sequential(nn.Conv2d(256, 64, 3, padding=1), nn.ReLU())
        self.proj_img_c4 = nn.Sequential(nn.Conv2d(256, 128, 3, padding=1), nn.ReLU())
        self.decodeh1 = Decoder()

    def cosines(self, clip: Tensor, text: Tensor) -> Tensor:
        """(B, E, 24, 24), (B, K, P, E) -> (B, K, P, 24, 24)."""
        volume = F.normalize(text, dim=-1).flatten(1, 2) @ F.normalize(clip, dim=1).flatten(2)
        return volume.view(*text.shape[:3], *clip.shape[2:])

    def guide(self, volume: Tensor, deep: Tensor) -> Tensor:
        """(B, K, P, 24, 24) cosines, (B, 128, h, w) projected c4 -> (B, K, 80, 24, 24).

        One linear layer reads 80 channels of a class and 128 that all classes share.
        """
        linear: nn.Linear = self.layers["3"]["downlinear"]  # type: ignore[index]
        weight = linear.weight[:, :, None, None]
        deep = F.interpolate(deep, (COST, COST), mode="bilinear", align_corners=False)
        shared = F.conv2d(deep, weight[:, 80:], linear.bias)[:, None]
        own = F.conv2d(self.conv1(volume.flatten(0, 1)), weight[:, :80])
        return own.unflatten(0, volume.shape[:2]) + shared

    def decode(self, guided: Tensor, features: Tensor) -> Tensor:
        """(B, K, 80, 24, 24), (B, 256, h, w) frame features -> (B, K, 72, 72).

        Until February 2025 the official code read the (K, 80) rows as (80, K) here ("legacy"): a class's score
        then depends on the number and the order of the names.
        """
        if self.layout == "legacy":
            batch, classes = guided.shape[:2]
            guided = guided.reshape(batch, 80, classes, COST, COST).transpose(1, 2)
        guidance = F.interpolate(
            self.proj_img_1(features), (DECODER, DECODER), mode="bilinear", align_corners=False
        )
        out: Tensor = self.decodeh1(guided, guidance)
        return out


class Predictor(nn.Module):
    """Names `clip_model` (an open_clip model, set by the network), `prompts_generator`, `corr`."""

    def __init__(self, clip_model: nn.Module, layout: CorrLayout = "fixed") -> None:
        super().__init__()
        self.clip_model = clip_model
        self.prompts_generator = TextRefiner()
        self.corr = Corr(layout)

    def forward(self, features: Tensor, deep: Tensor, clip: Tensor, text: Tensor) -> Tensor:
        """Logits (B, K, 120, 120).

        Args:
            features: (B, 256, h, w) what guides the decoder.
            deep: (B, 256, h', w') projected c4.
            clip: (B, 512, 24, 24) dense CLIP features.
            text: (K, 80, 512).
        """
        deep = self.corr.proj_img_c4(deep)
        # Classes meet in the layout at the earliest; before, they go in portions that bound the memory.
        guided = [
            self.corr.guide(self.corr.cosines(clip, some + self.prompts_generator(some, clip)), deep)
            for some in text.split(_CLASSES_AT_ONCE)
        ]
        logits = self.corr.decode(torch.cat(guided, dim=1), features)
        return F.interpolate(logits, (OUTPUT, OUTPUT), mode="bilinear", align_corners=False)
