"""zsseg's network under the official names: masks, and query vectors that CLIP's adapter compares with names.

Source: Xu et al., ECCV 2022; zsseg.baseline, mask_former/zero_shot_mask_former_model.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import unknown
from ovbench.nn.clip import ClipPair
from ovbench.nn.detr import Predictions
from ovbench.nn.masknet import EmbeddingPredictor, MaskNet
from ovbench.nn.resnet import ResNet

from .adapter import Adapter
from .config import SAME, Config

BACKBONES: dict[str, Callable[[], ResNet]] = {
    "r50": lambda: ResNet(50),
    "r101c": lambda: ResNet(101, "deeplab", (1, 2, 4)),
    "world": lambda: ResNet(blocks=(1, 1, 1, 1), width=16, norm="group", pool=False, res5_stride=1),
}
ADAPTERS = ("clip_adapter", "_region_clip_adapter")


class ZsSegNet(MaskNet[EmbeddingPredictor]):
    """Backbone, mask head, and the adapters: one for queries, and where asked for another for regions.

    Args:
        towers: gives a CLIP for an adapter.
    """

    def __init__(self, config: Config, towers: Callable[[], ClipPair]) -> None:
        if config.backbone not in BACKBONES:
            raise unknown("backbone", config.backbone, BACKBONES)
        backbone, inside = BACKBONES[config.backbone](), not config.shared_clip
        adapter = Adapter(towers(), inside, config.prompt, config.prompt_length)
        embed = int(adapter.non_object_embedding.shape[1])
        super().__init__(
            backbone,
            config.pyramid,
            lambda channels: EmbeddingPredictor(config, channels, config.class_hidden, embed),
        )
        self.clip_adapter = adapter
        if config.region_prompt != SAME:
            self._region_clip_adapter = Adapter(towers(), inside, config.region_prompt, config.prompt_length)

    @property
    def regions(self) -> Adapter:
        """The adapter that looks at regions."""
        return next(m for m in (getattr(self, n, None) for n in reversed(ADAPTERS)) if m is not None)

    def forward(self, images: Tensor, text: Tensor, every: bool = False) -> Predictions:
        """Masks and class logits; arguments as those of `draw`, and (K, E) unit vectors."""
        held, masks = self.draw(images, every)
        vectors = F.normalize(self.predictor.class_embed(held), dim=-1)
        return Predictions(self.clip_adapter.similarities(vectors, self.clip_adapter.with_void(text)), masks)
