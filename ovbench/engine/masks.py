"""Training of networks whose queries draw masks (MaskFormer and what is built on it)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.methods.base import Setup
from ovbench.nn.checkpoint import apply, load_weights
from ovbench.nn.conv import FrozenBatchNorm
from ovbench.nn.criterion import Criterion, Truth
from ovbench.nn.detr import Predictions
from ovbench.nn.maskconfig import MaskConfig
from ovbench.nn.maskformer import MULTIPLE, normalise_pixels, to_pixels
from ovbench.nn.maskmodel import MaskModel, naming_file
from ovbench.nn.matching import Weights
from ovbench.nn.points import Sampling
from ovbench.nn.pretext import naming_loss
from ovbench.nn.prompts import LearnedPrompt, inner_tokens

from .drawing import LabelledFrames, Variation
from .ranges import check_ranges
from .recipe import header, needed, poly
from .targets import IGNORE, SeenTargets


@dataclass(frozen=True)
class Batch:
    """`pixels` (B, 3, H, W) 0..255, smaller frames filled up with grey at the bottom and right, sides
    multiples of 32; `labels` (B, H, W) uint8 targets, `IGNORE` there."""

    pixels: Tensor
    labels: Tensor


class MaskTraining(ABC):
    """A task for `engine.train`. A method gives its network (`build`) and what it says of a batch (`predict`).

    `config`, `network` and `net` are those of the method, once `open_network` has made them.

    Options that every card must have, official values in brackets: `steps`, `rate` (1e-4), where there is a
    backbone `backbone_rate` (0.1, a factor) and `backbone_share` (0; where no ImageNet weights are at hand,
    this share of the steps trains the backbone alone, by `naming_loss`), `warmup` (0 steps), `decay` (1e-4),
    `gradient` (0.01, the largest norm), `batch` (32), `void` ("negative": pixels without a target belong to no
    mask; "skip": losses do not look at them), those of `Variation` and those of `criterion_of`.
    """

    method: str
    config: Any
    network: Any
    net: Any

    def __init__(self, setup: Setup, seed: int, steps: int | None) -> None:
        protocol, open_split = needed(setup, self.method)
        options = setup.options
        self.setup, self.options, self.seed = setup, options, seed
        self.check()
        self.steps = steps or int(options["steps"])
        self.clip_norm = float(options["gradient"])
        self.half = setup.variant == "world"
        self.targets = SeenTargets(protocol)
        torch.manual_seed(seed)
        self.module = self.build()
        self.frames = LabelledFrames(open_split("train"), self.targets)
        self.criterion = criterion_of(options)

    def check(self) -> None:
        """Raise `UserError` for options with which nothing can be trained; methods extend this."""
        check_ranges(self.method, self.options)
        self.variation = Variation.from_options(self.options)

    @abstractmethod
    def build(self) -> nn.Module:
        """The network to train, fresh; parameters that stay as they are do not require gradients."""

    def open_network(self, model: type[MaskModel[Any, Any]], config: MaskConfig) -> None:
        """A network to start from: pre-trained CLIP, the backbone from its file, the rest fresh.

        Raises:
            UserError: a pre-trained part that is needed was not given.
        """
        given = str(self.options["clip_weights"])
        if not given and not config.shared_clip:
            raise UserError(
                f"training '{self.setup.variant}' starts from a pre-trained CLIP ({config.clip}), "
                "and none was given",
                hint="--set clip_weights=FILE (OpenAI's names); or --variant world, which needs none",
            )
        self.config = config
        self.network = model(config, Path(given) if given else None, self.setup.device)
        self.net = self.network.net
        self.start()

    def start_prompt(self, prompt: LearnedPrompt) -> None:
        """Let a learned prompt begin as the words `prompt_start`, if any; trained only with `prompt_trained`.

        Raises:
            UserError: the words have more or fewer tokens than the prompt has vectors.
        """
        words, length = str(self.options["prompt_start"]), len(prompt.prefix_prompt)
        if words:
            tokens = inner_tokens(self.network.clip, words)
            if len(tokens) != length:
                raise UserError(f"prompt_start '{words}' has {len(tokens)} tokens, prompt_length is {length}")
            with torch.no_grad():
                prompt.prefix_prompt.copy_(self.network.clip.model.token_embedding.weight[tokens])
        prompt.requires_grad_(bool(self.options["prompt_trained"]))

    def start(self) -> None:
        """Start values of a network just opened: fresh ones, and the backbone's from its file."""
        for part in self.fresh_parts():
            start_values(part)
        frozen = any(isinstance(part, FrozenBatchNorm) for part in self.backbone.modules())
        load_backbone(self.backbone, self.setup, not frozen)

    def fresh_parts(self) -> tuple[nn.Module, ...]:
        """Parts of a network just opened that `start_values` fills."""
        return self.net.backbone, self.net.sem_seg_head["pixel_decoder"], self.net.predictor.transformer

    @property
    def backbone(self) -> nn.Module:
        """The part of the network that gives maps "res2" to "res5" of images with ImageNet's statistics."""
        found: nn.Module = self.net.backbone
        return found

    @abstractmethod
    def predict(self, batch: Batch) -> Predictions:
        """What the network says after every decoder layer, K the seen classes."""

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.module.parameters()).device

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; the backbone slower by a factor; no decay of norms, embeddings and other vectors."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                name = name.removeprefix("net.")
                group = self.group_rate(name), self.decays(name, parameter)
                groups.setdefault(group, []).append(parameter)
        rate, decay = float(self.options["rate"]), float(self.options["decay"])
        return torch.optim.AdamW(
            [
                {"params": found, "lr": rate * factor, "weight_decay": decay if decays else 0.0}
                for (factor, decays), found in sorted(groups.items(), key=lambda group: group[0])
            ],
            lr=rate,
        )

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether weight decay applies to a parameter, by its name in the network."""
        return parameter.ndim > 1 and not name.endswith(("_embed.weight", "embedding.weight"))

    def group_rate(self, name: str) -> float:
        """Factor on the learning rate of a parameter, by its name in the network."""
        return float(self.options["backbone_rate"]) if name.startswith("backbone.") else 1.0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then polynomial decay (power 0.9) to zero, in each part of the training anew."""
        warmup = int(self.options["warmup"])
        for start, end in pairwise(self.parts):
            if step < end:
                return poly(step - start, end - start, warmup)
        return 0.0

    @property
    def parts(self) -> tuple[int, ...]:
        """Where the parts of the training begin, and the last one's end: the backbone alone, then everything."""
        return 0, round(self.steps * float(self.options.get("backbone_share", 0))), self.steps

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch, a pure function of (seed, step) and the weights."""
        batch = self.draw(step)
        if step < self.parts[1]:
            loss = self.naming(batch)
            return loss, {"naming": float(loss.detach())}
        return self.criterion(self.predict(batch), self.truths(batch))

    def naming(self, batch: Batch) -> Tensor:
        """The loss of the first part of a training (`backbone_share`), see `naming_loss`."""
        maps = self.backbone(normalise_pixels(batch.pixels))
        return naming_loss(maps, batch.labels, len(self.targets), IGNORE)

    def draw(self, step: int) -> Batch:
        """The batch of a step."""
        return self.draw_as(step, self.variation, int(self.options["batch"]))

    def draw_as(self, step: int, variation: Variation, count: int) -> Batch:
        """`count` frames, a pure function of (seed, step)."""
        rng = np.random.default_rng([self.seed, step])
        return collate([variation(rng, *self.frames.draw(rng)) for _ in range(count)], self.device)

    def truths(self, batch: Batch) -> list[Truth]:
        """One mask for each seen class that is there, per image."""
        skip = self.options["void"] == "skip"
        return [truth_of(labels, skip) for labels in batch.labels]

    def metadata(self) -> dict[str, str]:
        """Header of the weights file."""
        return header(self.setup, self.method, self.config.to_json(), self.targets, self.seed, self.steps)


class Trained(nn.Module):
    """A network whose checkpoints leave some of its parameters out (a two-tower model with a file of its own)."""

    def __init__(
        self, net: nn.Module, left_out: tuple[str, ...] = (), but: str | tuple[str, ...] = ()
    ) -> None:
        """Leave out names that begin with one of `left_out`, unless they end with (one of) `but`."""
        super().__init__()
        self.net, self._left_out, self._but = net, left_out, but

    def state_dict(self, *_: Any, keep_vars: bool = False, **__: Any) -> Any:
        """The network's own names, without those left out."""
        state = self.net.state_dict(keep_vars=keep_vars)
        return {name: value for name, value in state.items() if self._keeps(name)}

    def _keeps(self, name: str) -> bool:
        return not name.startswith(self._left_out) or name.endswith(self._but)


def criterion_of(options: Mapping[str, Any]) -> Criterion:
    """From a card's `no_object`, `mask_weight` and `dice_weight`.

    A card may also have `label_weight` (default 1), `mask_loss` ("focal") and `points` (0: all pixels).
    """
    points = int(options.get("points", 0))
    weights = (
        float(options.get("label_weight", 1)),
        float(options["mask_weight"]),
        float(options["dice_weight"]),
    )
    return Criterion(
        Weights(*weights),
        float(options["no_object"]),
        options.get("mask_loss", "focal"),
        Sampling(points) if points else None,
    )


def collate(pairs: Sequence[tuple[Image, NDArray[np.uint8]]], device: torch.device) -> Batch:
    """Frames and targets of any sizes -> a batch."""
    height, width = (max(p[1].shape[axis] for p in pairs) for axis in (0, 1))
    height, width = height + -height % MULTIPLE, width + -width % MULTIPLE
    pixels, labels = [], []
    for image, target in pairs:
        h, w = target.shape
        edges = (0, width - w, 0, height - h)
        pixels.append(F.pad(to_pixels(image, device), edges, value=128.0))
        labels.append(F.pad(torch.from_numpy(target.copy()).to(device), edges, value=IGNORE))
    return Batch(torch.cat(pixels), torch.stack(labels))


def truth_of(labels: Tensor, skip_void: bool = False) -> Truth:
    """(H, W) uint8 targets -> one mask per class, in the order of the classes."""
    present = torch.unique(labels)
    present = present[present != IGNORE]
    valid = labels != IGNORE if skip_void else torch.ones_like(labels, dtype=torch.bool)
    return Truth(present.long(), labels[None] == present[:, None, None], valid)


def load_backbone(backbone: nn.Module, setup: Setup, trainable_norm: bool) -> None:
    """Fill a backbone from the option `backbone_weights`; one with frozen norms needs it.

    The file has detectron2's names (`stem.conv1.weight`, `res2.0.conv1.weight`, ...), as its converted
    ImageNet files have; a classifier in it (`fc`) is left out.

    Raises:
        UserError: no file for a backbone that cannot be trained from nothing, or one that does not fit.
    """
    given = str(setup.options.get("backbone_weights", ""))
    if not given and not trainable_norm:
        raise UserError(
            f"training '{setup.variant}' starts from a backbone pre-trained on ImageNet, and none was given",
            hint="--set backbone_weights=FILE (detectron2's names); or --variant world, which needs none",
        )
    if given:
        state, _ = load_weights(Path(given))
        state = {n.removeprefix("backbone."): v for n, v in state.items() if "num_batches_tracked" not in n}
        expected = "backbone_weights takes this backbone's ImageNet weights under detectron2's names"
        with naming_file(given, f"{expected} (stem.conv1.weight, res2.0.conv1.weight, ...)"):
            apply(backbone, state, ignore=("fc.", "stem.fc."))


def start_values(module: nn.Module) -> None:
    """Fresh values as MaskFormer starts from: Xavier for a decoder's matrices, He for convolutions with ReLU."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.MultiheadAttention):
            nn.init.xavier_uniform_(part.in_proj_weight)
            nn.init.xavier_uniform_(part.out_proj.weight)
        elif isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
