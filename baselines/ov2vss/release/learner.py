"""The release profile in training: the target row of the official code with its auxiliary head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.hashing import hash_file
from ovbench.methods.base import Setup
from ovbench.nn.backbones import normalise
from ovbench.nn.checkpoint import load_weights
from ovbench.nn.recompute import recompute
from ovbench.nn.seeded import fill_by_name
from ovbench.protocol.vocabulary import Vocabulary

from ..backbone_weights import load_backbone_weights
from ..clips import OFFSETS
from ..inputs import RULES, parse_size, resize_as_released
from ..learner import clip_weights
from ..model import Output
from .head import SEEN
from .network import CLIP, ReleaseNetwork
from .segmenter import PROFILE, split_names

BACKGROUND = "background"
_UNTRAINED = ("decode_head.linear_c", "decode_head.linear_fuse.")
"""The single-frame path, which no training clip takes; officially it keeps its random start."""


class ReleaseLearner:
    """`ReleaseNetwork` in training: batch norms and dropout at work, CLIP frozen.

    As officially, "background" is asked for beside the seen classes and never right. Frame t-3 is not looked
    at: it has no influence on the target.
    """

    profile = PROFILE
    closed = True

    def __init__(self, setup: Setup, seen: int) -> None:
        if seen > SEEN:
            raise UserError(
                f"the released network has outputs for {SEEN} seen classes, and the protocol has {seen}",
                hint="--variant sam-vit-b, whose auxiliary head takes the protocol's number",
            )
        self.options = setup.options
        self.size = parse_size("input_size", self.options["input_size"], RULES)
        self.module = ReleaseNetwork(str(self.options["corr_layout"]), setup.device)
        self.module.train()
        pair = self.module.pair
        pair.model.eval().requires_grad_(False)
        path = clip_weights(setup, CLIP)
        if path is None:
            fill_by_name(pair.model)
        else:
            pair.load_state(load_weights(path)[0], hash_file(path))
        if self.options.get("backbone_weights"):
            load_backbone_weights(self.module, str(self.options["backbone_weights"]))
        if self.options["checkpointing"]:
            recompute(self.module.backbone.blocks)

    def text(self, vocabulary: Vocabulary) -> Tensor:
        names = [*vocabulary.names, *([] if BACKGROUND in vocabulary.names else [BACKGROUND])]
        with torch.no_grad():
            return self.module.text(split_names(Vocabulary(names))).detach()

    def config_json(self) -> str:
        return json.dumps({"corr_layout": self.options["corr_layout"]}, sort_keys=True)

    def backbone(self, name: str) -> bool:
        """As the official configuration says it: what has no "head" in its name."""
        return "head" not in name

    def outputs(self, frames: Sequence[Tensor], keys: Sequence[Sequence[Any]], text: Tensor) -> list[Output]:
        net, past = self.module, len(OFFSETS) - 1
        targets = 1 if len(frames) == len(OFFSETS) + 1 else len(OFFSETS)
        pixels = [self._pixels(f) for f in frames]
        read = {0} | {1 + i + k for i in range(targets) for k in (0, 1, past)}
        maps = {i: net.maps(pixels[i]) for i in sorted(read)}
        far = net.far(maps[0])
        return [
            self._output(far, [maps[1 + i + k] for k in (0, 1, past)], pixels[1 + i + past], text)
            for i in range(targets)
        ]

    def _output(self, far: Any, maps: Sequence[Sequence[Tensor]], pixels: Tensor, text: Tensor) -> Output:
        """Both heads of one target, 120 x 120 as officially; `maps` of t-9, t-6 and t."""
        head = self.module.decode_head
        size = (int(maps[-1][0].shape[2]), int(maps[-1][0].shape[3]))
        context = head.context(far, *maps)
        with torch.no_grad():
            clip = self.module.clip_tokens(pixels)
        logits = head.predictor(head.enhanced(context, far.regions, size), head.deep(maps[-1]), clip, text)
        auxiliary = F.interpolate(
            head.auxiliary(context, size), logits.shape[-2:], mode="bilinear", align_corners=False
        )
        return Output(logits, auxiliary)

    def _pixels(self, frames: Tensor) -> Tensor:
        if self.options["augment"] == "none":
            frames = resize_as_released(frames.round(), self.size)
        return normalise(frames)


def untrained_names(names: Sequence[str]) -> list[str]:
    """Those of a `ReleaseNetwork`'s parameters that get no gradient in the official training either."""
    return [n for n in names if n.startswith((*_UNTRAINED, "decode_head.predictor.clip_model."))]
