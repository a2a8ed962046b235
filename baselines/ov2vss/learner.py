"""The paper profile in training: from photographs to logits, with what is frozen computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.methods.base import Setup
from ovbench.nn.recompute import recompute
from ovbench.protocol.vocabulary import Vocabulary

from .backbone_weights import load_backbone_weights
from .config import Config
from .model import FrameFeatures, Output
from .network import Network

SEEDED = "seeded"
_KEPT_BYTES = 1 << 30


class Learner(Protocol):
    """What the task asks of a profile."""

    profile: str
    closed: bool  # its classes are those of the training, whatever is asked for

    @property
    def module(self) -> nn.Module:
        """What is trained and stored."""

    def text(self, vocabulary: Vocabulary) -> Tensor:
        """(K, ...) what stands for each class; no gradient."""

    def outputs(self, frames: Sequence[Tensor], keys: Sequence[Sequence[Any]], text: Tensor) -> list[Output]:
        """One output per target, the sample's last frame last.

        Args:
            frames: the further frames (B, 3, H, W) float 0..255, then those of the clips, oldest first.
            keys: for each of these the samples' names of their frames, None where it never comes again.
            text: of the classes asked for.
        """

    def config_json(self) -> str:
        """For the header of the weights."""

    def backbone(self, name: str) -> bool:
        """Whether a parameter of `module` belongs to the backbone, by its name."""


class PaperLearner:
    """`Network` in training. Frozen CLIP features are kept per frame in half precision, within a bound."""

    profile = "paper"

    def __init__(self, setup: Setup, seen: int) -> None:
        options = setup.options
        self.options = options
        self.config = Config.from_options({**options, "seen": seen})
        self.module = Network(self.config, clip_weights(setup, self.config.clip), setup.device)
        if self.config.clip_trained:
            self.module.clip.train()
        if options.get("backbone_weights"):
            load_backbone_weights(self.module, str(options["backbone_weights"]))
        if options["checkpointing"]:
            recompute(blocks_of(self.module.net.backbone))
        self.resize = options["augment"] == "none"
        self.closed = self.config.text == "learned"
        self._clip: dict[Any, Tensor] = {}
        self._bytes = 0

    def text(self, vocabulary: Vocabulary) -> Tensor:
        return self.module.text(vocabulary).detach()

    def config_json(self) -> str:
        return self.config.to_json()

    def backbone(self, name: str) -> bool:
        return name.startswith("net.backbone.")

    def outputs(self, frames: Sequence[Tensor], keys: Sequence[Sequence[Any]], text: Tensor) -> list[Output]:
        targets = 1 if len(frames) == 5 else 4
        grads = [bool(self.options["past_grad"])] * (len(frames) - targets) + [True] * targets
        far, *clip = [self._features(f, k, g) for f, k, g in zip(frames, keys, grads, strict=True)]
        net = self.module.net
        regions = net.regions(far)
        return [net(regions, clip[i : i + 4], text, auxiliary=True) for i in range(targets)]

    def _features(self, images: Tensor, keys: Sequence[Any], grad: bool) -> FrameFeatures:
        network = self.module
        with torch.set_grad_enabled(grad):
            if network.config.clip_trained:
                return network.features(images, self.resize)
            clip = torch.cat([self._frozen(i[None], k) for i, k in zip(images, keys, strict=True)])
            return FrameFeatures(network.backbone_maps(images, self.resize), clip)

    @torch.no_grad()
    def _frozen(self, image: Tensor, key: Any) -> Tensor:
        """Features of a frozen CLIP, rounded to half precision whether they are kept or not."""
        if key in self._clip:
            return self._clip[key].float()
        features = self.module.clip_features(image).half()
        if key is not None and self._bytes < _KEPT_BYTES:
            self._clip[key] = features
            self._bytes += features.numel() * 2
        return features.float()


def clip_weights(setup: Setup, clip: str) -> Path | None:
    """The file of a pre-trained CLIP; None for one that comes with us, or for `clip_weights=seeded`.

    Raises:
        UserError: no file for one that must be pre-trained.
    """
    given = str(setup.options.get("clip_weights", ""))
    if given == SEEDED:
        return None
    if not given and clip not in ("world", "tiny"):
        raise UserError(
            f"training '{setup.variant}' starts from a pre-trained CLIP ({clip}), and none was given",
            hint="--set clip_weights=FILE (OpenAI's names, safetensors); or --variant small, which needs none; "
            "clip_weights=seeded tries the machinery with numbers made from names",
        )
    return Path(given) if given else None


def blocks_of(backbone: nn.Module) -> Iterable[nn.Module]:
    """The blocks that one after the other make up a backbone."""
    for module in backbone.modules():
        for name in ("blocks", "stages"):
            found = getattr(module, name, None)
            if isinstance(found, nn.ModuleList):
                return list(found)
    layers = [getattr(m, f"layer{i}", None) for m in backbone.modules() for i in (1, 2, 3, 4)]
    return [block for layer in layers if isinstance(layer, nn.Sequential) for block in layer]
