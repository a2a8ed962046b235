"""Training of FreeSeg's masks and class vectors on a protocol's seen classes; both CLIP towers stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ovbench.engine.masks import Batch, MaskTraining, Trained
from ovbench.methods.base import Setup
from ovbench.nn.deform import DeformAttention
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import normalise_pixels

from .config import Config
from .network import Network


class Training(MaskTraining):
    """Set criterion before the first decoder layer and after each; the masks, too, have heard the seen names.

    "No object" has a learned vector. The prompt starts from the words `prompt_start` where they are given, and
    is trained with the rest if `prompt_trained`; the official code trains it before, on regions.
    """

    method = Network.method

    def build(self) -> nn.Module:
        """The mask network; weights files hold no CLIP."""
        self.open_network(Network, Config.from_options(self.options))
        for part in self.net.modules():
            if isinstance(part, DeformAttention):
                part.start()
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(not self.network.of_clip(name))
        self.start_prompt(self.net.clip_adapter.prompt_learner)
        self.net.train()
        self.network.clip.model.eval()
        return Trained(self.net, Network.clip_names)

    def fresh_parts(self) -> tuple[nn.Module, ...]:
        """Backbone, pixel decoder and the decoder's layers; the interaction starts by itself."""
        head = self.net.sem_seg_head
        return self.net.backbone, head["pixel_decoder"], head["predictor"]

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Not what queries start from, which is an embedding, too."""
        return super().decays(name, parameter) and not name.endswith("query_feat.weight")

    @property
    def text(self) -> Tensor:
        """(K, E) of the seen names; with gradients as long as the prompt is trained."""
        with torch.set_grad_enabled(bool(self.options["prompt_trained"])):
            text: Tensor = self.network.texts(self.targets.vocabulary)[0]
            return text.clone()

    def predict(self, batch: Batch) -> Predictions:
        """The network on normalised frames."""
        found: Predictions = self.net(normalise_pixels(batch.pixels), self.text, every=True)
        return found


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
