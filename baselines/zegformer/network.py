"""ZegFormer together with its CLIP: from a frame to scores, and from a weights file to a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.nn.checkpoint import apply, load_weights, modern_head_names
from ovbench.nn.clip import ClipPair, hash_state, load_clip
from ovbench.nn.maskformer import (
    combine_probs,
    enlarge,
    normalise_pixels,
    pad,
    postprocess,
    resize_shortest,
    to_pixels,
)
from ovbench.nn.seeded import named_values
from ovbench.nn.text import encode_pooled
from ovbench.protocol.templates import load_templates
from ovbench.protocol.vocabulary import Vocabulary

from .config import Config
from .ensemble import class_scores
from .model import ZegFormer
from .regions import Regions, crop_size, encode_regions

METHOD = "zegformer"
CLIP_NAMES = "sem_seg_head.predictor.clip_model."
IGNORED = ("criterion.", "pixel_mean", "pixel_std", "clip_pixel_mean", "clip_pixel_std")


class Network:
    """The mask network and CLIP, frozen, in evaluation mode.

    Args:
        config: sizes and switches.
        clip_weights: CLIP's own file, for checkpoints that were saved without it (as the official training
            configurations do).
        device: where to compute.

    Without any file CLIP is filled from its parameters' names.
    """

    def __init__(self, config: Config, clip_weights: Path | None = None, device: str = "cpu") -> None:
        self.config = config
        self.trained_on: tuple[str, ...] = ()  # names of the classes whose masks the weights were trained on
        self.clip_given = clip_weights is not None or config.shared_clip
        self.clip: ClipPair = load_clip(config.clip, clip_weights, device, untrained=not self.clip_given)
        inside = None if config.shared_clip else self.clip.model
        self.net = ZegFormer(config, int(self.clip.model.text_projection.shape[1]), inside)
        self.net.to(self.clip.device).eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.clip.device

    def text(self, vocabulary: Vocabulary) -> tuple[Tensor, Tensor | None]:
        """(K, E) unit vectors for the mask head, and for CLIP's regions where it looks at them.

        A name with ", " in it is a list of synonyms. The method brings its own templates, whatever the
        vocabulary's are.
        """
        words = [[part for w in words for part in w.split(", ")] for words in vocabulary.synonyms]
        sets = [self.config.templates]
        if self.config.ensemble != "none":
            sets.append(self.config.region_templates)
        texts = [
            encode_pooled(self.clip, Vocabulary(vocabulary.names, None, words, load_templates(name)))
            for name in sets
        ]
        return texts[0], texts[1] if len(texts) > 1 else None

    @torch.inference_mode()
    def scores(
        self,
        image: Image,
        text: Tensor,
        region_text: Tensor | None,
        seen: Tensor,
        resize: bool,
        out_size: tuple[int, int],
    ) -> Tensor:
        """(H, W, 3) uint8 and text vectors -> (K, h, w) scores, calibrated."""
        if resize:
            image = resize_shortest(image, self.config.short_side, self.config.long_side)
        pixels = to_pixels(image, self.device)
        found = self.net(pad(normalise_pixels(pixels)), text)
        scores = self.assemble(pixels, found.logits[-1, 0], found.masks[-1], region_text, seen)
        scores = postprocess(scores, pixels.shape[-2:], out_size)
        if self.config.calibration > 0:
            scores = scores - self.config.calibration * seen.to(scores)[:, None, None]
        return scores

    def assemble(
        self, pixels: Tensor, logits: Tensor, masks: Tensor, region_text: Tensor | None, seen: Tensor
    ) -> Tensor:
        """Everything after the mask head, at the padded size.

        Args:
            pixels: (1, 3, H, W) 0..255, not padded.
            logits: (Q, K + 1); masks: (1, Q, h, w) logits.

        Returns:
            (K, H', W') with H' and W' padded.
        """
        size = [side + -side % 32 for side in pixels.shape[-2:]]
        masks = enlarge(masks, size)[0]
        probs = masks.sigmoid()
        opinion = None if region_text is None else self.region_logits(pixels, masks, probs > 0.5, region_text)
        return combine_probs(class_scores(logits, opinion, seen, self.config.ensemble), probs)

    def region_logits(self, pixels: Tensor, masks: Tensor, binary: Tensor, text: Tensor) -> Tensor:
        """CLIP's logits (Q, K) of the regions."""
        regions = self.regions(pixels, masks, binary)
        features = encode_regions(self.clip, regions, self.config.region_batch)
        return self.clip.model.logit_scale.exp() * F.normalize(features, dim=-1) @ text.T

    def regions(self, pixels: Tensor, masks: Tensor, binary: Tensor) -> Regions:
        """The regions of (1, 3, H, W) pixels 0..255 under (Q, H', W') mask logits and masks."""
        mean, std = ([v * 255 for v in values] for values in (self.clip.mean, self.clip.std))
        image = pad(normalise_pixels(pixels, mean, std))[0]
        return Regions(image, masks, binary, crop_size(self.clip), self.config.style)

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights by official name, strictly, with or without `...predictor.clip_model.*`.

        Raises:
            UserError: lists missing, unexpected and wrongly shaped names.
        """
        state = modern_head_names(state)
        holds_clip = any(name.startswith(CLIP_NAMES) for name in state)
        ignored = IGNORED if holds_clip and not self.config.shared_clip else (*IGNORED, CLIP_NAMES)
        apply(self.net, state, ignore=ignored)
        if holds_clip and not self.config.shared_clip:
            self.clip.weights_id = hash_state(self.clip.model.state_dict())
            self.clip_given = True

    def fill_by_name(self) -> None:
        """Name-seeded weights for all but CLIP, which keeps what it has."""
        with torch.no_grad():
            for name, tensor in self.net.state_dict(keep_vars=True).items():
                if tensor.is_floating_point() and not name.startswith(CLIP_NAMES):
                    tensor.copy_(named_values(name, tuple(tensor.shape)))


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
        state = {name: value for name, value in state.items() if not name.startswith(CLIP_NAMES)}
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
