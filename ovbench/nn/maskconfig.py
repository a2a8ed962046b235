"""Sizes of networks that draw masks and name them with CLIP, as options of a card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self

from ovbench.core.errors import UserError

from .conv import Norm
from .resnet import BLOCKS, ResNet


@dataclass(frozen=True)
class MaskConfig:
    """What every such network has; a method adds its own fields."""

    dim: int = 256  # of queries
    queries: int = 100
    heads: int = 8
    ffn: int = 2048
    layers: int = 6
    pyramid: int = 256  # width of the pixel decoder and of masks
    dropout: float = 0.1  # of the decoder, in training
    clip: str = "ViT-B-16-quickgelu"  # name that ovbench.nn.clip.load_clip understands
    short_side: int = 640  # of frames; 0: they keep their size
    long_side: int = 2560

    in_use: ClassVar[frozenset[str]] = frozenset({"dropout", "short_side", "long_side"})
    """Fields that may differ between training and use."""
    at_least_one: ClassVar[tuple[str, ...]] = (
        *("dim", "queries", "heads", "ffn", "layers", "pyramid", "region_batch"),
        *("stem_width", "class_hidden", "embed_width", "prompt_length"),
        *("heatmap_heads", "heatmap_ffn"),
        *("encoder_layers", "encoder_ffn", "sampling_points", "interaction_width"),
    )
    """Fields that count something, of this class and of those made from it."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """A configuration from a card's options; raises `UserError` for values that cannot be."""
        config = cls(**{f.name: options[f.name] for f in fields(cls) if f.name in options})
        config.check()
        return config

    def check(self) -> None:
        """Raise `UserError` for values that cannot be; methods extend this."""
        for key, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{key} must be a finite number, not {value}", hint=f"--set {key}=...")
            if key in self.at_least_one and value < 1:
                raise UserError(f"{key} must be at least 1, not {value}", hint=f"--set {key}=...")
        if not 0 <= self.dropout <= 1:
            raise UserError(f"dropout must be from 0 to 1, not {self.dropout:g}", hint="--set dropout=...")
        if getattr(self, "res5_stride", 1) not in (1, 2):
            raise UserError(f"res5_stride must be 1 or 2, not {getattr(self, 'res5_stride', 1)}")
        if not 0 <= self.short_side <= self.long_side:
            raise UserError("short_side must be 0 or more, long_side at least that")
        if self.dim % 4 or self.dim % self.heads:
            raise UserError(f"dim must be a multiple of 4 and of heads, not {self.dim}")

    @property
    def shared_clip(self) -> bool:
        """Whether CLIP stays in its own file: the embedded world's model serves all methods."""
        return self.clip == "world"

    def to_json(self) -> str:
        """As stored in the header of a weights file."""
        return json.dumps(asdict(self), sort_keys=True)

    def differs(self, stored: str) -> dict[str, tuple[Any, Any]]:
        """{field: (stored value, own value)} of a stored configuration, without `in_use`."""
        other, own = json.loads(stored or "{}"), asdict(self)
        return {k: (other[k], own[k]) for k in own.keys() & other.keys() - self.in_use if other[k] != own[k]}


@dataclass(frozen=True)
class ResNetSizes:
    """Fields of a configuration whose backbone can have any size."""

    depth: int = 101  # 50 or 101
    blocks: str = ""  # residual blocks per stage, "1,1,1,1"; empty: those of `depth`
    stem_width: int = 64
    norm: Norm = "frozen"  # "group" for backbones that are trained from nothing
    pool: bool = True  # off: no max pooling in the stem, strides half as long
    res5_stride: int = 2  # 1: the deepest map as large as the one before

    @property
    def stage_blocks(self) -> tuple[int, ...]:
        """Residual blocks of the four stages; raises `UserError` for a text that is not four numbers."""
        counts = numbers("blocks", self.blocks, ",", "3,4,6,3") or BLOCKS[self.depth]
        if len(counts) != 4 or min(counts) < 1:
            raise UserError(f"blocks must look like 3,4,6,3, not '{self.blocks}'")
        return counts

    def resnet(
        self, stem: Literal["basic", "deeplab"] = "basic", dilations: tuple[int, ...] = (1, 1, 1)
    ) -> ResNet:
        """The backbone, fresh."""
        return ResNet(
            self.depth,
            stem,
            dilations,
            blocks=self.stage_blocks,
            width=self.stem_width,
            norm=self.norm,
            pool=self.pool,
            res5_stride=self.res5_stride,
        )


@dataclass(frozen=True)
class RegionLook:
    """Fields of a configuration where CLIP looks at regions, and where it matters which names are seen."""

    seen_rule: str = "flags"  # see ovbench.nn.seen
    seen_names: str = "coco-stuff-156"  # the list that rules with names look at
    region_batch: int = 16  # crops that CLIP sees at once


REGION_USE = frozenset({"seen_rule", "seen_names", "region_batch"})
"""Fields of `RegionLook`, none of which training looks at."""


@dataclass(frozen=True)
class EnsembleConfig(RegionLook, MaskConfig):
    """Queries and regions each have an opinion, and the two are multiplied (zsseg, FreeSeg)."""

    ensemble: bool = True  # off: regions are not looked at
    ensemble_weight: float = 0.8  # 0: only regions count
    region_look: str = "crop"  # "frame": CLIP sees the frame once, regions are means under their masks
    mask_threshold: float = 0.5  # of the masks that cut regions out

    in_use = MaskConfig.in_use | REGION_USE | {"ensemble", "ensemble_weight", "region_look", "mask_threshold"}

    def check(self) -> None:
        """Raise `UserError` for a weight or a threshold outside 0..1, or a size that cannot be."""
        super().check()
        for key in ("ensemble_weight", "mask_threshold"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"{key} must lie between 0 and 1, not {getattr(self, key)}")


def numbers(key: str, text: str, sign: str, example: str) -> tuple[int, ...]:
    """The whole numbers of an option, () for an empty text; raises `UserError` with an example."""
    try:
        return tuple(int(part) for part in text.split(sign)) if text else ()
    except ValueError:
        raise UserError(f"{key} must look like {example}, not '{text}'") from None
