"""OV2VSS as a method: one label map per frame, each frame's features computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.methods.base import Setup
from ovbench.nn.clip import hash_state
from ovbench.nn.frames import upload
from ovbench.nn.scores import resize_scores
from ovbench.nn.weights_file import state_of
from ovbench.protocol.vocabulary import Vocabulary

from .clips import clip_indices, farthest
from .config import Config
from .headers import check_profile
from .model import FrameFeatures
from .network import Network, load_network
from .speed import Speed
from .streaming import ClipSegmenter, permuted, trained_though_unseen
from .window import FrameWindow, Needs


class OV2VSSSegmenter(ClipSegmenter):
    """Labels frame t from t-9, t-6, t-3, t and the farthest frame (profile `paper`).

    Every frame takes the trained path: early frames repeat the video's first frame, and sparsely labelled
    videos (Cityscapes) use their unlabelled neighbours like any others.
    """

    def __init__(self, network: Network, text_shuffle: int = 0, speed: Speed | None = None) -> None:
        super().__init__(speed or Speed(), network.device)
        self.network = network
        self._leaked = ""
        self._shuffle = text_shuffle
        self._scales = self.speed.compiled(network.net.scales, self.device)
        self._dense = self.speed.compiled(network.clip_features, self.device)

    def prepare(self, vocabulary: Vocabulary) -> None:
        pair = self.network.pair
        if pair.weights_id is None:  # part of the network's own weights, which stand still from here on
            state = pair.model.state_dict()
            pair.weights_id = hash_state({k: v for k, v in state.items() if not k.startswith("visual.")})
        with torch.no_grad():
            self._text = permuted(self.network.text(vocabulary), self._shuffle)
        self._leaked = trained_though_unseen(self.network.trained_on, vocabulary)
        self._closed = self._closed_set(vocabulary) if self.network.config.text == "learned" else None
        super().prepare(vocabulary)  # last: a vocabulary that was refused is not the prepared one

    def needs(self, target: int, length: int) -> Needs:
        config = self.network.config
        clip = clip_indices(target) if config.looks_back or not self.speed.streaming else [target]
        far = [farthest(target, length)] if config.random_frame else []
        return Needs(maps=tuple(clip + far), clip=tuple(clip))

    def encoder(self, resize: bool) -> _Encoder:
        return _Encoder(self, resize)

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape} of the weights this method takes."""
        return {name: tuple(value.shape) for name, value in self.network.state_dict().items()}

    def load_official(self, state: Mapping[str, Any]) -> None:
        """Take what a weights file holds, strictly by name; raises `UserError` listing what is missing or left over."""
        self.network.load_official(state_of(state))
        self.untrained = False
        if hasattr(self.network, "clip"):
            self.network.pair.weights_id = None  # text vectors of the weights before must not come back
        if self.prepared is not None:
            self.prepare(self.prepared)

    def facts(self) -> dict[str, Any]:
        config = self.network.config
        facts = {
            "profile": "paper",
            "parameters": sum(p.numel() for p in self.network.net.parameters()),
            "config": config.to_json(),
            "template_set": config.template_set,
        }
        remarks = []
        if config.clip == "tiny":
            remarks.append("no caption pre-training stands behind it, so unseen names are near chance.")
        if self._leaked:
            remarks.append(self._leaked)
        return {**facts, "remark": " ".join(remarks)} if remarks else facts

    def target_scores(self, window: FrameWindow, target: int, size: tuple[int, int]) -> Tensor:
        config = self.network.config
        frames = clip_indices(target) if config.looks_back else [target] * len(clip_indices(target))
        clip = [FrameFeatures(window.maps(i), window.clip(i)) for i in frames]
        text = self._text if self._closed is None else self._text[: config.seen]
        logits = self.network.net(self._regions(window, target), clip, text).logits
        if self._closed is not None:
            logits = _place(logits, self._closed, len(self.vocabulary))
        return resize_scores(logits, size)[0]

    def _regions(self, window: FrameWindow, target: int) -> Tensor | None:
        """Region vectors of the frame farthest from the target."""
        if not self.network.config.random_frame:
            return None
        far = farthest(target, len(window.video))
        maps = window.maps(far)
        return window.far(far, lambda: self.network.net.regions(FrameFeatures(maps, maps[0].new_zeros(0))))

    def _closed_set(self, vocabulary: Vocabulary) -> list[int]:
        """Vocabulary indices of the seen classes, in order: what learned class vectors stand for."""
        flags = vocabulary.seen or (True,) * len(vocabulary)
        return [i for i, seen in enumerate(flags) if seen][: self.network.config.seen]


def _place(logits: Tensor, columns: list[int], size: int) -> Tensor:
    """Spread the closed set's logits over the vocabulary; the other names can never win."""
    out = logits.new_full((logits.shape[0], size, *logits.shape[2:]), -1e4)
    out[:, columns] = logits[:, : len(columns)]
    return out


class _Encoder:
    """The network's two passes, at the configured input size or at the frames' own."""

    def __init__(self, segmenter: OV2VSSSegmenter, resize: bool) -> None:
        self._of, self._resize = segmenter, resize

    def pixels(self, images: Sequence[Image]) -> Tensor:
        return upload(images, self._of.device)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        return self._of._scales(self._of.network.backbone_input(pixels, self._resize))

    def clip(self, pixels: Tensor) -> Tensor:
        return self._of._dense(pixels)


def build(setup: Setup) -> ClipSegmenter:
    """Entry point of the method's card; the option `profile` decides which network it is."""
    check_profile(setup)
    speed = Speed.from_options(setup.options)
    if setup.options.get("profile") == "release":
        from .release.segmenter import build_release

        return build_release(setup, speed)
    if setup.options.get("corr_layout", "fixed") != "fixed":
        raise UserError(
            "the option corr_layout belongs to the released code's network", hint="--variant release"
        )
    config = Config.from_options(setup.options)
    network = load_network(config, setup.weights, setup.device, setup.variant)
    return OV2VSSSegmenter(network, int(setup.options.get("text_shuffle", 0)), speed)
