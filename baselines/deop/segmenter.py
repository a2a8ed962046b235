"""DeOP as a method (Han et al.: Decoupled One-Pass Network, ICCV 2023)."""

from __future__ import annotations

from ovbench.methods.base import Setup
from ovbench.methods.masks import MaskSegmenter, load_network

from .config import Config
from .network import Network


class DeOPSegmenter(MaskSegmenter[Network]):
    """Masks from a network that knows no class; CLIP looks at the frame once and names them all."""


def build(setup: Setup) -> DeOPSegmenter:
    """Entry point of the method's card."""
    return DeOPSegmenter(load_network(setup, Network, Config.from_options(setup.options)))
