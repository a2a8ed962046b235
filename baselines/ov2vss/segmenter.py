"""OV2VSS as a method: one label map per frame, each frame's features computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.types import Image, LabelMap
from ovbench.datasets.base import ArrayVideo, Video
from ovbench.methods.base import Segmenter, Setup, check_image, unused
from ovbench.nn.scores import resize_scores
from ovbench.protocol.vocabulary import Vocabulary

from .clips import OFFSETS, clip_indices, farthest
from .config import Config
from .model import FrameFeatures
from .network import Network, load_network, to_tensor


class OV2VSSSegmenter(Segmenter):
    """Labels frame t from t-9, t-6, t-3, t and the farthest frame.

    Every frame takes the trained path: early frames repeat the video's first frame, and sparsely labelled
    videos (Cityscapes) use their unlabelled neighbours like any others.
    """

    def __init__(self, network: Network, text_shuffle: int = 0) -> None:
        self.network = network
        self._leaked: list[str] = []
        self._shuffle = text_shuffle

    def prepare(self, vocabulary: Vocabulary) -> None:
        super().prepare(vocabulary)
        with torch.no_grad():
            self._text = self._permuted(self.network.text(vocabulary))
        self._leaked = _trained_though_unseen(self.network.trained_on, vocabulary)
        self._closed = self._closed_set(vocabulary) if self.network.config.text == "learned" else None

    def segment(self, video: Video) -> Iterator[LabelMap]:
        window = _FeatureWindow(self.network, video)
        for target in range(len(video)):
            if not video.wanted(target):
                yield unused()
                continue
            size = video.image(target).shape[:2]
            scores = self._scores(window, target, (int(size[0]), int(size[1])))
            dtype = np.uint8 if len(self.vocabulary) <= 255 else np.uint16
            yield scores.argmax(0).cpu().numpy().astype(dtype)

    def scores(
        self,
        image: Image | Video,
        resize: bool | int = True,
        out_size: tuple[int, int] | None = None,
        *,
        index: int = 0,
    ) -> NDArray[np.float32]:
        """What the label map is the argmax of: (C, h, w) float32.

        Args:
            image: (H, W, 3) uint8 RGB, taken as a video of one frame; or a video.
            resize: False feeds the backbone the image as it is, not at the configured input size. With a
                video, a frame number may stand here: `scores(video, 12)`.
            out_size: (h, w) of the scores; default the frame's own size.
            index: the target frame of a video.
        """
        if not isinstance(resize, bool):
            index, resize = resize, True
        video = image if isinstance(image, Video) else ArrayVideo(check_image(image)[None])
        height, width = video.image(index).shape[:2]
        assert self.vocabulary  # says so when prepare has not been called
        window = _FeatureWindow(self.network, video, resize)
        return self._scores(window, index, out_size or (height, width)).cpu().numpy()

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape} of the weights this method takes."""
        return {name: tuple(value.shape) for name, value in self.network.state_dict().items()}

    def load_official(self, state: Mapping[str, Tensor]) -> None:
        """Take weights, strictly by name; raises `UserError` listing what is missing or left over."""
        self.network.load_official(state)
        self.untrained = False
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
            names = ", ".join(self._leaked)
            remarks.append(f"TRAINED ON MASKS of classes that are unseen in this protocol: {names}.")
        return {**facts, "remark": " ".join(remarks)} if remarks else facts

    @torch.no_grad()
    def _scores(self, window: _FeatureWindow, target: int, size: tuple[int, int]) -> Tensor:
        clip = [window[i] for i in clip_indices(target)]
        text = self._text
        if self._closed is not None:
            text = text[: self.network.config.seen]
        logits = self.network.net(window.regions(target), clip, text).logits
        if self._closed is not None:
            logits = _place(logits, self._closed, len(self.vocabulary))
        return resize_scores(logits, size)[0]

    def _permuted(self, text: Tensor) -> Tensor:
        """The permuted-text control: every class gets another class's text."""
        if not self._shuffle or len(text) < 2:
            return text
        order = np.random.Generator(np.random.PCG64(self._shuffle)).permutation(len(text))
        moved = torch.empty_like(text)
        moved[order] = text[np.roll(order, 1)]
        return moved

    def _closed_set(self, vocabulary: Vocabulary) -> list[int]:
        """Vocabulary indices of the seen classes, in order: what learned class vectors stand for."""
        flags = vocabulary.seen or (True,) * len(vocabulary)
        return [i for i, seen in enumerate(flags) if seen][: self.network.config.seen]


def _trained_though_unseen(trained: tuple[str, ...], vocabulary: Vocabulary) -> list[str]:
    """Names that the vocabulary calls unseen and the weights have seen masks of."""
    seen = vocabulary.seen or (True,) * len(vocabulary)
    return [name for name, flag in zip(vocabulary.names, seen, strict=True) if not flag and name in trained]


def _place(logits: Tensor, columns: list[int], size: int) -> Tensor:
    """Spread the closed set's logits over the vocabulary; the other names can never win."""
    out = logits.new_full((logits.shape[0], size, *logits.shape[2:]), -1e4)
    out[:, columns] = logits[:, : len(columns)]
    return out


class _FeatureWindow:
    """Features of the frames around the target, and of the video's two ends; bounded for any length."""

    def __init__(self, network: Network, video: Video, resize: bool = True) -> None:
        self.network, self.video, self.resize = network, video, resize
        self._features: dict[int, FrameFeatures] = {}
        self._far: tuple[int, Tensor | None] = (-1, None)

    @torch.no_grad()
    def regions(self, target: int) -> Tensor | None:
        """Region vectors of the frame farthest from the target."""
        far = farthest(target, len(self.video))
        if self._far[0] != far:
            self._far = (far, self.network.net.regions(self[far]))
        return self._far[1]

    @torch.no_grad()
    def __getitem__(self, index: int) -> FrameFeatures:
        if index not in self._features:
            image = to_tensor(self.video.image(index), self.network.device)
            self._features[index] = self.network.features(image, self.resize)
            oldest = index - OFFSETS[0]
            ends = (0, len(self.video) - 1)
            for old in [i for i in self._features if i < oldest and i not in ends]:
                del self._features[old]
        return self._features[index]


def build(setup: Setup) -> OV2VSSSegmenter:
    """Entry point of the method's card."""
    config = Config.from_options(setup.options)
    network = load_network(config, setup.weights, setup.device, setup.variant)
    return OV2VSSSegmenter(network, int(setup.options.get("text_shuffle", 0)))
