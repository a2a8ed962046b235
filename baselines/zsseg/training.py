"""Training of zsseg's masks and class vectors on a protocol's seen classes; both CLIP towers stay as they are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.engine.masks import Batch, MaskTraining, Trained, load_backbone, start_values
from ovbench.methods.base import Setup
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import normalise_pixels

from .config import LEARNED, SAME, Config
from .network import CLIP_NAMES, METHOD, Network


class Training(MaskTraining):
    """Set criterion on the query vectors' similarities with the seen names' text and on their masks.

    CLIP never looks at an image, as in the official training; "no object" has a learned vector. A learned
    prompt is trained with the rest (the official code trains it before, on regions, and then keeps it).
    """

    method = METHOD

    def build(self) -> nn.Module:
        """The mask network; weights files hold no CLIP."""
        self.config = Config.from_options(self.options)
        given = str(self.options["clip_weights"])
        if not given and not self.config.shared_clip:
            raise UserError(
                f"training '{self.setup.variant}' starts from a pre-trained CLIP ({self.config.clip}), "
                "and none was given",
                hint="--set clip_weights=FILE (OpenAI's names); or --variant world, which needs none",
            )
        if self.config.region_prompt != SAME:
            raise UserError(
                "a CLIP of its own for regions is not trained here", hint="--set region_prompt=same"
            )
        net = Network(self.config, Path(given) if given else None, self.setup.device)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(not name.startswith(CLIP_NAMES))
        self.net = net
        start_values(net.backbone)
        start_values(net.sem_seg_head["pixel_decoder"])
        start_values(net.sem_seg_head["predictor"].get_submodule("transformer"))
        load_backbone(net.backbone, self.setup, self.config.backbone == "world")
        self.fixed: Tensor | None = None
        if self.config.prompt != LEARNED:
            with torch.no_grad():
                self.fixed = net.clip_adapter.text(self.targets.vocabulary).clone()
        net.train()
        net.clip_adapter.clip.model.eval()
        return Trained(net, CLIP_NAMES)

    @property
    def text(self) -> Tensor:
        """(K, E) of the seen names."""
        return self.net.clip_adapter.text(self.targets.vocabulary) if self.fixed is None else self.fixed

    @property
    def backbone(self) -> nn.Module:
        """The residual network."""
        return self.net.backbone

    def predict(self, batch: Batch) -> Predictions:
        """The network on normalised frames."""
        return self.net(normalise_pixels(batch.pixels), self.text, every_layer=True)

    def config_json(self) -> str:
        """As the card resolves it."""
        return self.config.to_json()


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
