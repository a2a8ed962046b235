"""DeOP together with its CLIP: from a frame to scores."""

from __future__ import annotations

import torch
from torch import Tensor

from ovbench.core.types import Image
from ovbench.nn.maskformer import clip_pixels, combine_enlarged, normalise_pixels, pad, postprocess
from ovbench.nn.maskmodel import MaskModel
from ovbench.nn.prompts import encode_prompted
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .model import DeOP


class Network(MaskModel[Config, DeOP]):
    """DeOP and its CLIP. Seen and unseen names are treated alike, so no rule is needed for a free vocabulary."""

    method = "deop"
    clip_names = ("clip_adapter.clip_model.",)

    def build(self) -> DeOP:
        """The network around CLIP, to which it adds positions."""
        return DeOP(self.config, self.towers())

    def of_clip(self, name: str) -> bool:
        """Whether a name is of CLIP as published, not of the positions that DeOP adds."""
        return super().of_clip(name) and not name.endswith("learned_position")

    def texts(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        """(K, E) unit vectors of the names between the learned prompt's vectors."""
        return (encode_prompted(self.net.clip_adapter.prompt_learner, vocabulary),)

    def inputs(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) 0..255 -> the padded images as the mask network and as CLIP see them.

        The released code gives CLIP the images with ImageNet's statistics, not its own, and learned its
        positions so; `clip_input = "clip"` gives it its own.
        """
        images = pad(normalise_pixels(pixels))
        return images, images if self.config.clip_input == "imagenet" else pad(clip_pixels(self.clip, pixels))

    @torch.inference_mode()
    def scores(
        self, image: Image, texts: tuple[Tensor, ...], seen: Tensor, resize: bool, out_size: tuple[int, int]
    ) -> Tensor:
        """(K, h, w); `seen` makes no difference."""
        pixels = self.pixels(image, resize)
        images, seen_by_clip = self.inputs(pixels)
        found = self.net(images, seen_by_clip, texts[0]).final
        size = pixels.shape[-2:]
        probs = found.logits[-1, 0].softmax(-1)[:, :-1]
        scores = combine_enlarged(probs, found.masks[-1, 0], images.shape[-2:], size)
        return postprocess(scores, size, out_size)
