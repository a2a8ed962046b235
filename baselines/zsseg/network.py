"""The whole of zsseg under the official names: backbone, mask head, and CLIP for classes and regions.

Source: Xu et al., ECCV 2022; zsseg.baseline, mask_former/zero_shot_mask_former_model.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError, unknown
from ovbench.nn.checkpoint import apply, load_weights, modern_head_names
from ovbench.nn.clip import ClipPair, fresh_clip, hash_state, load_clip
from ovbench.nn.detr import MLP, MaskPredictor, Predictions
from ovbench.nn.fpn import PixelDecoder
from ovbench.nn.resnet import ResNet
from ovbench.nn.seeded import named_values

from .adapter import Adapter
from .config import SAME, Config

METHOD = "zsseg"
BACKBONES: dict[str, Callable[[], ResNet]] = {
    "r50": lambda: ResNet(50),
    "r101c": lambda: ResNet(101, "deeplab", (1, 2, 4)),
    "world": lambda: ResNet(blocks=(1, 1, 1, 1), width=16, norm="group", pool=False, res5_stride=1),
}
ADAPTERS = ("clip_adapter", "_region_clip_adapter")
CLIP_NAMES = tuple(f"{a}.clip_model." for a in ADAPTERS)
CONSTANTS = ("criterion.", *(f"{a}.pixel_{k}" for a in ADAPTERS for k in ("mean", "std")))
"""Names in official checkpoints that no result depends on: the loss weights, and CLIP's fixed statistics."""


class Predictor(MaskPredictor):
    """Queries with a vector in CLIP's space; names as in `MaskPredictor`, and `class_embed`."""

    def __init__(self, channels: int, config: Config, embed: int) -> None:
        super().__init__(
            channels,
            config.queries,
            config.dim,
            config.heads,
            config.ffn,
            config.layers,
            config.pyramid,
            config.dropout,
        )
        self.class_embed = MLP(config.dim, config.class_hidden, embed, 2)


class Network(nn.Module):
    """zsseg with its CLIP.

    The embedded two-tower models are shared by all methods and stay in their own files; any other CLIP is
    part of the weights, as it is in official checkpoints.

    Args:
        clip_weights: a CLIP file of its own, for checkpoints that hold none.
    """

    def __init__(self, config: Config, clip_weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        if config.backbone not in BACKBONES:
            raise unknown("backbone", config.backbone, BACKBONES)
        self.config = config
        self.has_clip = clip_weights is not None or config.shared_clip
        self.trained_on: tuple[str, ...] = ()  # classes whose masks the weights were trained on, where known
        self.backbone = BACKBONES[config.backbone]()
        self.clip_adapter = Adapter(self._towers(clip_weights, device), config.prompt, config.prompt_length)
        embed = self.clip_adapter.non_object_embedding.shape[1]
        channels = self.backbone.channels
        self.sem_seg_head = nn.ModuleDict(
            {
                "pixel_decoder": PixelDecoder(channels, config.pyramid),
                "predictor": Predictor(channels[-1], config, embed),
            }
        )
        if config.region_prompt != SAME:
            pair = self._towers(clip_weights, device)
            self._region_clip_adapter = Adapter(pair, config.region_prompt, config.prompt_length)
        self.to(device)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.clip_adapter.clip.device

    @property
    def adapters(self) -> list[Adapter]:
        """The adapter of the queries, and the regions' own where there is one."""
        return [m for m in (getattr(self, name, None) for name in ADAPTERS) if m is not None]

    @property
    def regions(self) -> Adapter:
        """The adapter that looks at regions."""
        return self.adapters[-1]

    def forward(self, images: Tensor, text: Tensor, *, every_layer: bool = False) -> Predictions:
        """Normalised, padded images and class vectors -> what each query says.

        Args:
            images: (B, 3, H, W), ImageNet's statistics, sides multiples of 32.
            text: (K, E) unit vectors of the classes, as `clip_adapter.text` gives them.
            every_layer: also after the decoder's earlier layers, for training.

        Returns:
            Logits (L, B, Q, K + 1) and mask logits (L, B, Q, H / 4, W / 4), L = 1 or the number of layers.
        """
        maps = self.backbone(images)
        features = self.sem_seg_head["pixel_decoder"](maps)
        predictor = cast(Predictor, self.sem_seg_head["predictor"])
        held = predictor.decode(maps["res5"])
        held = held if every_layer else held[-1:]
        logits = self.clip_adapter.similarities(
            predictor.class_embed(held), self.clip_adapter.with_void(text)
        )
        return Predictions(logits, predictor.masks(held, features))

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights by official name, strictly.

        CLIP's may be missing where it was given by itself; then those in `state` are not looked at either.

        Raises:
            UserError: lists the names that do not fit, or says that CLIP's are missing.
        """
        state = modern_head_names(state)
        inside = [n for n in state if n.startswith(CLIP_NAMES)]
        if self.has_clip:
            apply(self, state, ignore=(*CONSTANTS, *CLIP_NAMES))
            return
        if not inside:
            raise UserError(
                "this checkpoint holds no CLIP, and none was given",
                hint=f"--set clip_weights=FILE with the weights of {self.config.clip} under OpenAI's names "
                "(safetensors, or a torch file of a state dict)",
            )
        apply(self, state, ignore=CONSTANTS)
        for adapter in self.adapters:
            adapter.clip.weights_id = hash_state(adapter.clip.model.state_dict())

    def fill_by_name(self) -> None:
        """Name-seeded weights for all but a CLIP that was given."""
        kept = CLIP_NAMES if self.has_clip else ()
        with torch.no_grad():
            for name, tensor in self.state_dict(keep_vars=True).items():
                if tensor.is_floating_point() and not name.startswith(kept):
                    tensor.copy_(named_values(name, tuple(tensor.shape)))
        if not self.has_clip:
            for prefix, adapter in zip(CLIP_NAMES, self.adapters, strict=False):
                adapter.clip.weights_id = f"name-seeded {prefix}"

    def _towers(self, weights: Path | None, device: str) -> ClipPair:
        if self.has_clip:
            return load_clip(self.config.clip, weights, device)
        return fresh_clip(self.config.clip, device)


def load_network(
    config: Config, weights: Path | None, clip_weights: Path | None, device: str, variant: str = ""
) -> Network:
    """A network in evaluation mode; without weights they are name-seeded.

    Raises:
        UserError: weights of another method or variant, or names and shapes that do not fit.
    """
    network = Network(config, clip_weights, device)
    if weights is None:
        network.fill_by_name()
    else:
        state, header = load_weights(weights)
        if header.get("method", METHOD) != METHOD:
            raise UserError(f"these are weights of '{header['method']}', not of {METHOD}", where=weights)
        trained = header.get("variant", variant)
        if variant and trained != variant:
            raise UserError(
                f"these weights were trained as variant '{trained}', not '{variant}'",
                where=weights,
                hint=f"--variant {trained}",
            )
        network.load_official(state)
        network.trained_on = tuple(json.loads(header.get("classes", "[]")))
    return network.eval().requires_grad_(False)
