"""Sizes and switches of the OV2VSS network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ovbench.core.errors import UserError

from .inputs import RULES, parse_size


@dataclass(frozen=True)
class Config:
    """One set of sizes for the whole network; the switches take a component out by name.

    Lengths in pixels, everything else in channels or counts.
    """

    # sizes
    backbone: str = "conv"  # "conv", "conv-wide", "sam-vit-b" or "resnet101"
    clip: str = "world"  # name that ovbench.nn.clip.load_clip understands
    clip_trained: bool = False  # True: the image tower has no pre-training and learns with the rest
    clip_mode: str = "tokens"  # how dense CLIP features are read, see ovbench.nn.dense
    clip_size: tuple[int, int] = (96, 160)  # frames are squashed to this for CLIP
    input_size: tuple[int, int] | str = (96, 160)  # of the backbone; or a rule of inputs.RULES
    width: int = 48  # common width of all scales
    text_width: int = 64
    templates: int = 6
    template_set: str = "world"
    pool_ratios: tuple[int, ...] = (2, 4)  # token grids: deepest grid / ratio
    regions: int = 27
    seen: int = 27  # outputs of the auxiliary head
    heads: int = 4
    low_width: int = 24  # decoder width at CLIP's grid
    high_width: int = 16  # decoder width after upsampling
    upsample: int = 2
    cost_residual: bool = True  # add the mean cosine to the decoder's output (ours; off in the paper)
    # switches
    temporal: bool = True  # off: every frame of the clip is the target frame
    random_frame: bool = True
    refine: bool = True  # off: the deepest affinity is used as it is
    carry: bool = True  # off: the cost volume sees the target frame alone
    video_text: bool = True
    position_cue: bool = True
    text: str = "clip"  # "clip" or "learned" (closed-set control)
    fusion: bool = True  # off: the context is the target frame's own features, no STCF
    ffn: bool = True  # off: video-text encoding is attention alone, without its feed-forward layer
    mix: str = (
        "concat"  # how context guides the decoder: "concat" beside the cost features, or "add" onto them
    )

    @property
    def looks_back(self) -> bool:
        """Whether anything that is switched on reads the frames before the target."""
        return self.temporal and (self.fusion or self.carry or self.video_text)

    def to_json(self) -> str:
        """As stored in the header of a weights file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Config:
        """A configuration from a card's options; sizes may be written "96x160", ratios "1,2,4".

        Raises:
            UserError: a value that does not parse.
        """
        names = {f.name for f in fields(cls)}
        changes = {k: _parse(k, v) for k, v in options.items() if k in names}
        return cls(**changes)


def _parse(key: str, value: Any) -> Any:
    if key in ("clip_size", "input_size"):
        return parse_size(key, value, RULES if key == "input_size" else ())
    if key == "pool_ratios":
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            raise UserError(f"{key} must look like 2,4, not '{value}'") from None
    return value
