"""Training of DeOP on a protocol's seen classes: first the masks, then what reads CLIP under them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.engine.drawing import Variation
from ovbench.engine.masks import Batch, MaskTraining, Trained
from ovbench.engine.targets import IGNORE
from ovbench.methods.base import Setup
from ovbench.nn.detr import Predictions
from ovbench.nn.maskformer import enlarge

from .config import Config
from .network import Network

POSITIONS = "learned_position"
READERS = ("decoder.", "query_embedding.", *Network.clip_names)
"""Names of what the second part trains, together with the vector of "no object"."""


class Training(MaskTraining):
    """Two trainings in a row, as in the official scripts, where the first is zsseg's.

    The share `mask_share` of the steps trains the mask network with the set criterion. Then the masks stay as
    they are, and the heatmap decoder, CLIP's added positions and "no object" are trained so that the
    assembled map is right (`assembled_loss`). Each part has its own schedule. The prompt starts from the words
    `prompt_start` where they are given, and is trained with the masks if `prompt_trained`; the official code
    trains it before, on regions.
    """

    method = Network.method

    def build(self) -> nn.Module:
        """The whole network; weights files hold of CLIP only the added positions."""
        self.open_network(Network, Config.from_options(self.options))
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(not self.network.of_clip(name))
        self.start_prompt(self.net.clip_adapter.prompt_learner)
        return Trained(self.net, Network.clip_names, POSITIONS)

    def check(self) -> None:
        """Raise `UserError` also for shares of the parts that leave none for the last, and for its frames."""
        super().check()
        self.second = Variation.from_options(self.options, "second")
        backbone, masks = (float(self.options[f"{part}_share"]) for part in ("backbone", "mask"))
        if backbone + masks > 1:
            raise UserError(
                f"backbone_share and mask_share must be at most 1 together, not {backbone:g} + {masks:g}",
                hint="what they leave is the share of the part that reads CLIP under the masks",
            )

    def group_rate(self, name: str) -> float:
        """The second part learns `decoder_rate` times as fast."""
        return float(self.options["decoder_rate"]) if name.startswith(READERS) else super().group_rate(name)

    @property
    def parts(self) -> tuple[int, ...]:
        """The backbone alone, the masks, what reads CLIP."""
        start = super().parts[1]
        return 0, start, start + round(self.steps * float(self.options["mask_share"])), self.steps

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Set criterion in the first part, the loss of the assembled map in the second."""
        first = step < self.parts[2]
        self.net.backbone.train(first)
        self.net.sem_seg_head.train(first)
        self.net.decoder.train(not first)
        if first:
            return super().loss(step)
        batch = self.draw(step)
        focal, dice = assembled_loss(*self.read(batch), batch.labels)
        total = float(self.options["map_weight"]) * focal + float(self.options["map_dice_weight"]) * dice
        return total, {"map": float(focal.detach()), "map_dice": float(dice.detach())}

    def draw(self, step: int) -> Batch:
        """The batch of a step; the second part has its own size of batch and frames."""
        if step < self.parts[2]:
            return super().draw(step)
        return self.draw_as(step, self.second, int(self.options["second_batch"]))

    def predict(self, batch: Batch) -> Predictions:
        """The mask network's own predictions after every layer."""
        images, _ = self.network.inputs(batch.pixels)
        found: Predictions = self.net.proposals(*self.net.draw(images, every=True), self.text)
        return found

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Class logits (B, Q, K + 1) from CLIP under the masks, and mask logits (B, Q, h, w), which stay."""
        images, seen_by_clip = self.network.inputs(batch.pixels)
        with torch.no_grad():
            masks = self.net.draw(images)[1][-1]
        vectors = self.net.read_masks(seen_by_clip, masks)
        return self.net.logits(vectors, self.text), masks

    @property
    def text(self) -> Tensor:
        """(K, E) of the seen names; with gradients as long as the prompt is trained."""
        with torch.set_grad_enabled(bool(self.options["prompt_trained"])):
            text: Tensor = self.network.texts(self.targets.vocabulary)[0]
            return text.clone()


def assembled_loss(
    logits: Tensor, masks: Tensor, labels: Tensor, sharpness: float = 3.0
) -> tuple[Tensor, Tensor]:
    """How far the assembled map of named masks is from the truth: focal loss of every class, and dice.

    A class's score s, its probabilities times masks summed over queries, counts as sigmoid(sharpness (s - 1)).
    Pixels without a target belong to "no object" in the focal loss and to nothing in the dice loss.
    Source: mask_former/modeling/criterion_decoder.py of the official code; alpha 0.25, gamma 2.

    Args:
        logits: (B, Q, K + 1), "no object" last.
        masks: (B, Q, h, w) logits.
        labels: (B, H, W) uint8 targets.
    """
    classes = logits.shape[-1] - 1
    shares = enlarge(masks, labels.shape[-2:]).sigmoid()
    scores = torch.einsum("bqk,bqhw->bkhw", logits.softmax(-1), shares)
    found = torch.sigmoid(sharpness * (scores - 1))
    owner = torch.where(labels == IGNORE, classes, labels.long())
    truth = F.one_hot(owner, classes + 1).permute(0, 3, 1, 2).to(found)
    right = torch.where(truth > 0, found, 1 - found)
    importance = torch.where(truth > 0, 0.25, 0.75)
    focal = -(importance * (1 - right) ** 2 * right.clamp(1e-4, 1 - 1e-4).log()).mean()
    found, truth = found[:, :-1].flatten(1), truth[:, :-1].flatten(1)
    dice = 1 - (2 * (found * truth).sum(1) + 1) / (found.sum(1) + truth.sum(1) + 1)
    return focal, dice.mean()


def build(setup: Setup, seed: int, steps: int | None) -> Training:
    """Trainer entry point of the method's card."""
    return Training(setup, seed, steps)
