"""ZegFormer as a method (Ding et al.: Decoupling Zero-Shot Semantic Segmentation, CVPR 2022)."""

from __future__ import annotations

from ovbench.methods.base import Setup
from ovbench.methods.masks import MaskSegmenter, load_network

from .config import Config
from .network import Network


class ZegFormerSegmenter(MaskSegmenter[Network]):
    """Masks from a network that knows no class, names from its queries and from CLIP's look at each mask."""


def build(setup: Setup) -> ZegFormerSegmenter:
    """Entry point of the method's card."""
    return ZegFormerSegmenter(load_network(setup, Network, Config.from_options(setup.options)))
