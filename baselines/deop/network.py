"""DeOP together with its CLIP: from a frame to scores, and from a weights file to a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.nn.checkpoint import apply, load_weights, modern_head_names
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.maskformer import (
    combine_enlarged,
    normalise_pixels,
    pad,
    postprocess,
    resize_shortest,
    to_pixels,
)
from ovbench.nn.prompts import encode_prompted
from ovbench.nn.seeded import named_values
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .model import DeOP

METHOD = "deop"
CLIP_NAMES = "clip_adapter.clip_model."
IGNORED = ("criterion.", "pixel_mean", "pixel_std")


class Network:
    """DeOP, frozen, in evaluation mode.

    Args:
        config: sizes and switches.
        clip_weights: CLIP's own file, for checkpoints that were saved without it.
        device: where to compute.

    Without any file CLIP is filled from its parameters' names. The world's CLIP comes from its own file, and
    a state without it is as good as one with it.
    """

    def __init__(self, config: Config, clip_weights: Path | None = None, device: str = "cpu") -> None:
        self.config = config
        self.trained_on: tuple[str, ...] = ()  # names of the classes whose masks the weights were trained on
        self.clip_given = clip_weights is not None or config.shared_clip
        self.clip: ClipPair = load_clip(config.clip, clip_weights, device, untrained=not self.clip_given)
        self.net = DeOP(config, self.clip).to(self.clip.device).eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.clip.device

    def text(self, vocabulary: Vocabulary) -> Tensor:
        """(K, E) unit vectors of the names between the learned prompt's vectors."""
        return encode_prompted(self.net.clip_adapter.prompt_learner, vocabulary)

    def inputs(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) 0..255 -> the padded images as the mask network and as CLIP see them.

        The released code gives CLIP the images with ImageNet's statistics, not its own, and learned its
        positions so; `clip_input = "clip"` gives it its own.
        """
        images = pad(normalise_pixels(pixels))
        if self.config.clip_input == "imagenet":
            return images, images
        mean, std = ([v * 255 for v in values] for values in (self.clip.mean, self.clip.std))
        return images, pad(normalise_pixels(pixels, mean, std))

    @torch.inference_mode()
    def scores(self, image: Image, text: Tensor, resize: bool, out_size: tuple[int, int]) -> Tensor:
        """(H, W, 3) uint8 and text vectors -> (K, h, w) scores."""
        if resize:
            image = resize_shortest(image, self.config.short_side, self.config.long_side)
        pixels = to_pixels(image, self.device)
        images, seen_by_clip = self.inputs(pixels)
        found = self.net(images, seen_by_clip, text).final
        size = pixels.shape[-2:]
        probs = found.logits[-1, 0].softmax(-1)[:, :-1]
        scores = combine_enlarged(probs, found.masks[-1, 0], images.shape[-2:], size)
        return postprocess(scores, size, out_size)

    def state(self) -> dict[str, Tensor]:
        """Weights by official name, without a CLIP that has its own file."""
        state = self.net.state_dict()
        return {n: v for n, v in state.items() if not (self.config.shared_clip and _of_clip(n))}

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights by official name, strictly, with or without those of CLIP.

        Raises:
            UserError: lists missing, unexpected and wrongly shaped names.
        """
        state = modern_head_names(state)
        holds_clip = any(_of_clip(name) for name in state)
        if not holds_clip:
            state |= {name: value for name, value in self.net.state_dict().items() if _of_clip(name)}
        apply(self.net, state, ignore=IGNORED)
        if holds_clip:
            self.clip.weights_id = None
            self.clip_given = True

    def fill_by_name(self) -> None:
        """Name-seeded weights for all but CLIP and what the prompt takes from it."""
        with torch.no_grad():
            for name, tensor in self.net.state_dict(keep_vars=True).items():
                if tensor.is_floating_point() and not _of_clip(name) and not name.endswith("_signal"):
                    tensor.copy_(named_values(name, tuple(tensor.shape)))


def _of_clip(name: str) -> bool:
    """Whether a name is of CLIP as published, not of the positions that DeOP adds."""
    return name.startswith(CLIP_NAMES) and not name.endswith("learned_position")


def load_network(config: Config, weights: Path | None, clip_weights: Path | None, device: str) -> Network:
    """A network from a file; without one its weights are name-seeded.

    Raises:
        UserError: weights of another method, names and shapes that do not fit, or no CLIP anywhere.
    """
    network = Network(config, clip_weights, device)
    if weights is None:
        network.fill_by_name()
        return network
    state, header = load_weights(weights)
    if header.get("method", METHOD) != METHOD:
        raise UserError(f"these are weights of '{header['method']}', not of {METHOD}", where=weights)
    if clip_weights is not None:  # what is asked for by name wins over what lies in the file
        state = {name: value for name, value in state.items() if not _of_clip(name)}
    network.load_official(state)
    network.trained_on = tuple(json.loads(header.get("classes", "[]")))
    if not network.clip_given:
        raise UserError(
            "this checkpoint holds no CLIP, and none was given",
            where=weights,
            hint="--set clip_weights=FILE with the weights of "
            f"{config.clip} under OpenAI's names (safetensors, or a torch file of a state dict)",
        )
    return network
