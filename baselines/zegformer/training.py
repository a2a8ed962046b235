"""Training of ZegFormer's masks and query vectors on a protocol's seen classes; CLIP stays as it is."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from ovbench.core.errors import UserError
from ovbench.engine.masks import Batch, MaskTraining, Trained, load_backbone, start_values
from ovbench.methods.base import Setup
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import normalise_pixels

from .config import Config
from .network import CLIP_NAMES, METHOD, Network


class Training(MaskTraining):
    """Set criterion on the query vectors' similarities with the seen names' text and on their masks.

    CLIP's image tower takes no part, as in the official training configurations; text vectors are fixed, the
    background's vector is learned, the temperature is not.
    """

    method = METHOD

    def build(self) -> nn.Module:
        """The mask network; weights files hold no CLIP."""
        self.config = replace(Config.from_options(self.options), ensemble="none")
        given = str(self.options["clip_weights"])
        if not given and not self.config.shared_clip:
            raise UserError(
                f"training '{self.setup.variant}' starts from a pre-trained CLIP ({self.config.clip}), "
                "and none was given",
                hint="--set clip_weights=FILE (OpenAI's names); or --variant world, which needs none",
            )
        self.network = Network(self.config, Path(given) if given else None, self.setup.device)
        with torch.inference_mode():
            text, _ = self.network.text(self.targets.vocabulary)
        self.text = text.clone()
        net = self.network.net
        for part in (net.backbone, net.sem_seg_head):
            for name, parameter in part.named_parameters():
                parameter.requires_grad_("clip_model." not in name and not name.endswith("logit_scale"))
        start_values(net.backbone)
        start_values(net.sem_seg_head["pixel_decoder"])
        start_values(net.predictor.transformer)
        load_backbone(net.backbone, self.setup, self.config.norm != "frozen")
        net.backbone.train()
        net.sem_seg_head["pixel_decoder"].train()
        net.predictor.train()
        return Trained(net, (CLIP_NAMES,))

    @property
    def backbone(self) -> nn.Module:
        """The residual network."""
        return self.network.net.backbone

    def predict(self, batch: Batch) -> Predictions:
        """The network on normalised frames."""
        return self.network.net(normalise_pixels(batch.pixels), self.text, every=True)

    def config_json(self) -> str:
        """As the card resolves it."""
        return json.dumps(asdict(Config.from_options(self.options)), sort_keys=True)


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
