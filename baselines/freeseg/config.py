"""Sizes of FreeSeg's network, and how it is used."""

from __future__ import annotations

from dataclasses import dataclass

from ovbench.core.errors import UserError
from ovbench.nn.maskconfig import EnsembleConfig, ResNetSizes


@dataclass(frozen=True)
class Config(ResNetSizes, EnsembleConfig):
    """The network and how it is used; the defaults are the official ones for COCO-Stuff."""

    layers: int = 10  # of the decoder, and not one less for the predictions before the first
    class_hidden: int = 1024
    # pixel decoder
    encoder_layers: int = 6
    encoder_ffn: int = 1024
    sampling_points: int = 4  # of a head, in each map
    # how maps look at the names
    interaction_width: int = 2048
    # text
    task: str = "semantic segmentation."
    task_length: int = 8
    prompt_length: int = 16

    def check(self) -> None:
        """Raise `UserError` also for widths that heads do not divide."""
        super().check()
        if self.task_length < 0:
            raise UserError(f"task_length must be at least 0, not {self.task_length}")
        for key in ("pyramid", "interaction_width"):
            if getattr(self, key) % self.heads or getattr(self, key) % 4:
                raise UserError(f"{key} must be a multiple of 4 and of heads, not {getattr(self, key)}")
        assert self.stage_blocks
