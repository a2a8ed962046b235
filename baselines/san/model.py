"""SAN's network under the official names.

Source: Xu, Zhang, Wei, Hu, Bai: Side Adapter Network for Open-Vocabulary Semantic Segmentation, CVPR 2023;
MendelXu/SAN, san/model/san.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.nn.clip import ClipPair
from ovbench.nn.detr import Predictions

from .config import Config
from .side import SideAdapter
from .towers import Classifier, Extractor, RecognitionHead, check_tower


class SideAdapterNet(nn.Module):
    """Names `side_adapter_network`, `clip_visual_extractor`, `clip_rec_head`, `ov_classifier`."""

    def __init__(self, config: Config, clip: ClipPair) -> None:
        super().__init__()
        check_tower(clip, config.clip_blocks)
        visual, blocks = clip.model.visual, config.clip_blocks
        self.clip_patch = tuple(int(side) for side in visual.patch_size)
        width = int(visual.class_embedding.shape[0])
        heads = int(visual.transformer.resblocks[0].attn.num_heads)
        self.clip_scale = config.clip_scale
        rows, columns = config.grid
        self.check_scale(
            (rows * config.patch, columns * config.patch)
        )  # the frame that the table is made for
        self.side_adapter_network = SideAdapter(config, width, heads)
        self.clip_visual_extractor = Extractor(visual, blocks)
        self.clip_rec_head = RecognitionHead(visual, blocks, config.reading == "pool")
        self.ov_classifier = Classifier(clip.model)

    def forward(self, images: Tensor, text: Tensor, last: int = 1) -> Predictions:
        """Masks and class logits of the proposals.

        Args:
            images: (B, 3, H, W) with CLIP's statistics, sides multiples of 32.
            text: (K, E) unit vectors.
            last: after how many of the last side blocks (2 in training).
        """
        maps, start = self.look(images)
        logits, masks = [], []
        for drawn, bias in self.side_adapter_network(images, maps, last):
            vectors = self.clip_rec_head(maps[-1], start, bias, drawn)
            logits.append(self.ov_classifier(vectors, text))
            masks.append(drawn)
        return Predictions(torch.stack(logits), torch.stack(masks))

    def look(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """What the first part of CLIP's image tower sees, at its own scale; see `Extractor`.

        Raises:
            UserError: at this scale the frame is smaller than one of CLIP's patches.
        """
        self.check_scale((int(images.shape[-2]), int(images.shape[-1])))
        if self.clip_scale != 1:
            images = F.interpolate(images, scale_factor=self.clip_scale, mode="bilinear", align_corners=False)
        found: tuple[list[Tensor], Tensor] = self.clip_visual_extractor(images)
        return found

    def check_scale(self, size: tuple[int, int]) -> None:
        """Raise `UserError` where CLIP would not see one whole patch of a frame of (height, width)."""
        seen = tuple(int(side * self.clip_scale) for side in size)
        if any(side < patch for side, patch in zip(seen, self.clip_patch, strict=True)):
            raise UserError(
                f"clip_scale {self.clip_scale:g} is too small: CLIP would see a frame of {size[0]}x{size[1]} as "
                f"{seen[0]}x{seen[1]}, less than one of its patches ({self.clip_patch[0]}x{self.clip_patch[1]})",
                hint="--set clip_scale=... (larger), or frames with a larger short_side",
            )
