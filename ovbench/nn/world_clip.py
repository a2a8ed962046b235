"""The world's two-tower model: an open_clip CLIP with a small configuration and a convolutional stem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.core.paths import room

MEAN = (0.45, 0.45, 0.45)
STD = (0.27, 0.27, 0.27)
"""Statistics that images are normalised with, RGB in 0..1."""

_STEM = (24, 48)


def load_words() -> list[str]:
    """The words the model knows, in token order; the first three are padding, start and end."""
    return (room("baselines") / "world_clip" / "words.txt").read_text().split()


def conv_stem(width: int) -> nn.Sequential:
    """Three strided 3x3 convolutions in place of the 8x8 patch projection: (B, 3, H, W) -> (B, width, H/8, W/8)."""
    layers: list[nn.Module] = []
    channels = 3
    for out in (*_STEM, width):
        layers += [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.GELU()]
        channels = out
    return nn.Sequential(*layers, nn.Conv2d(width, width, 1))


def build_world_clip() -> Any:
    """The `open_clip.CLIP` of `baselines/world_clip/config.json`, with the convolutional stem, fresh weights."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    config = json.loads((room("baselines") / "world_clip" / "config.json").read_text())
    vision = CLIPVisionCfg(
        **{**config["vision_cfg"], "image_size": tuple(config["vision_cfg"]["image_size"])}
    )
    model = CLIP(config["embed_dim"], vision, CLIPTextCfg(**config["text_cfg"]))
    model.visual.conv1 = conv_stem(vision.width)
    return model


class WordTokenizer:
    """Whole words to token ids, called like open_clip's tokenizers.

    Raises:
        UserError: for a word the embedded model has never read, or a prompt that is too long.
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        self.words = {word: i for i, word in enumerate(words)}
        self.context_length = context_length

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Tensor:
        """(N, context) int64 token ids, padded with 0."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        size = context_length or self.context_length
        out = torch.zeros(len(texts), size, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids = [
                1,
                *(self._id(word, text) for word in text.lower().replace(".", " ").replace(",", " ").split()),
                2,
            ]
            if len(ids) > size:
                raise UserError(f"the prompt '{text}' has {len(ids)} tokens; this model reads at most {size}")
            out[row, : len(ids)] = torch.tensor(ids)
        return out

    def _id(self, word: str, text: str) -> int:
        if word not in self.words:
            known = " ".join(list(self.words)[3:])
            raise UserError(
                f"the embedded two-tower model does not know the word '{word}' (in '{text}')",
                hint=f"it knows only: {known}; for other names use an open_clip model, e.g. --variant vit-b-16",
            )
        return self.words[word]
