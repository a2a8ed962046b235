"""The world's stand-in for SAM: a small network that draws the region a point lies in, whatever it is called."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovbench.core.errors import UserError
from ovbench.core.types import Image
from ovbench.nn.checkpoint import apply, load_weights
from ovbench.nn.detr import MLP
from ovbench.nn.fpn import PixelDecoder
from ovbench.nn.maskconfig import ResNetSizes
from ovbench.nn.maskformer import MULTIPLE, enlarge, normalise_pixels, pad, to_pixels
from ovbench.nn.maskmodel import naming_file
from ovbench.nn.seeded import fill_by_name

METHOD = "sam-clip"
_SCALE, _MARGIN = 10.0, 0.5  # where learning starts: of cosines, and the cosine at a mask's edge


@dataclass(frozen=True)
class MakerSizes(ResNetSizes):
    """Sizes of the mask maker, as options of the card."""

    pyramid: int = 48  # width of the per-pixel features

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> MakerSizes:
        """From a card's options; raises `UserError` for values that cannot be."""
        sizes = cls(**{f.name: options[f.name] for f in fields(cls)})
        for key in ("stem_width", "pyramid"):
            if getattr(sizes, key) < 1:
                raise UserError(f"{key} must be at least 1, not {getattr(sizes, key)}")
        if sizes.res5_stride not in (1, 2):
            raise UserError(f"res5_stride must be 1 or 2, not {sizes.res5_stride}")
        assert sizes.stage_blocks
        return sizes

    def to_json(self) -> str:
        """As stored in the header of a weights file."""
        return json.dumps(asdict(self), sort_keys=True)


class MaskMaker(nn.Module):
    """One map of features per image; a point's feature asks for its mask, and guesses how good it is.

    Names `backbone`, `pixel_decoder`, `mask`, `quality`. Like SAM it knows points and regions and no class; unlike
    SAM it gives one mask per point.
    """

    def __init__(self, sizes: MakerSizes) -> None:
        super().__init__()
        width = sizes.pyramid
        self.backbone = sizes.resnet()
        self.pixel_decoder = PixelDecoder(self.backbone.channels, width)
        self.embed = nn.Conv2d(width, width, 1)
        self.scale = nn.Parameter(torch.tensor([math.log(_SCALE)]))
        self.margin = nn.Parameter(torch.tensor([_MARGIN]))
        self.quality = MLP(width, 2 * width, 1, 3)

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) 0..255, sides multiples of 32 -> (B, C, h, w)."""
        out: Tensor = self.pixel_decoder(self.backbone(normalise_pixels(pixels)))
        return out

    def vectors(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> unit vectors of the same shape, whose cosines say what belongs together."""
        return F.normalize(self.embed(features), dim=1)

    def ask(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The masks of points.

        Args:
            features: (B, C, h, w).
            points: (B, N, 2), x and y as shares of width and height.

        Returns:
            (B, N, h, w) mask logits, and (B, N) logits of the mask's IoU with the region.
        """
        places = (2 * points - 1)[:, :, None]
        held = F.grid_sample(features, places, mode="nearest", align_corners=False)[..., 0].transpose(1, 2)
        vectors = self.vectors(features)
        asked = F.normalize(F.linear(held, self.embed.weight[:, :, 0, 0], self.embed.bias), dim=2)
        alike = torch.einsum("bnc,bchw->bnhw", asked, vectors)
        return self.scale.exp() * (alike - self.margin), self.quality(held)[..., 0]

    @torch.inference_mode()
    def draw(self, image: Image, points: Tensor) -> tuple[Tensor, Tensor]:
        """Masks of one frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            points: (N, 2) as shares of width and height.

        Returns:
            (N, H, W) mask logits; (N,) IoU as guessed.
        """
        device = next(self.parameters()).device
        height, width = int(image.shape[0]), int(image.shape[1])
        padded = pad(to_pixels(image, device), MULTIPLE)
        features = self.features(padded)
        inside = points.to(device) * torch.tensor([width, height], device=device)
        inside = inside / torch.tensor([padded.shape[3], padded.shape[2]], device=device)
        masks, quality = self.ask(features, inside[None].float())
        return enlarge(masks, padded.shape[-2:])[0, :, :height, :width], quality[0].sigmoid()


def load_maker(sizes: MakerSizes, weights: Path | None, device: str = "cpu") -> MaskMaker:
    """A mask maker with the weights of a training; without a file they are name-seeded.

    Raises:
        UserError: weights of another method or of other sizes.
    """
    maker = MaskMaker(sizes)
    if weights is None:
        fill_by_name(maker)
    else:
        state, header = load_weights(weights)
        _check_header(header, sizes, weights)
        with naming_file(weights):
            apply(maker, state)
    return maker.eval().requires_grad_(False).to(device)


def _check_header(header: Mapping[str, str], sizes: MakerSizes, where: Path) -> None:
    if header.get("method", METHOD) != METHOD:
        raise UserError(f"these are weights of '{header['method']}', not of {METHOD}", where=where)
    stored, own = json.loads(header.get("config", "{}")), asdict(sizes)
    differ = [f"{k} {stored[k]} instead of {own[k]}" for k in sorted(own) if stored.get(k, own[k]) != own[k]]
    if differ:
        raise UserError(
            f"these weights were trained with {', '.join(differ)}",
            where=where,
            hint="leave out what --set changes",
        )
