"""Sizes of zsseg's network, and the settings that its authors choose anew for every data set."""

from __future__ import annotations

from dataclasses import dataclass

from ovbench.nn.maskconfig import EnsembleConfig

PROMPTS = {"vild": "vild", "imagenet": "imagenet80", "single": "sculpture", "world": "world"}
"""Fixed prompts: the name that an option gives, and the template set it stands for."""

LEARNED, SAME = "learned", "same"


@dataclass(frozen=True)
class Config(EnsembleConfig):
    """The network and how it is used; the defaults are the official ones for COCO-Stuff."""

    backbone: str = "r101c"  # see model.BACKBONES
    class_hidden: int = 1024
    prompt: str = "vild"  # a key of PROMPTS, or "learned"
    region_prompt: str = "same"  # for crops; otherwise they have towers and a "no object" vector of their own
    prompt_length: int = 16
