"""Training of SAN's side network on a protocol's seen classes; CLIP stays as it is, but for its positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ovbench.engine.masks import Batch, MaskTraining, Trained
from ovbench.engine.targets import IGNORE
from ovbench.methods.base import Setup
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import clip_pixels
from ovbench.nn.pretext import naming_loss

from .config import Config
from .network import BACKGROUND, POSITIONS, Network

_SUPERVISED = 2
"""The last side blocks, each of which draws and names masks in training."""
_UNDECAYED = ("pos_embed", "query_embed", "positional_embedding")


class Training(MaskTraining):
    """Set criterion on the proposals' masks and names after the last two side blocks.

    The gradient of the names runs through CLIP's last blocks into the attention bias; the text tower and all
    of CLIP's weights are fixed, except the image tower's position table where `positions_trained` is on.
    """

    method = Network.method

    def build(self) -> nn.Module:
        """The network; weights files hold no CLIP, but the position table."""
        self.open_network(Network, Config.from_options(self.options))
        with torch.no_grad():
            self.text = self.network.texts(self.targets.vocabulary)[0].clone()
        positions = bool(self.options["positions_trained"])
        for name, parameter in self.net.named_parameters():
            own = positions if name == POSITIONS else not self.network.of_clip(name)
            parameter.requires_grad_(own)
        self.net.train()
        self.network.clip.model.eval()
        return Trained(self.net, Network.clip_names, (POSITIONS, BACKGROUND))

    def start(self) -> None:
        """The side network is made with its start values; there is no backbone but CLIP."""

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Everything but norms and what stands for places and queries."""
        return parameter.ndim > 1 and not name.endswith(_UNDECAYED)

    def naming(self, batch: Batch) -> Tensor:
        """The loss of the training's first part: the side network's cells alone, by `naming_loss`."""
        pixels = clip_pixels(self.network.clip, batch.pixels)
        maps, _ = self.net.look(pixels)
        ((_, cells),) = self.net.side_adapter_network.run(pixels, maps)
        return naming_loss({"cells": cells}, batch.labels, len(self.targets), IGNORE, ("cells",))

    def predict(self, batch: Batch) -> Predictions:
        """The network on frames with CLIP's statistics."""
        pixels = clip_pixels(self.network.clip, batch.pixels)
        found: Predictions = self.net(pixels, self.text, last=_SUPERVISED)
        return found


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
