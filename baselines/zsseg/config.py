"""Sizes of zsseg's network, and the settings that its authors choose anew for every data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ovbench.core.errors import UserError

PROMPTS = {"vild": "vild", "imagenet": "imagenet80", "single": "sculpture", "world": "world"}
"""Fixed prompts: the name that an option gives, and the template set it stands for."""

LEARNED, SAME = "learned", "same"


@dataclass(frozen=True)
class Config:
    """The network and how it is used; the defaults are the official ones for COCO-Stuff."""

    # the network
    backbone: str = "r101c"  # see network.BACKBONES
    dim: int = 256  # of queries
    queries: int = 100
    layers: int = 6
    heads: int = 8
    ffn: int = 2048
    class_hidden: int = 1024
    pyramid: int = 256  # width of the pixel decoder and of masks
    dropout: float = 0.1  # of the decoder, in training
    clip: str = "ViT-B-16-quickgelu"
    prompt: str = "vild"  # a key of PROMPTS, or "learned"
    region_prompt: str = "same"  # for crops; otherwise they have towers and a "no object" vector of their own
    prompt_length: int = 16
    # its use
    short_side: int = 640  # 0: frames as they are
    long_side: int = 2560
    ensemble: bool = True  # off: crops are not looked at
    ensemble_weight: float = 0.8  # 0: only crops count
    region_look: str = "crop"  # "frame": CLIP sees the frame once, regions are means under their masks
    mask_threshold: float = 0.5  # of the masks that cut crops out
    seen_rule: str = "flags"  # which names count as trained, see ovbench.nn.seen
    seen_names: str = "coco-stuff-156"  # the list that rules with names look at
    region_batch: int = 16  # crops that CLIP sees at once

    def to_json(self) -> str:
        """As stored in the header of a weights file."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def shared_clip(self) -> bool:
        """Whether CLIP stays in its own file: the embedded models serve all methods."""
        return self.clip in ("world", "tiny")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Config:
        """A configuration from a card's options.

        Raises:
            UserError: a weight or a threshold outside 0..1, or a size that is not positive.
        """
        names = {f.name for f in fields(cls)}
        config = cls(**{k: v for k, v in options.items() if k in names})
        for key in ("ensemble_weight", "mask_threshold"):
            if not 0 <= getattr(config, key) <= 1:
                raise UserError(f"{key} must lie between 0 and 1, not {getattr(config, key)}")
        for key in ("dim", "queries", "layers", "heads", "region_batch"):
            if getattr(config, key) < 1:
                raise UserError(f"{key} must be at least 1, not {getattr(config, key)}")
        if not 0 <= config.short_side <= config.long_side:
            raise UserError("short_side must be 0 or more, long_side at least that")
        if config.dim % 4 or config.dim % config.heads:
            raise UserError(f"dim must be a multiple of 4 and of heads, not {config.dim}")
        return config
