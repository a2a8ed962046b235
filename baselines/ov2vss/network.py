"""The network together with its CLIP: from uint8 frames to features and scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.nn.backbones import normalise
from ovbench.nn.checkpoint import apply, load_weights
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.dense import dense_features
from ovbench.nn.frames import upload
from ovbench.nn.seeded import fill_by_name
from ovbench.nn.text import encode_templates
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .headers import METHOD as METHOD
from .headers import check_header, check_names
from .inputs import input_size, squash
from .model import OV2VSS, FrameFeatures


class Network(nn.Module):
    """OV2VSS and CLIP.

    The world's two-tower model is shared by all methods and stays in its own file; any other CLIP is part
    of the weights (names `clip.*`), as it is in the official checkpoint.
    """

    def __init__(self, config: Config, clip_weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        self.config = config
        self.trained_on: tuple[str, ...] = ()  # names of the classes whose masks the weights were trained on
        unfilled = clip_weights is None and config.clip != "world"
        self._pair = [
            load_clip(config.clip, clip_weights, device, untrained=unfilled)
        ]  # in a list: not a submodule
        self.net = OV2VSS(config)
        if config.clip != "world":
            self.clip = self.pair.model
            self.pair.weights_id = None  # its weights may change below our feet: never cache its text vectors
        if config.clip_trained:
            self.clip.visual.requires_grad_(True)
        self.to(device)

    @property
    def pair(self) -> ClipPair:
        """The two towers."""
        return self._pair[0]

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.pair.device

    def text(self, vocabulary: Vocabulary) -> Tensor:
        """(K, P, E) unit vectors per class and template.

        The decoder's channels are the templates it was built for, so the network's own set is used whatever
        the vocabulary brings.
        """
        if self.config.text == "learned":
            return torch.zeros(
                len(vocabulary), self.config.templates, self.config.text_width, device=self.device
            )
        templates = load_templates(self.config.template_set)
        if len(templates) != self.config.templates:
            raise UserError(
                f"template set '{self.config.template_set}' has {len(templates)} entries, "
                f"the decoder {self.config.templates} channels for them",
                hint="set template_set and templates together",
            )
        asked = Vocabulary(vocabulary.names, vocabulary.seen, vocabulary.synonyms, templates)
        return encode_templates(self.pair, asked)

    def features(self, images: Tensor, resize: bool = True) -> FrameFeatures:
        """(B, 3, H, W) float 0..255 RGB of any size -> features of each frame."""
        return FrameFeatures(self.backbone_maps(images, resize), self.clip_features(images))

    def backbone_maps(self, images: Tensor, resize: bool = True) -> list[Tensor]:
        """(B, 3, H, W) float 0..255 RGB -> four maps; at the configured input size unless `resize` is off."""
        return self.net.scales(self.backbone_input(images, resize))

    def backbone_input(self, images: Tensor, resize: bool = True) -> Tensor:
        """(B, 3, H, W) float 0..255 RGB -> what the backbone reads; at the configured input size unless off."""
        frame = (int(images.shape[-2]), int(images.shape[-1]))
        size = input_size(self.config.input_size if resize else "native", frame)
        return normalise(squash(images, size))

    def clip_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float 0..255 RGB -> (B, E, h, w) dense CLIP features."""
        mean = torch.tensor(self.pair.mean, device=images.device).view(3, 1, 1)
        std = torch.tensor(self.pair.std, device=images.device).view(3, 1, 1)
        pixels = (squash(images, self.config.clip_size) / 255 - mean) / std
        return dense_features(self.pair, pixels, self.config.clip_mode)

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights by name, strictly; raises `UserError` with the names that do not fit."""
        apply(self, state)

    def fill_by_name(self) -> None:
        """Name-seeded weights: the network is then untrained."""
        fill_by_name(self)


def to_tensor(image: Image, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float 0..255."""
    return upload([image], device)


def load_network(config: Config, weights: Path | None, device: str, variant: str = "") -> Network:
    """A network in evaluation mode; without weights they are name-seeded.

    Raises:
        UserError: weights of another method or variant, or names and shapes that do not fit.
    """
    network = Network(config, device=device)
    if weights is None:
        network.fill_by_name()
    else:
        state, header = load_weights(weights)
        check_header(header, weights, "paper", variant)
        check_names(state, weights, "paper")
        network.load_official(state)
        network.trained_on = tuple(json.loads(header.get("classes", "[]")))
    return network.eval().requires_grad_(False)
