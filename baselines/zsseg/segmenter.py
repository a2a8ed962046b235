"""zsseg as a method: queries say what their masks show, CLIP says it too, and the two are multiplied."""

from __future__ import annotations

from ovbench.methods.base import Setup
from ovbench.methods.masks import MaskSegmenter, load_network

from .config import Config
from .network import Network


class ZsSeg(MaskSegmenter[Network]):
    """Labels one frame at a time."""


def build(setup: Setup) -> ZsSeg:
    """Entry point of the method's card."""
    return ZsSeg(load_network(setup, Network, Config.from_options(setup.options)))
