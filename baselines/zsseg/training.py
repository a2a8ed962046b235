"""Training of zsseg's masks and class vectors on a protocol's seen classes; both CLIP towers stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.engine.masks import Batch, MaskTraining, Trained
from ovbench.methods.base import Setup
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import normalise_pixels

from .config import LEARNED, SAME, Config
from .network import Network


class Training(MaskTraining):
    """Set criterion on the query vectors' similarities with the seen names' text and on their masks.

    CLIP never looks at an image, as in the official training; "no object" has a learned vector. A learned
    prompt is trained with the rest (the official code trains it before, on regions, and then keeps it).
    """

    method = Network.method

    def build(self) -> nn.Module:
        """The mask network; weights files hold no CLIP."""
        config = Config.from_options(self.options)
        if config.region_prompt != SAME:
            raise UserError(
                "a CLIP of its own for regions is not trained here", hint="--set region_prompt=same"
            )
        self.open_network(Network, config)
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(not name.startswith(Network.clip_names))
        self.fixed: Tensor | None = None
        if config.prompt != LEARNED:
            with torch.no_grad():
                self.fixed = self.net.clip_adapter.text(self.targets.vocabulary).clone()
        self.net.train()
        self.network.clip.model.eval()
        return Trained(self.net, Network.clip_names)

    @property
    def text(self) -> Tensor:
        """(K, E) of the seen names."""
        if self.fixed is not None:
            return self.fixed
        found: Tensor = self.net.clip_adapter.text(self.targets.vocabulary)
        return found

    def predict(self, batch: Batch) -> Predictions:
        """The network on normalised frames."""
        found: Predictions = self.net(normalise_pixels(batch.pixels), self.text, every=True)
        return found


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
