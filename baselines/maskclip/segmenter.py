"""MaskCLIP (Zhou et al., ECCV 2022): each place of a frame takes the name nearest to its CLIP feature."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ovbench.core.errors import UserError
from ovbench.core.types import Image, LabelMap
from ovbench.methods.base import FrameSegmenter, Setup, check_image
from ovbench.nn.clip import ClipPair, load_clip
from ovbench.nn.dense import dense_features
from ovbench.nn.scores import resize_scores
from ovbench.nn.text import TextRows, encode_rows
from ovbench.nn.weights_file import state_of
from ovbench.protocol.vocabulary import Vocabulary


class MaskClip(FrameSegmenter):
    """Cosines of dense image features and text vectors; no training, no mask.

    Args:
        clip: the two-tower model.
        mode: how dense features are read, see `ovbench.nn.dense.MODES`.
        short_side: frames are resized so that their short side has this many pixels; 0 keeps their size.
        window, stride: side and step of sliding windows, in pixels of the resized frame; 0: no windows.
    """

    def __init__(
        self, clip: ClipPair, mode: str = "maskclip", short_side: int = 0, window: int = 0, stride: int = 0
    ) -> None:
        self.clip, self.mode, self.short_side = clip, mode, short_side
        self.window, self.stride = window, stride or window
        self.patch = _patch(clip.model.visual)
        self.rows: TextRows | None = None
        if min(short_side, window, self.stride) < 0 or self.stride > window:
            raise UserError("short_side, window and stride must not be negative, and stride at most window")
        if window % self.patch:
            raise UserError(f"window must be a multiple of the patch size {self.patch}, not {window}")

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Encode the names; raises `UserError` for words or lengths that the text tower cannot read."""
        super().prepare(vocabulary)
        self.rows = encode_rows(self.clip, vocabulary)

    def segment_frame(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 RGB -> (H, W) vocabulary indices."""
        dtype = np.uint8 if len(self.vocabulary) < 255 else np.uint16
        return self._scores(image, True, None).argmax(0).cpu().numpy().astype(dtype)

    def scores(
        self, image: Image, resize: bool = True, out_size: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """Cosine of every class at every pixel.

        Args:
            image: (H, W, 3) uint8 RGB.
            resize: False feeds the image as it is (padded to whole patches).
            out_size: (h, w) of the result; default the image's own size.

        Returns:
            (C, h, w) float32 on the CPU; the label map is its argmax.
        """
        return self._scores(check_image(image), resize, out_size).float().cpu().numpy()

    @torch.inference_mode()
    def _scores(self, image: Image, resize: bool, out_size: tuple[int, int] | None) -> Tensor:
        assert self.vocabulary  # says so when prepare has not been called
        x = self.clip.normalize(image)
        if resize and self.short_side:
            x = F.interpolate(x, self._input_size(x), mode="bilinear", align_corners=False, antialias=True)
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        scores = self._windows(x) if self.window else self._cosines(x)
        # Cut the padding off at input resolution, where it is a whole number of pixels.
        if x.shape[-2:] != (height, width):
            scores = resize_scores(scores, x.shape[-2:])[..., :height, :width]
        return resize_scores(scores, out_size or image.shape[:2])[0]

    def facts(self) -> dict[str, Any]:
        """Parameter count, and hashes of the CLIP weights and of the text vectors."""
        facts: dict[str, Any] = {
            "parameters": sum(p.numel() for p in self.clip.model.parameters()),
            "clip": self.clip.name,
            "clip_weights": self.clip.weights_id,
        }
        if self.rows is not None:
            facts["text_sha256"] = hashlib.sha256(self.rows.vectors.cpu().numpy().tobytes()).hexdigest()
        return facts

    def official_names(self) -> dict[str, tuple[int, ...]]:
        """Official parameter names (OpenAI's, as open_clip uses them) and shapes."""
        return {name: tuple(t.shape) for name, t in self.clip.model.state_dict().items()}

    def load_official(self, state: Mapping[str, Any]) -> None:
        """Take official weights, strictly by name; the vocabulary is encoded anew."""
        self.clip.load_state(state_of(state))
        self.untrained = False
        if self.prepared is not None:
            self.prepare(self.prepared)

    def _cosines(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w) on the tower's grid."""
        assert self.rows is not None
        features = F.normalize(dense_features(self.clip, x, self.mode), dim=1)
        rows = torch.einsum("re,behw->rbhw", self.rows.vectors, features)
        return self.rows.reduce(rows).transpose(0, 1)

    def _windows(self, x: Tensor) -> Tensor:
        """Mean over all windows that see a pixel: (1, 3, H, W) -> (1, C, H, W)."""
        size = x.shape[-2:]
        boxes = list(_boxes(size[0], size[1], self.window, self.stride))
        total = x.new_zeros(1, len(self.vocabulary), *size)
        times = x.new_zeros(size)
        for box in boxes:
            part = x[(..., *box)]
            total[(..., *box)] += resize_scores(self._cosines(part), part.shape[-2:])
            times[box] += 1
        return total / times

    def _input_size(self, x: Tensor) -> tuple[int, int]:
        height, width = x.shape[-2:]
        scale = self.short_side / min(height, width)
        cells = [max(1, round(side * scale / self.patch)) for side in (height, width)]
        return cells[0] * self.patch, cells[1] * self.patch


def _boxes(height: int, width: int, window: int, stride: int) -> Iterator[tuple[slice, slice]]:
    for y in _starts(height, window, stride):
        for x in _starts(width, window, stride):
            yield slice(y, y + window), slice(x, x + window)


def _starts(length: int, window: int, stride: int) -> list[int]:
    last = max(length - window, 0)
    return sorted({*range(0, last, stride), last})


def _patch(visual: Any) -> int:
    """Pixels per cell of the tower's grid; a ResNet's is its total stride."""
    size = getattr(visual, "patch_size", 32)
    return int(size[0]) if isinstance(size, tuple) else int(size)


def build(setup: Setup) -> MaskClip:
    """Entry point of the method's card."""
    options = setup.options
    clip = load_clip(str(options["model"]), setup.weights, setup.device, untrained=setup.untrained)
    sizes = (int(options[key]) for key in ("short_side", "window", "stride"))
    return MaskClip(clip, str(options["mode"]), *sizes)
