"""Training of ZegFormer's masks and query vectors on a protocol's seen classes; CLIP stays as it is."""

from __future__ import annotations

import torch
from torch import nn

from ovbench.engine.masks import Batch, MaskTraining, Trained
from ovbench.methods.base import Setup
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import normalise_pixels

from .config import Config
from .network import Network


class Training(MaskTraining):
    """Set criterion on the query vectors' similarities with the seen names' text and on their masks.

    CLIP's image tower takes no part, as in the official training configurations; text vectors are fixed, the
    background's vector is learned, the temperature is not.
    """

    method = Network.method

    def build(self) -> nn.Module:
        """The mask network; weights files hold no CLIP."""
        self.open_network(Network, Config.from_options(self.options))
        with torch.inference_mode():
            templates = str(self.options["train_templates"]) or self.config.templates
            text = self.network.encode(self.targets.vocabulary, templates)
        self.text = text.clone()
        for name, parameter in self.net.named_parameters():
            fixed = name.startswith(Network.clip_names) or name.endswith("logit_scale")
            parameter.requires_grad_(not fixed)
        self.net.train()
        self.network.clip.model.eval()
        return Trained(self.net, Network.clip_names)

    def predict(self, batch: Batch) -> Predictions:
        """The network on normalised frames."""
        found: Predictions = self.net(normalise_pixels(batch.pixels), self.text, every=True)
        return found


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
