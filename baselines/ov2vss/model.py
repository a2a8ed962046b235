"""The OV2VSS network, `paper` profile: one implementation, sized by its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.nn.backbones import build_backbone

from .config import Config
from .fusion import ContextFusion, FrameContext, RandomFrameEnhancement, size_of
from .language import Carry, CostDecoder, VideoTextEncoding


@dataclass
class FrameFeatures:
    """What the network needs of one frame: computed once, usable in every clip the frame is part of.

    `scales`: four (B, C, h_l, w_l), shallow first. `clip`: (B, E, h, w) dense CLIP features.
    """

    scales: list[Tensor]
    clip: Tensor


@dataclass
class Output:
    """`logits` (B, K, H, W) per vocabulary entry; `auxiliary` (B, S, H1, W1) per seen class, or None."""

    logits: Tensor
    auxiliary: Tensor | None


class OV2VSS(nn.Module):
    """Everything but CLIP: backbone, fusion, enhancement, text encoding, decoder, auxiliary head."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        widths = self.backbone.channels
        self.project = nn.ModuleList(nn.Conv2d(int(c), config.width, 1) for c in widths)  # type: ignore[union-attr, arg-type]
        self.fusion = ContextFusion(config) if config.fusion else FrameContext(config)
        self.enhance = RandomFrameEnhancement(config)
        self.encode_text = VideoTextEncoding(config)
        self.carry = Carry(config) if config.carry else None
        self.decoder = CostDecoder(config)
        self.auxiliary = nn.Sequential(
            nn.Conv2d(config.width, config.width, 1), nn.ReLU(), nn.Conv2d(config.width, config.seen, 1)
        )
        self.class_vectors = (
            nn.Parameter(torch.randn(config.seen, 1, config.text_width)) if config.text == "learned" else None
        )

    def scales(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised images -> four maps of the common width, shallow first."""
        maps = self.backbone(images)
        return [project(x) for project, x in zip(self.project, maps, strict=True)]

    def regions(self, far: FrameFeatures) -> Tensor | None:
        """What the random (testing: farthest) frame contributes; None where that is switched off."""
        if not self.config.random_frame:
            return None
        found: Tensor = self.enhance.regions(far.scales)
        return found

    def forward(
        self, regions: Tensor | None, clip: Sequence[FrameFeatures], text: Tensor, auxiliary: bool = False
    ) -> Output:
        """Scores of the clip's last frame.

        Args:
            regions: what `regions` gave for the random (testing: farthest) frame.
            clip: features of t-9, t-6, t-3 and t.
            text: (K, P, E) unit text vectors per class and template; ignored with learned class vectors.
            auxiliary: also compute the auxiliary logits (training).
        """
        config = self.config
        target = clip[-1]
        looked_at = clip if config.temporal else [target]
        context = self.fusion([f.scales for f in (clip if config.temporal else [target] * len(clip))])
        enhanced = context if regions is None else self.enhance(context, regions)
        cost = self._cost(looked_at, enhanced, self._text(text, looked_at))
        logits = self.decoder(cost, enhanced, target.scales[0])
        return Output(logits, self.auxiliary(context) if auxiliary else None)

    def _text(self, text: Tensor, clip: Sequence[FrameFeatures]) -> Tensor:
        """(B, K, P, E) text, refined by the clip where that is switched on."""
        if self.class_vectors is not None:
            text = self.class_vectors.expand(-1, self.config.templates, -1)
        if not self.config.video_text:
            return text.expand(clip[-1].clip.shape[0], -1, -1, -1)
        video = torch.cat([f.clip.flatten(2) for f in clip], dim=2).transpose(1, 2)
        refined: Tensor = self.encode_text(text, video)
        return refined

    def _cost(self, clip: Sequence[FrameFeatures], context: Tensor, text: Tensor) -> Tensor:
        """Cosines (B, K, P or 2P, h, w) between text and the target's (own, carried) CLIP features."""
        evidence = [clip[-1].clip]
        if self.carry is not None:
            grid = size_of(clip[-1].clip)
            deep = [_to_grid(f.scales[-1], grid) for f in clip]
            evidence.append(self.carry(_to_grid(context, grid), deep, [f.clip for f in clip]))
        text = F.normalize(text, dim=-1)
        cosines = [torch.einsum("bkpe,behw->bkphw", text, F.normalize(e, dim=1)) for e in evidence]
        return torch.cat(cosines, dim=2)


def _to_grid(x: Tensor, grid: tuple[int, int]) -> Tensor:
    if size_of(x) == grid:
        return x
    if x.shape[-2] >= grid[0] and x.shape[-1] >= grid[1]:
        return F.adaptive_avg_pool2d(x, grid)
    return F.interpolate(x, grid, mode="bilinear", align_corners=False)
